"""A task as the head node sees it, as JSON types."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from controller.results.ranking import hyper_parameters, metrics
from worker.artifacts import ArtifactMeta
from worker.protocol import Store, TaskRecord
from worker.protocol.clock import iso
from worker.protocol.errors import RecordError


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
        "hyper_parameters": hyper_parameters(record, everything=True),
        "metrics": metrics(scalars, None),
        "artifacts": artifacts,
        "tags": list(record.spec.tags),
    }
