"""A task that is run again, and how far the two runs differ: in what they reported and in what they ran in.

The second run is a task of its own, outside its study: nothing there counts, ranks or tells it. Its parent is
the task that it repeats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from worker.protocol import Status, Store, TaskRecord, new_task_id
from worker.protocol.errors import BadInput
from worker.protocol.surroundings import Difference, differences

TAG = "reproduction"
"""Of the tasks that repeat others."""
MACHINE = ":monitor:"
MOST_LOOKED_AT = 300
"""Tasks outside studies among which repeats are looked for, the newest."""
MOST_METRICS = 200
"""Metrics that are compared, those that the study optimizes first."""


def repeat_of(source: TaskRecord, queue: str, now: float) -> TaskRecord:
    """The task, not queued yet, that runs what `source` ran: parameters, code, limits, and its seed.

    Args:
        now: seconds since the epoch.

    Raises:
        BadInput: it hasn't run, runs still, or nothing is known that could be run.
    """
    about = f"task {source.id[:8]}"
    if not source.status.is_finished:
        raise BadInput(f"{about}: it is {source.status}; it can be compared once it has ended")
    if not source.spec.objective:
        raise BadInput(f"{about} ({source.name:.100}): nothing is known that could be run")
    spec = replace(
        source.spec,
        queue=queue,
        check_only=False,
        retry_on=(),
        tags=tuple(dict.fromkeys((*source.spec.tags, TAG))),
        seed=source.seed,
        # An objective written for Optuna gets a trial of its own by that, with these parameters.
        confirms=source.id,
    )
    return TaskRecord(
        id=new_task_id(),
        name=f"Reproduction of {source.name}"[:1000],
        project=source.project,
        parent=source.id,
        spec=spec,
        status=Status.CREATED,
        created_at=now,
    )


@dataclass(frozen=True, kw_only=True)
class MetricPair:
    """One metric of both runs, at the last iteration that both have reported."""

    metric: str
    is_objective: bool
    iteration: int | None
    """None where they have no iteration in common: then their last values are compared."""
    before: float | None
    """None where it has not reported it."""
    after: float | None
    first_difference: int | None
    """The first iteration at which they differ."""
    largest: float | None
    """The largest difference of all iterations in common."""
    common: int
    """How many iterations they have in common."""

    @property
    def is_identical(self) -> bool:
        """Whether they agree to the last bit wherever both have reported."""
        return self.first_difference is None and _same(self.before, self.after)

    @property
    def difference(self) -> float | None:
        """``after - before``; None where one of them is missing or not finite."""
        if self.before is None or self.after is None:
            return None
        found = self.after - self.before
        return found if math.isfinite(found) else None

    @property
    def relative(self) -> float | None:
        """The difference as a share of the first run's value; None where that is 0."""
        if self.difference is None or not self.before:
            return None
        return self.difference / abs(self.before)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "metric": self.metric,
            "is_objective": self.is_objective,
            "iteration": self.iteration,
            "before": _finite(self.before),
            "after": _finite(self.after),
            "difference": self.difference,
            "relative": self.relative,
            "first_difference": self.first_difference,
            "largest": _finite(self.largest),
            "common": self.common,
            "is_identical": self.is_identical,
        }


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a second run compares with the first."""

    first: TaskRecord
    second: TaskRecord
    metrics: tuple[MetricPair, ...]
    surroundings: tuple[Difference, ...] | None
    """What differs of what they ran in; None where that isn't known of both."""
    unknown: str = ""
    """Of whom it isn't known."""

    @property
    def objectives(self) -> list[MetricPair]:
        return [pair for pair in self.metrics if pair.is_objective]

    @property
    def is_identical(self) -> bool:
        """Whether both ended alike, with equal values of the study's objectives; without, of all metrics."""
        compared = self.objectives or list(self.metrics)
        return bool(compared) and self._ended_alike and all(pair.is_identical for pair in compared)

    @property
    def _ended_alike(self) -> bool:
        # Whether a study's pruner or limit ended the first one says nothing of the program.
        return self.first.status is self.second.status or (
            self.first.status is Status.STOPPED and self.second.status is Status.COMPLETED
        )

    @property
    def verdict(self) -> str:
        """In words, one sentence."""
        first, second = self.first, self.second
        if not second.status.is_finished:
            return f"it is {second.status}: nothing can be said yet"
        if not self._ended_alike:
            why = f" ({second.reason:.200})" if second.reason else ""
            return f"it has {_ended(second)}{why}; the first had {_ended(first)}"
        compared = self.objectives or list(self.metrics)
        if not compared:
            return f"both have {_ended(second)}, and neither has reported anything that could be compared"
        if self.is_identical:
            return f"identical: {', '.join(pair.metric for pair in compared)} to the last digit"
        return "; ".join(_differs(pair) for pair in compared if not pair.is_identical)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        found = None if self.surroundings is None else [one.as_dict() for one in self.surroundings]
        return {
            "task": self.first.id,
            "study": self.first.study,
            "reproduction": self.second.id,
            "status": [self.first.status.value, self.second.status.value],
            "reason": [self.first.reason, self.second.reason],
            "compute_s": [self.first.compute_s, self.second.compute_s],
            "seed": [self.first.seed, self.second.seed],
            "code": self.second.spec.code.get("sha256"),
            "is_identical": self.is_identical,
            "verdict": self.verdict,
            "metrics": [pair.as_dict() for pair in self.metrics],
            "surroundings": found,
            "surroundings_unknown": self.unknown,
        }


