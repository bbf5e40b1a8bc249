"""The shapes of what is measured."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


def environment() -> dict[str, str]:
    """Of what is measured: compiled modules are kept, as they are wherever nobody has forbidden it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    ours: float
    reference: float
    sense: str
    """``>=`` or ``<=``: how the ratio should compare to the aim."""
    aim: float

    @property
    def ratio(self) -> float:
        """Ours over the reference."""
        return self.ours / self.reference

    @property
    def holds(self) -> bool:
        return self.ratio >= self.aim if self.sense == ">=" else self.ratio <= self.aim

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ours": self.ours,
            "reference": self.reference,
            "ratio": self.ratio,
            "aim": f"{self.sense} {self.aim:g}",
            "holds": self.holds,
        }


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run over many no-op jobs."""

    per_s: float
    gap_p50_ms: float
    """From the end of a job to the start of the next one on the same slot."""
    gap_p95_ms: float


def sample(stamps: Iterable[tuple[str, float, float]]) -> Sample:
    """A run's figures from (slot, start, end) of each job, without the first tenth of them (start-up)."""
    ordered = sorted(stamps, key=lambda stamp: stamp[1])
    ordered = ordered[len(ordered) // 10 :]
    per_s = (len(ordered) - 1) / (ordered[-1][1] - ordered[0][1])
    last_end: dict[str, float] = {}
    gaps = []
    for slot, start, end in ordered:
        if slot in last_end:
            gaps.append((start - last_end[slot]) * 1000)
        last_end[slot] = end
    if len(gaps) < 2:  # a process for each job: nothing tells the slots apart
        return Sample(per_s=per_s, gap_p50_ms=math.nan, gap_p95_ms=math.nan)
    cuts = statistics.quantiles(gaps, n=20)
    return Sample(per_s=per_s, gap_p50_ms=statistics.median(gaps), gap_p95_ms=cuts[18])


def read_stamps(lines: Iterable[str]) -> list[tuple[str, float, float]]:
    """Stamps as the no-op jobs write them: ``slot start end``."""
    found = []
    for line in lines:
        slot, start, end = line.split()
        found.append((slot, float(start), float(end)))
    return found
