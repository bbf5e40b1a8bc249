"""Some tasks of a study side by side: what differs first, then what all have alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controller.results.parameters import as_written
from controller.results.task_rows import MONITOR
from controller.results.tasks import why
from worker.protocol import ObjectiveMetric, Store, StudyRecord, Summary, TaskRecord
from worker.protocol.clock import iso
from worker.protocol.errors import BadInput, NoSuchTask

MOST = 20
"""Tasks beside each other."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One parameter, metric or fact of all tasks."""

    name: str
    values: tuple[Any, ...]
    """By task; None where it has none. JSON types."""
    best: frozenset[int] = frozenset()
    """Places of the best values of an objective."""

    @property
    def differs(self) -> bool:
        first = self.values[0]
        return any(value != first or type(value) is not type(first) for value in self.values)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Tasks side by side."""

    tasks: tuple[TaskRecord, ...]
    differing: tuple[Line, ...]
    """Parameters that differ."""
    metrics: tuple[Line, ...]
    """Objectives first, then other metrics by name: the last values."""
    facts: tuple[Line, ...]
    alike: tuple[Line, ...]
    """Parameters that are the same for all."""
    metric_keys: tuple[str, ...]
    """Metrics that any of them has reported, objectives first."""

    def plain(self) -> dict[str, Any]:
        """As JSON types."""

        def named(lines: Sequence[Line]) -> dict[str, list[Any]]:
            return {line.name: list(line.values) for line in lines}

        return {
            "tasks": [record.id for record in self.tasks],
            "trials": [record.trial for record in self.tasks],
            "parameters_that_differ": named(self.differing),
            "parameters_alike": named(self.alike),
            "metrics": named(self.metrics),
            "facts": named(self.facts),
        }


def compare_tasks(store: Store, study: StudyRecord, task_ids: Sequence[str]) -> Comparison:
    """Tasks of a study side by side, in the order asked for.

    Raises:
        BadInput: none was named, or more than `MOST` were.
        NoSuchTask: one is not the study's.
    """
    ids = list(dict.fromkeys(task_ids))
    if not ids:
        raise BadInput("compare: no tasks were chosen; choose some in the table of trials")
    if len(ids) > MOST:
        raise BadInput(f"compare: {len(ids)} tasks were chosen; {MOST} fit beside each other")
    own = set(store.studies.own(study.name, ids))
    records = [record for record in store.tasks.get_many(ids) if record is not None and record.id in own]
    missing = own.symmetric_difference(ids) | own.difference(record.id for record in records)
    if missing:
        raise NoSuchTask(f"study {study.name!r} has no task {min(missing)!r:.100}")
    return side_by_side(records, store.reports.scalars(ids), study.metrics)


def side_by_side(
    records: Sequence[TaskRecord],
    scalars: Sequence[dict[str, Summary]],
    objectives: Sequence[ObjectiveMetric],
) -> Comparison:
    """Tasks beside each other, of whatever studies.

    Args:
        scalars: of each task, by metric key.
        objectives: their metrics stand first.
    """
    parameters = _parameters(records)
    return Comparison(
        tasks=tuple(records),
        differing=tuple(line for line in parameters if line.differs),
        alike=tuple(line for line in parameters if not line.differs),
        metrics=tuple(_metrics(objectives, scalars)),
        facts=tuple(_facts(records)),
        metric_keys=tuple(_keys(objectives, scalars)),
    )


def _parameters(records: Sequence[TaskRecord]) -> list[Line]:
    """Searched ones first, each kind in the order of the first task that has it."""
    chosen = [as_written(record, everything=False) for record in records]
    every = [as_written(record, everything=True) for record in records]
    names = dict.fromkeys(name for found in (*chosen, *every) for name in found)
    return [Line(name=name, values=tuple(found.get(name) for found in every)) for name in names]


def _keys(objectives: Sequence[ObjectiveMetric], scalars: Sequence[dict[str, Summary]]) -> list[str]:
    reported = sorted({key for found in scalars for key in found if not key.startswith(MONITOR)})
    return list(dict.fromkeys([*(metric.key for metric in objectives), *reported]))


def _metrics(objectives: Sequence[ObjectiveMetric], scalars: Sequence[dict[str, Summary]]) -> list[Line]:
    by_key = {metric.key: metric for metric in objectives}
    lines = []
    for key in _keys(objectives, scalars):
        objective = by_key.get(key)
        values = [_value(found.get(key), objective) for found in scalars]
        best: frozenset[int] = frozenset()
        present = [value for value in values if value is not None]
        if objective and len(set(present)) > 1:
            top = min(present, key=objective.score)
            best = frozenset(place for place, value in enumerate(values) if value == top)
        lines.append(Line(name=key, values=tuple(values), best=best))
    return lines


def _value(summary: Summary | None, objective: ObjectiveMetric | None) -> float | None:
    if summary is None:
        return None
    value = summary.value(objective.sign) if objective else summary.last
    return value if math.isfinite(value) else None


def _facts(records: Sequence[TaskRecord]) -> list[Line]:
    facts: dict[str, list[Any]] = {
        "status": [record.status.value for record in records],
        "reason": [why(record) for record in records],
        "seconds": [round(record.compute_s, 1) for record in records],
        "iterations": [record.iterations for record in records],
        "attempt": [record.attempt for record in records],
        "worker": [record.worker for record in records],
        "started_at": [iso(record.started_at) for record in records],
        "ended_at": [iso(record.ended_at) for record in records],
        "tags": [", ".join(record.all_tags) for record in records],
        "note": [record.note for record in records],
    }
    return [Line(name=name, values=tuple(values)) for name, values in facts.items() if any(values)]
