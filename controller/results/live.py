"""What a study does now: a frame of it, as a value, for those who show it live."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from controller.results.parameters import as_written
from controller.results.standing import stands
from controller.results.top import find_top
from worker.protocol import ObjectiveMetric, Sign, Status, Store, StudyRecord, Summary, TaskRecord
from worker.protocol.metrics import violations

MOST_RUNNING = 64
"""Running trials that a frame holds; it counts the others."""
MOST_BEST = 100
"""Trials of a Pareto front that a frame holds."""


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """A trial that runs now."""

    trial: int
    task_id: str
    value: float | None
    """Its last value of the first objective; None while it has no finite one."""
    iteration: int | None
    """Of that value; None before the first report."""
    seconds: float
    """That it has computed, over all its attempts."""
    worker: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class BestTrial:
    """The best trial so far, or one that no other beats in every objective."""

    trial: int
    task_id: str
    values: Mapping[str, float]
    """Of each objective, by its key."""
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class EndedTrial:
    """A trial that has ended."""

    trial: int
    task_id: str
    status: Status
    reason_class: str
    """Empty for one that completed."""
    reason: str
    values: Mapping[str, float | None]
    """Of each objective; None where there is no finite one."""
    parameters: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A study at one moment."""

    study: str
    state: str
    """One of `StudyState`."""
    reason: str
    counts: Mapping[Status, int]
    """Tasks by status."""
    elapsed_s: float
    """Seconds that the study has run."""
    remaining_s: float | None
    """Seconds until it ends, as foreseen, else at this rate; None if nobody knows."""
    budget: Mapping[str, Mapping[str, Any]]
    """Used and limit of each kind, as in the study's record."""
    best: Sequence[BestTrial]
    """The best trial, or the newest of the Pareto front; empty while there is none."""
    running: Sequence[RunningTrial]
    """Those that run for longest, by trial; at most `MOST_RUNNING`."""
    workers: int
    """That serve the study's queue."""
    slots: int
    """Of these workers."""
    left: str = ""
    """The time until it ends with an interval, in words; empty where that isn't foreseen."""
    paused: int = 0
    """Workers that take no jobs for now."""
    waits_for: str = ""
    """What the controller, or the one who watches, waits for; empty for nothing."""

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return sum(count for status, count in self.counts.items() if status.is_finished)

    def progress(self) -> str:
        """In a line: ``12 ended · 2 running on 2 slot(s) · best 0.93 (trial 7)``."""
        best = ""
        if len(self.best) == 1 and len(self.best[0].values) == 1:
            (value,) = self.best[0].values.values()
            best = f" · best {value:.6g} (trial {self.best[0].trial})"
        on = f" on {self.slots} slot(s)" if self.slots else ""  # not counted yet, or none
        return f"{self.ended} ended · {self.counts.get(Status.IN_PROGRESS, 0)} running{on}{best}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "counts": {status.value: count for status, count in self.counts.items()}}


class BestKept:
    """The best of the trials that it is told of: one, or the Pareto front of several objectives.

    Not thread-safe; `trials` is replaced, never changed, and may be read by any thread.
    """

    def __init__(self, metrics: Sequence[ObjectiveMetric], trials: Iterable[BestTrial] = ()) -> None:
        self._metrics = tuple(metrics)
        self.trials: tuple[BestTrial, ...] = tuple(trials)

    @classmethod
    def of_study(cls, store: Store, record: StudyRecord) -> BestKept:
        """The best until now, by the ranking."""
        several = len(record.metrics) > 1
        rows = find_top(store, record, None if several else 1).details
        found = [
            BestTrial(
                trial=row["trial"],
                task_id=row["task_id"],
                values=_values_of(row["metrics"], record.metrics),
                parameters=row["hyper_parameters"],
            )
            for row in rows
            if row["rank"] is not None and not row.get("front")
        ]
        known = [one for one in found if len(one.values) == len(record.metrics)]
        return cls(record.metrics, sorted(known, key=lambda one: one.trial))

    def add(
        self, record: TaskRecord, values: Mapping[str, float | None], scalars: Mapping[str, Summary],
        parameters: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """A task has ended with these values of the objectives."""
        known = {key: value for key, value in values.items() if value is not None}
        if record.status is Status.FAILED or len(known) < len(self._metrics) or not stands(record):
            return
        scores = self._scores(known)
        kept = [one for one in self.trials if one.task_id != record.id]
        if any(_beats(self._scores(one.values), scores) for one in kept):
            return
        constraints = record.spec.constraints
        if constraints and any(excess > 0 for excess in violations(constraints, scalars)):
            return
        new = BestTrial(trial=record.trial, task_id=record.id, values=known, parameters=parameters)
        self.trials = (*(one for one in kept if not _beats(scores, self._scores(one.values))), new)

    def shown(self) -> Sequence[BestTrial]:
        """As a frame holds them: the newest of a front first."""
        return self.trials[: -MOST_BEST - 1 : -1]

    def _scores(self, values: Mapping[str, float]) -> list[float]:
        return [metric.score(values[metric.key]) for metric in self._metrics]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether `one` is no worse in any objective, and better in one; of one objective the earlier keeps."""
    if len(one) == 1:
        return one[0] <= other[0]
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def _values_of(
    described: Mapping[str, Mapping[str, Any]], metrics: Sequence[ObjectiveMetric]
) -> dict[str, float]:
    """What counts of each objective, by metrics as `ranking.metrics` describes them; the finite ones."""
    field = {Sign.MIN_GLOBAL: "min_value", Sign.MAX_GLOBAL: "max_value"}
    found = {m.key: described.get(m.key, {}).get(field.get(m.sign, "value")) for m in metrics}
    return {key: value for key, value in found.items() if value is not None}


def objective_values(
    metrics: Sequence[ObjectiveMetric], scalars: Mapping[str, Summary]
) -> dict[str, float | None]:
    """A task's value of each objective by its key; None where it has no finite one."""
    found: dict[str, float | None] = {}
    for metric in metrics:
        summary = scalars.get(metric.key)
        value = summary.value(metric.sign) if summary else None
        found[metric.key] = value if value is not None and math.isfinite(value) else None
    return found


def running_trial(
    record: TaskRecord, metrics: Sequence[ObjectiveMetric], scalars: Mapping[str, Summary], seconds: float
) -> RunningTrial:
    """A task that runs, with what it has reported last."""
    summary = scalars.get(metrics[0].key) if metrics else None
    return RunningTrial(
        trial=record.trial,
        task_id=record.id,
        value=summary.last if summary and math.isfinite(summary.last) else None,
        iteration=summary.last_iteration if summary and summary.count else None,
        seconds=round(seconds, 1),
        worker=record.worker,
        attempt=record.attempt,
    )


def ended_trial(
    record: TaskRecord, values: Mapping[str, float | None], parameters: Mapping[str, Any] | None = None
) -> EndedTrial:
    """A task that has ended.

    Args:
        parameters: those that were searched, if they are known; by default those of the record.
    """
    return EndedTrial(
        trial=record.trial,
        task_id=record.id,
        status=record.status,
        reason_class=record.reason_class.value if record.reason_class else "",
        reason=record.reason or "",
        values=values,
        parameters=parameters or as_written(record, everything=False),
        seconds=record.compute_s,
    )
