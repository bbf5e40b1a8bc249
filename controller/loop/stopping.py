"""Ends a study that has done enough: by the rules of `stop_when`, judged as trials end."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from controller.loop.context import LoopContext
from controller.loop.job import Job
from controller.results.course import Course, counts
from controller.results.study_data import CHUNK, TaskData, needed_metrics
from controller.search.regret import Estimate, RegretBound
from controller.sweep.stop_rules import NoImprovement, Reached, RegretBelow, StopRule
from worker.protocol import ObjectiveMetric, Status, Store, StudyRecord, TaskRecord


class Stopping:
    """Counts what has ended, and writes into the budget that it is enough, with the reason.

    All that it knows stands in the tasks' records, from which a later controller counts again. Used by the
    loop's thread only.
    """

    def __init__(self, context: LoopContext) -> None:
        self._store = context.backend.store
        self._budget = context.budget
        self._observer = context.observer
        self._metrics = context.objective.metrics
        rules = context.settings.stop_when
        self.course = context.state.course = Course(self._metrics)
        self._stagnation = [
            (rule, self.course if not rule.least else Course(self._metrics, rule.least))
            for rule in rules
            if isinstance(rule, NoImprovement)
        ]
        self._wanted = [(rule, self._metric(rule)) for rule in rules if isinstance(rule, Reached)]
        self._reached: dict[Reached, tuple[int, str, float]] = {}
        """Those that hold, and the trial, metric and value by which they do."""
        self._below = [rule for rule in rules if isinstance(rule, RegretBelow)]
        search = context.search
        self._regret = RegretBound(search.study) if self._below and search is not None else None
        self._complete = 0
        self._has_warned = False

    def _metric(self, rule: Reached) -> ObjectiveMetric:
        return next((metric for metric in self._metrics if metric.key == rule.metric), self._metrics[0])

    def begin(self, record: StudyRecord | None, closed: Sequence[TaskRecord], untold: Container[str]) -> None:
        """Count what had ended before this controller began.

        Args:
            record: the study's; None for a search without one.
            closed: its tasks that have ended.
            untold: ids of those among them that come by `take`.
        """
        since = record.budget_since if record is not None else 0.0
        known = [one for one in closed if one.id not in untold and one.created_at >= since and counts(one)]
        for task in _with_scalars(self._store, record, sorted(known, key=lambda one: one.ended_at or 0.0)):
            self._count(task)
        self._judge()
        self.look()

    def take(self, job: Job) -> None:
        """Count a job that has ended, once its trial was told."""
        self._count(TaskData(record=job.record, scalars=job.scalars))
        self._judge()

    def _count(self, task: TaskData) -> None:
        self.course.add(task)
        self._complete += task.record.status is Status.COMPLETED
        for _, course in self._stagnation:
            if course is not self.course:
                course.add(task)
        for rule, metric in self._wanted:
            value = task.value(metric) if task.ranks else None
            if value is not None and rule.holds(value):
                self._reached.setdefault(rule, (task.record.trial, metric.key, value))

    def _judge(self) -> None:
        for rule, course in self._stagnation:
            if course.since >= rule.trials:
                self._end(rule, course.said(self._metrics[0].key), course.to_dict())
        if self._stagnation:
            rule, course = min(self._stagnation, key=lambda one: one[0].trials - one[1].since)
            self._budget.no_improvement.limit = rule.trials
            self._budget.no_improvement.update("study", course.since)
        for reached, (trial, key, value) in self._reached.items():
            why = f"trial {trial} has {key} {value:.15g}"
            self._end(reached, why, {"trial": trial, "metric": key, "value": value})

    def look(self) -> None:
        """Judge by the newest estimate of the regret; begin another one when it is due."""
        if self._regret is None or self._budget.enough:
            return
        found = self._regret.look(self._complete)
        if self._regret.problem and not self._has_warned:
            self._has_warned = True
            self._observer.note(f"the regret can't be estimated, it ends nothing: {self._regret.problem}")
        for rule in self._below:
            if found is not None and found.regret < rule.below:
                self._end(rule, _said(found), asdict(found))

    def join(self, timeout_s: float) -> None:
        """Wait for an estimate of the regret that is being made."""
        if self._regret is not None:
            self._regret.join(timeout_s)

    def _end(self, rule: StopRule, why: str, numbers: Mapping[str, Any]) -> None:
        if not self._budget.enough:
            self._budget.enough = f"{rule}: {why}"
            self._budget.enough_by = {"rule": str(rule), **numbers}


def _said(found: Estimate) -> str:
    return (
        f"Optuna's bound on it is {found.regret:.6g}, from the best {found.used} of {found.trials} "
        "complete trials"
    )


def _with_scalars(
    store: Store, record: StudyRecord | None, closed: Sequence[TaskRecord]
) -> Iterator[TaskData]:
    for start in range(0, len(closed), CHUNK):
        some = closed[start : start + CHUNK]
        keys = needed_metrics(record, some) if record is not None else []
        scalars = store.reports.some_scalars([one.id for one in some], keys)
        for one, values in zip(some, scalars, strict=True):
            yield TaskData(record=one, scalars=values)
