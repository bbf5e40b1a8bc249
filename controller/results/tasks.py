"""Tasks as the head node sees them, as JSON types."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from controller.results.parameters import as_written
from controller.results.ranking import metrics
from controller.results.standing import merged
from controller.results.top import column
from worker.artifacts import ArtifactMeta
from worker.protocol import Status, Store, StudyRecord, TaskRecord
from worker.protocol.clock import iso
from worker.protocol.errors import RecordError

_COLUMNS = (
    "task_id", "trial", "status", "reason", "attempt", "seconds", "worker", "started_at", "ended_at",
    "retries", "task", "time", "hyper_parameters", "tags", "note", "reason_class",
)  # fmt: skip
"""Names that no metric's column takes."""


def list_tasks(store: Store, study: StudyRecord, only: Status | None, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` tasks of a study, by trial: what `controller tasks` prints.

    An interrupted task and its retry are one row, the retry's; it names the trials that it ``retries``.

    Args:
        only: those in this status, each as a row of its own.
    """
    # A retry is newer than what it stands for: the oldest rows may lack a number, but no row is shown twice.
    ids = store.studies.tasks(study.name, only)[-limit if only else -2 * limit :]
    records = [record for record in store.tasks.get_many(ids) if record is not None]
    kept = [(record, []) for record in records] if only else merged(records)[-limit:]
    return task_dicts(store, study, kept)


def list_confirming(
    store: Store, study: StudyRecord, only: Status | None, limit: int
) -> list[dict[str, Any]]:
    """The newest tasks that confirm a study's best; ``confirms`` names the task that each repeats."""
    found = store.tasks.get_many(store.confirmations.tasks(study.name))
    records = [record for record in found if record is not None and only in (None, record.status)][-limit:]
    rows = task_dicts(store, study, [(record, []) for record in records])
    return [
        {**row, "confirms": record.spec.confirms, "seed": record.seed}
        for row, record in zip(rows, records, strict=True)
    ]


def task_dicts(
    store: Store, study: StudyRecord, tasks: Sequence[tuple[TaskRecord, list[int]]]
) -> list[dict[str, Any]]:
    """Tasks of a study as `list_tasks` returns them.

    Args:
        tasks: each with the numbers of the trials that it stands for.
    """
    scalars = store.reports.scalars([record.id for record, _ in tasks])
    rows = []
    for (record, earlier), found in zip(tasks, scalars, strict=True):
        values = {m.key: found[m.key].last if m.key in found else None for m in study.metrics}
        rows.append(
            {
                "task": record.id,
                "trial": record.trial,
                "status": record.status.value,
                "reason": why(record),
                **{
                    column(key, _COLUMNS): value if value is not None and math.isfinite(value) else None
                    for key, value in values.items()
                },
                "attempt": record.attempt,
                "seconds": round(record.compute_s, 1),
                "worker": record.worker,
                "task_id": record.id,
                "started_at": iso(record.started_at),
                "ended_at": iso(record.ended_at),
                "retries": earlier,
                "tags": list(record.all_tags),
                "note": record.note,
                "hyper_parameters": as_written(record, everything=False),
            }
        )
    return rows


def why(record: TaskRecord) -> str:
    """Class and words of why a task ended as it did; empty for one that completed, or has not ended."""
    if record.reason_class is None:
        return ""
    return f"{record.reason_class}: {record.reason}" if record.reason else record.reason_class.value


def describe(store: Store, record: TaskRecord) -> dict[str, Any]:
    """Everything about a task, as JSON types: what `controller show` prints."""
    scalars = store.reports.scalars([record.id])[0]
    artifacts = {}
    for name, text in store.artifacts.of_task(record.id).items():
        with contextlib.suppress(RecordError):
            ArtifactMeta.from_json(text)
            artifacts[name] = json.loads(text)
    return {
        "task_id": record.id,
        "name": record.name,
        "study": record.study,
        "trial": record.trial,
        "status": record.status.value,
        "reason_class": record.reason_class.value if record.reason_class else None,
        "reason": record.reason,
        "error": record.error,
        "attempt": record.attempt,
        "worker": record.worker,
        "queue": record.spec.queue,
        "objective": record.spec.objective,
        "created_at": iso(record.created_at),
        "queued_at": iso(record.queued_at),
        "started_at": iso(record.started_at),
        "ended_at": iso(record.ended_at),
        "compute_s": round(record.compute_s, 3),
        "iterations": record.iterations,
        "hyper_parameters": as_written(record, everything=True),
        "metrics": metrics(scalars, None),
        "artifacts": artifacts,
        "tags": list(record.all_tags),
        "note": record.note,
    }


def gpu_rows(sampled: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The highest that was sampled of each GPU while a task ran.

    Args:
        sampled: the task's metrics, as `describe` has them.
    """
    rows: dict[str, dict[str, Any]] = {}
    for key, metric in sampled.items():
        title, _, series = key.rpartition("/")
        if title.startswith(":monitor:gpu/") and series != "memory_free_gb":
            number = title.removeprefix(":monitor:gpu/")
            rows.setdefault(number, {"gpu": number})[series] = metric["max_value"]
    return list(rows.values())
