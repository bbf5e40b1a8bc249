"""All of a study that figures are drawn of, as one value: read from the store, or from a study's file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from controller.results.curves import Curve
from controller.results.standing import stands
from worker.protocol import OPEN, ObjectiveMetric, Status, Store, StudyRecord, Summary, TaskRecord
from worker.protocol.confirmations import ConfirmPlan
from worker.protocol.metrics import violations
from worker.protocol.recorded_surroundings import RecordedSurroundings
from worker.protocol.study_log import LogEntry

CHUNK = 500
"""Tasks in one round trip."""
MOST = 20_000
"""Tasks of a study that are read for its figures: the best of them, and of the others every so many."""
BEST = 1_000
"""Of these, the best."""
MOST_EVENTS = 500
"""Entries of a study's log that are told with it, the newest."""


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """One task, with the summaries of the metrics that the study optimizes or is bounded by."""

    record: TaskRecord
    scalars: Mapping[str, Summary] = field(default_factory=dict)

    def value(self, metric: ObjectiveMetric) -> float | None:
        """What the task has for an objective, so far if it still runs; None without a finite value."""
        summary = self.scalars.get(metric.key)
        found = math.nan if summary is None else summary.value(metric.sign)
        return found if math.isfinite(found) else None

    @property
    def is_feasible(self) -> bool:
        """Whether it violates no constraint."""
        return not any(over > 0 for over in violations(self.record.spec.constraints, self.scalars))

    @property
    def ranks(self) -> bool:
        """Whether its values are results that `controller top` ranks."""
        return stands(self.record) and self.record.status is not Status.FAILED and self.is_feasible


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """A study at one moment."""

    study: StudyRecord
    tasks: tuple[TaskData, ...]
    """By trial number."""
    at: float
    """When it was read, seconds since the epoch: until then, what runs has run."""
    left_out: int = 0
    """Tasks of a large study that are not in `tasks`."""
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    """Task id → metric key → what it has reported, thinned out; see `controller.results.curves`."""
    events: tuple[LogEntry, ...] = ()
    """The study's log, the oldest first; only where somebody has read it (`with_events`)."""

    confirm_plan: ConfirmPlan | None = None
    """What was asked to be confirmed of it."""
    confirming: tuple[TaskData, ...] = ()
    """The tasks that confirm its best; `tasks` doesn't have them."""
    reasons: Mapping[int, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Trial → kind of decision → what it rested on, by the log in Optuna's storage; only where somebody has
    read that (`with_reasons`)."""
    no_reasons: str = ""
    """Why nobody has read `reasons`, where that is so."""
    surroundings: RecordedSurroundings = field(default_factory=RecordedSurroundings)
    """What it ran in; only where somebody has read it."""

    @property
    def objectives(self) -> tuple[ObjectiveMetric, ...]:
        return self.study.metrics

    def ranked(self) -> list[TaskData]:
        """The tasks that have a result for each objective, by trial number."""
        return [
            task
            for task in self.tasks
            if task.ranks and all(task.value(metric) is not None for metric in self.objectives)
        ]

    def with_confirmation(self, plan: ConfirmPlan | None, tasks: Sequence[TaskData]) -> StudyData:
        return replace(self, confirm_plan=plan, confirming=tuple(tasks))

    def with_curves(self, curves: Mapping[str, Mapping[str, Curve]]) -> StudyData:
        return replace(self, curves=curves)

    def with_reasons(self, reasons: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> StudyData:
        return replace(self, reasons=reasons, no_reasons="")

    def without_reasons(self, why: str) -> StudyData:
        return replace(self, reasons={}, no_reasons=why)

    def with_surroundings(self, found: RecordedSurroundings) -> StudyData:
        return replace(self, surroundings=found)

    def with_events(self, events: Sequence[LogEntry]) -> StudyData:
        return replace(self, events=tuple(events))


def needed_metrics(study: StudyRecord, records: Sequence[TaskRecord]) -> list[str]:
    """Keys of the metrics that figures need of tasks: objectives, and those that have bounds."""
    bounded = {str(bound["metric"]) for record in records for bound in record.spec.constraints}
    return list(dict.fromkeys([*(metric.key for metric in study.metrics), *sorted(bounded)]))


def read_study(store: Store, name: str) -> StudyData:
    """A study from the store, without learning curves (`controller.results.curves.read_curves`).

    Raises:
        BadInput: there is no such study.
        RecordError: its record can't be read.
    """
    study = store.studies.get(name)
    ids = store.studies.tasks(name)
    kept = chosen(store, study, ids)
    tasks = read_tasks(store, study, kept)
    data = StudyData(
        study=study, tasks=tuple(tasks.values()), at=store.clock.now(), left_out=len(ids) - len(kept)
    )
    return with_confirmation(store, data)


def with_confirmation(store: Store, data: StudyData) -> StudyData:
    """A study with what confirms its best, where that was asked for."""
    plan = store.confirmations.plan(data.study.name)
    if plan is None:
        return data
    found = read_tasks(store, data.study, store.confirmations.tasks(data.study.name))
    return data.with_confirmation(plan, list(found.values()))


def chosen(store: Store, study: StudyRecord, ids: Sequence[str]) -> list[str]:
    """The tasks of a study that its figures are drawn of, at most `MOST`, in the order of `ids`."""
    if len(ids) <= MOST:
        return list(ids)
    kept = set(store.ranking.best(study.name, BEST))
    kept.update(*(store.studies.tasks(study.name, status)[-BEST:] for status in OPEN))
    step = math.ceil(len(ids) / (MOST - len(kept)))
    kept.update(ids[::step])
    return [task_id for task_id in ids if task_id in kept]


def read_tasks(store: Store, study: StudyRecord, ids: Sequence[str]) -> dict[str, TaskData]:
    """Task id → the task, of those that have a record, in the order of `ids`."""
    found: dict[str, TaskData] = {}
    for start in range(0, len(ids), CHUNK):
        # Records first: where one says that its task has ended, the values are its last.
        records = [record for record in store.tasks.get_many(ids[start : start + CHUNK]) if record]
        scalars = store.reports.some_scalars(
            [record.id for record in records], needed_metrics(study, records)
        )
        for record, values in zip(records, scalars, strict=True):
            found[record.id] = TaskData(record=record, scalars=values)
    return found
