"""Metrics: how one is named, the summary kept of it, and which ones a study optimizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from worker.protocol.bounds import MAX_NUMBER, bounded_int
from worker.protocol.errors import BadInput, RecordError

MACHINE = ":monitor:machine"
"""Title of the metrics that the worker samples itself."""


SINGLE_VALUES = "Summary"
"""Title of the metrics that belong to a whole run, ClearML's ``report_single_value``: series is the name."""

NO_ITERATION = -(2**31)
"""What stands, in ClearML and in a program's report, for the iteration of a single value."""


def metric_key(title: str, series: str = "") -> str:
    """The one name of a metric: ``title/series``, or the title alone where there is no series."""
    return f"{title}/{series}" if series else title


def split_key(key: str) -> tuple[str, str]:
    """`key` as (title, series): split at the last slash; series is empty when there is none."""
    title, slash, series = key.rpartition("/")
    return (title, series) if slash else (key, "")


class Sign(str, Enum):
    """What is best, in ClearML's words: of the last values, or of all values ever reported."""

    MIN = "min"
    MAX = "max"
    MIN_GLOBAL = "min_global"
    MAX_GLOBAL = "max_global"

    @property
    def maximizes(self) -> bool:
        return self in (Sign.MAX, Sign.MAX_GLOBAL)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is kept of one metric of one task: the same few numbers after any number of reports.

    NaN and infinities are counted in `count`, `last` and `last_iteration`, never in `min` and `max`.
    """

    title: str
    series: str
    last: float
    """Value of the highest iteration; of several reports there, the latest."""
    min: float
    """Smallest finite value; NaN while there is none."""
    max: float
    """Largest finite value; NaN while there is none."""
    count: int
    """Reports."""
    last_iteration: int
    """Highest iteration reported."""
    iterations: int
    """Distinct iterations, counted as they rise."""

    @classmethod
    def of(cls, title: str, series: str) -> Summary:
        nan = math.nan
        return cls(
            title=title, series=series, last=nan, min=nan, max=nan, count=0, last_iteration=-1, iterations=0
        )

    def add(self, value: float, iteration: int) -> Summary:
        """The summary after one more report."""
        low, high = self.min, self.max
        if math.isfinite(value):
            low = value if math.isnan(low) else min(low, value)
            high = value if math.isnan(high) else max(high, value)
        rises = iteration > self.last_iteration
        return replace(
            self,
            last=value if iteration >= self.last_iteration else self.last,
            min=low,
            max=high,
            count=self.count + 1,
            last_iteration=max(self.last_iteration, iteration),
            iterations=self.iterations + rises,
        )

    def with_final(self, value: float) -> Summary:
        """The summary after the program returned `value` as the metric's final value.

        It replaces the last value without adding an iteration, unless it is the only value.
        """
        if self.count == 0:
            return self.add(value, 0)
        added = self.add(value, self.last_iteration)
        return replace(added, count=self.count)

    def value(self, sign: Sign) -> float:
        """The value that counts for an objective with this sign; NaN when there is none."""
        if sign is Sign.MIN_GLOBAL:
            return self.min
        if sign is Sign.MAX_GLOBAL:
            return self.max
        return self.last

    @property
    def key(self) -> str:
        return metric_key(self.title, self.series)

    def to_list(self) -> list[Any]:
        """As stored: short, because there is one for every metric of every task."""
        numbers = [_encode(x) for x in (self.last, self.min, self.max)]
        return [self.title, self.series, *numbers, self.count, self.last_iteration, self.iterations]

    @classmethod
    def from_list(cls, data: Any) -> Summary:
        """Inverse of `to_list`. Raises `RecordError` when `data` isn't one."""
        try:
            title, series, last, low, high, count, last_iteration, iterations = data
            return cls(
                title=str(title),
                series=str(series),
                last=float(last),
                min=float(low),
                max=float(high),
                count=bounded_int(count, 0, MAX_NUMBER),
                last_iteration=bounded_int(last_iteration, -MAX_NUMBER, MAX_NUMBER),
                iterations=bounded_int(iterations, 0, MAX_NUMBER),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise RecordError(f"scalars: not a metric summary: {data!r:.300}") from error


def _encode(number: float) -> float | str:
    # JSON has no NaN and no infinities; float() reads these words back.
    return number if math.isfinite(number) else repr(number)


@dataclass(frozen=True, kw_only=True)
class ObjectiveMetric:
    """A metric that the study optimizes, and in which sense."""

    title: str
    series: str
    sign: Sign

    @property
    def key(self) -> str:
        return metric_key(self.title, self.series)

    def score(self, value: float) -> float:
        """`value` turned so that smaller is better, as the ranking index orders."""
        return -value if self.sign.maximizes else value

    def to_dict(self) -> dict[str, str]:
        return {"title": self.title, "series": self.series, "sign": self.sign.value}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ObjectiveMetric:
        try:
            return cls(title=data["title"], series=data["series"], sign=Sign(data["sign"]))
        except (KeyError, TypeError) as error:
            raise RecordError(f"objective metric: needs title, series and sign, got {data!r}") from error
        except ValueError as error:
            signs = ", ".join(sign.value for sign in Sign)
            raise BadInput(f"objective metric: unknown sign {data['sign']!r}; use one of {signs}") from error


def violations(constraints: Sequence[Mapping[str, Any]], scalars: Mapping[str, Summary]) -> list[float]:
    """By how much a task's last values are over each bound: feasible where all are 0 or below.

    Args:
        constraints: as in `TaskSpec.constraints`.
        scalars: the task's summaries by metric key.

    Returns:
        One number per constraint; 1.0 for a metric without a finite value.
    """
    found = []
    for constraint in constraints:
        summary = scalars.get(constraint["metric"])
        value = summary.last if summary is not None else math.nan
        if not math.isfinite(value):
            found.append(1.0)
        elif constraint.get("max") is not None:
            found.append(value - float(constraint["max"]))
        else:
            found.append(float(constraint["min"]) - value)
    return found