def compare(store: Store, first: TaskRecord, second: TaskRecord) -> Reproduction:
    """How far a second run differs from the first: values, and what they ran in."""
    before, after = (store.surroundings.of_task(record) for record in (first, second))
    missing = [name for name, one in (("the first run", before), ("the second run", after)) if one is None]
    return Reproduction(
        first=first,
        second=second,
        metrics=tuple(_pairs(store, first, second)),
        # A study that brings its own code has it in both.
        surroundings=tuple(differences(before, after, code=not first.spec.code))
        if before and after
        else None,
        unknown=" and ".join(missing),
    )


def repeats_of(store: Store, source: TaskRecord) -> list[TaskRecord]:
    """The tasks that repeat one, the newest first."""
    ids = store.tasks.base_tasks()[:MOST_LOOKED_AT]
    found = (record for record in store.tasks.get_many(ids) if record is not None)
    return [record for record in found if record.parent == source.id and TAG in record.spec.tags]


def _pairs(store: Store, first: TaskRecord, second: TaskRecord) -> list[MetricPair]:
    scalars = store.reports.scalars([first.id, second.id], leave_out=MACHINE)
    wanted = [metric.key for metric in first.spec.metrics]
    names = list(dict.fromkeys([*wanted, *sorted({**scalars[0], **scalars[1]})]))[:MOST_METRICS]
    series = [_latest(store, record) for record in (first, second)]
    found = []
    for name in names:
        last = [data[name].last if name in data else None for data in scalars]
        if last != [None, None]:
            curves = [by_name.get(name, {}) for by_name in series]
            found.append(_pair(name, name in wanted, curves, last))
    return found


def _latest(store: Store, record: TaskRecord) -> dict[str, dict[int, float]]:
    """Metric key → iteration → the value reported last for it."""
    return {
        key: {iteration: value for iteration, value, _ in points}
        for key, points in store.reports.series(record.id).items()
        if not key.startswith(MACHINE)
    }


def _pair(
    name: str, is_objective: bool, curves: Sequence[Mapping[int, float]], last: Sequence[float | None]
) -> MetricPair:
    common = sorted(curves[0].keys() & curves[1].keys())
    apart = [at for at in common if not _same(curves[0][at], curves[1][at])]
    sizes = [abs(curves[1][at] - curves[0][at]) for at in common]
    return MetricPair(
        metric=name,
        is_objective=is_objective,
        iteration=common[-1] if common else None,
        before=curves[0][common[-1]] if common else last[0],
        after=curves[1][common[-1]] if common else last[1],
        first_difference=apart[0] if apart else None,
        largest=max((size for size in sizes if math.isfinite(size)), default=None),
        common=len(common),
    )


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _ended(record: TaskRecord) -> str:
    return {Status.COMPLETED: "completed", Status.FAILED: "failed"}.get(record.status, "been stopped")


def _differs(pair: MetricPair) -> str:
    """One metric's difference in words."""
    if pair.before is None or pair.after is None:
        which = "first" if pair.after is None else "second"
        return f"{pair.metric}: only the {which} run has reported it"
    if _same(pair.before, pair.after):
        text = f"{pair.metric}: {pair.after:.6g} in both at the end"
    else:
        text = f"{pair.metric}: {pair.after:.6g}, {pair.before:.6g} before"
        text += "" if pair.relative is None else f" ({100 * pair.relative:+.3g} %)"
    if pair.common > 1 and pair.first_difference is not None:
        text += f"; they part at iteration {pair.first_difference} of {pair.iteration}"
        text += "" if pair.largest is None else f", by at most {pair.largest:.3g}"
    return text
