"""The end of a study as its controller foresaw it: what its record keeps, for all who show it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.results.durations import spoken
from worker.protocol.clock import iso

FRESH_S = 300.0
"""A forecast older than that is none: its controller has gone, or can't say any more."""


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """A forecast at the moment when it is shown. Each range is low, median, high of an 80 % interval."""

    now: float
    left_s: tuple[float, float, float]
    others: Mapping[str, tuple[float, float, float]]
    """``trials``, ``slot_hours``, ``gpu_hours``, ``money``: those that are known."""
    currency: str = ""

    @property
    def text(self) -> str:
        """As ``5 min (4 min to 7 min)``."""
        low, median, high = (spoken(max(1, round(value))) for value in self.left_s)
        return median if low == high else f"{median} ({low} to {high})"

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        names = ("low", "median", "high")
        found: dict[str, Any] = {
            "left_s": dict(zip(names, (round(value, 1) for value in self.left_s), strict=True)),
            "ends_at": {name: iso(self.now + value) for name, value in zip(names, self.left_s, strict=True)},
        }
        for kind, values in self.others.items():
            found[kind] = dict(zip(names, values, strict=True))
        return {**found, "currency": self.currency}

    def words(self) -> str:
        """All of it in a line: ``about 5 min (4 min to 7 min); in all 0.5 slot-hours``."""
        cost = self.cost_text()
        return f"about {self.text}" + (f"; in all {cost}" if cost else "")

    def cost_text(self) -> str:
        """Slot-hours, GPU-hours and money, those that are known; empty for none."""
        parts = []
        for kind, form in (("slot_hours", "{:.3g} slot-hours"), ("gpu_hours", "{:.3g} GPU-hours")):
            if kind in self.others:
                parts.append(form.format(self.others[kind][1]))
        if "money" in self.others:
            low, median, high = self.others["money"]
            unit = f" {self.currency}" if self.currency else ""
            parts.append(f"cost {median:.2f}{unit} ({low:.2f} to {high:.2f})")
        return ", ".join(parts)


def foreseen(kept: Mapping[str, Any], now: float) -> Foreseen | None:
    """What a study's controller foresees; None where it says nothing, or nothing new.

    Args:
        kept: as the study's record has it.
    """
    at, left = _number(kept.get("at")), _range(kept.get("left_s"))
    if at is None or left is None or now - at > FRESH_S:
        return None
    low, median, high = (max(0.0, value - max(0.0, now - at)) for value in left)
    others = {
        kind: found
        for kind in ("trials", "slot_hours", "gpu_hours", "money")
        for found in [_range(kept.get(kind))]
        if found is not None
    }
    return Foreseen(
        now=now, left_s=(low, median, high), others=others, currency=str(kept.get("currency") or "")[:20]
    )


def _range(value: object) -> tuple[float, float, float] | None:
    if not isinstance(value, Mapping):
        return None
    found = [_number(value.get(name)) for name in ("low", "median", "high")]
    low, median, high = found
    return None if low is None or median is None or high is None else (low, median, high)


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type] # checked above
