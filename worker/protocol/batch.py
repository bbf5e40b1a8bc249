"""What an attempt reports: points, gathered in batches."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.protocol.metrics import Summary, metric_key


@dataclass(frozen=True, kw_only=True)
class Point:
    """One reported value."""

    title: str
    series: str
    value: float
    iteration: int
    at: float
    """Seconds since the epoch."""
    is_final: bool = False
    """The program's return value: it replaces the last value instead of adding an iteration."""

    @property
    def key(self) -> str:
        """Key of its metric."""
        return metric_key(self.title, self.series)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Points that an attempt has reported since the last ones were written."""

    seq: int
    """Number of this batch within the attempt, from 1. Readers drop a repeated one."""
    points: Sequence[Point]
    """The oldest first."""
    summaries: Mapping[str, Summary]
    """The summaries after this batch, of the metrics that occur in it."""

    def encode(self) -> str:
        """As one entry of a task's series: ``[seq, [[metric key, iteration, value, time], ...]]``."""
        shown = [[p.key, p.iteration, as_json(p.value), round(p.at, 3)] for p in self.points]
        return json.dumps([self.seq, shown], separators=(",", ":"))


def as_json(value: float) -> float | str:
    """A value as JSON has it: text where it is not finite."""
    return value if math.isfinite(value) else repr(value)
