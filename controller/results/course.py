"""How long ago the best result came: counted as trials end, and what that says to people."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from controller.results.standing import is_interrupted
from controller.results.study_data import TaskData
from worker.protocol import ObjectiveMetric, Status, StudyRecord, TaskRecord

PLATEAU = 30
"""Trials without an improvement that may be a plateau, where they are also half of all."""


class Course:
    """Counts the trials of a study since its best one. The cost of a trial doesn't grow with their number.

    With several objectives, a trial improves what no earlier one equals or beats in all of them.

    Args:
        least: what is better by this or less is no improvement.
    """

    def __init__(self, metrics: Sequence[ObjectiveMetric], least: float = 0.0) -> None:
        self._metrics = metrics
        self._least = least
        self._front: list[tuple[float, ...]] = []
        self.ended = 0
        """Trials that have ended; those that run again don't count."""
        self.since = 0
        """Of these, after the best."""
        self.failed = 0
        """Of those since the best, the ones that failed."""
        self.best: float | None = None
        """The value of the best; None with several objectives, and before there is one."""
        self.trial = -1
        """Its number; -1 before there is one."""

    def add(self, task: TaskData) -> bool:
        """Count a trial that has ended; True where it is the best so far."""
        record = task.record
        if not counts(record):
            return False
        self.ended += 1
        values = [task.value(metric) for metric in self._metrics] if task.ranks else [None]
        scores = tuple(
            metric.score(value)
            for metric, value in zip(self._metrics, values, strict=False)
            if value is not None
        )
        if len(scores) < len(self._metrics) or not self._improves(scores):
            self.since += 1
            self.failed += record.status is Status.FAILED
            return False
        self._front = [one for one in self._front if not _covers(scores, one)]
        self._front.append(scores)
        self.since = self.failed = 0
        self.best, self.trial = (values[0] if len(values) == 1 else None), record.trial
        return True

    def _improves(self, scores: tuple[float, ...]) -> bool:
        if self._least and self._front:
            return self._front[0][0] - scores[0] > self._least
        return not any(_covers(one, scores) for one in self._front)

    def to_dict(self) -> dict[str, Any]:
        """As the study's record keeps it: JSON types."""
        return {
            "ended": self.ended, "since": self.since, "failed": self.failed, "best": self.best,
            "trial": self.trial,
        }  # fmt: skip

    def said(self, metric: str) -> str:
        """The best, and what has come since, in words."""
        if self.trial < 0:
            return f"none of {self.ended} trials has a result"
        best = f"{metric} {self.best:.6g} of trial {self.trial}" if self.best is not None else ""
        failed = f", {self.failed} of them failed" if self.failed else ""
        return (
            f"the best is {best or f'the front that trial {self.trial} has joined last'}; "
            f"{self.since} of {self.ended} trials have ended since{failed}"
        )


def _covers(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether scores equal or beat others in each objective; less is better."""
    return all(map(operator.le, one, other))


def counts(record: TaskRecord) -> bool:
    """Whether a task that has ended says something about its parameters: its trial doesn't run again."""
    is_fault = record.reason_class is not None and record.reason_class.is_machine_fault
    return record.status.is_finished and not is_interrupted(record) and not is_fault


def plateau(record: StudyRecord) -> dict[str, Any] | None:
    """The advice to end a study whose best is old; None where there is none to give, or nothing is known.

    Nobody who has asked for an end by `stop_when = "no improvement in N trials"` needs it.

    Returns:
        ``since`` of ``ended`` trials came after ``trial``, which has the ``best`` value (None with several
        objectives); ``chance`` of an improvement within as many trials again as ended since, if all were
        drawn at random; and the ``advice`` in words.
    """
    known = record.course
    since, ended, trial = _count(known, "since"), _count(known, "ended"), _count(known, "trial")
    asked = isinstance(record.budget.get("no_improvement"), Mapping)
    if asked or trial < 0 or since < PLATEAU or since * 2 < ended:
        return None
    best = known.get("best")
    if isinstance(best, bool) or not isinstance(best, (int, float)):
        best = None
    metric = record.metrics[0].key
    value = f"the front of trial {trial}" if best is None else f"{metric} {best:.6g} of trial {trial}"
    chance = since / (ended + since)
    return {
        "since": since,
        "ended": ended,
        "trial": trial,
        "best": best,
        "chance": round(chance, 3),
        "advice": (
            f"plateau: {value} is the best, and the last {since} of {ended} trials have not improved it; "
            f"drawn at random, {since} more would with a chance of {chance:.0%}. "
            f'`controller stop` ends it; stop_when = "no improvement in {since} trials" does so by itself'
        ),
    }


def _count(known: Mapping[str, Any], name: str) -> int:
    value = known.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
