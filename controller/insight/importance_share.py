"""A share with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

INTERVAL = (5.0, 95.0)
"""Percentiles between which nine of ten draws lie."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """From 0 to 1, with the interval in which nine of ten bootstraps lie."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%})"


def shares_of(values: Sequence[float], drawn: Sequence[Sequence[float]]) -> list[Share]:
    """Values with intervals, which reach to the value itself where all draws lie to one side of it.

    Args:
        drawn: for each bootstrap, the values in the same order.
    """
    if not drawn:
        return [Share(value=value, low=value, high=value) for value in values]
    lows, highs = np.percentile(np.array(drawn), INTERVAL, axis=0)
    return [
        Share(value=float(value), low=float(min(low, value)), high=float(max(high, value)))
        for value, low, high in zip(values, lows, highs, strict=True)
    ]
