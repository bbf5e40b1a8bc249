"""Small drawings within a page, as the attributes of SVG elements: the policy allows no styles there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 100.0, 24.0
"""Of a sparkline's ``viewBox``."""
EDGE = 2.0


def points_of(values: Sequence[float]) -> str:
    """The ``points`` of a polyline through values, one after the other; empty for fewer than two."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    height = HEIGHT - 2 * EDGE
    found = []
    for place, value in enumerate(finite):
        x = WIDTH * place / (len(finite) - 1)
        # Halves first: the difference of two huge numbers may be infinite.
        share = 0.5 if high == low else (value / 2 - low / 2) / (high / 2 - low / 2)
        found.append(f"{x:.1f},{HEIGHT - EDGE - height * share:.1f}")
    return " ".join(found)


def shares(counts: Mapping[str, int]) -> list[dict[str, object]]:
    """The parts of a bar of width 100: each count's name, ``x`` and ``width``. Those of 0 are left out."""
    total = sum(counts.values())
    found: list[dict[str, object]] = []
    x = 0.0
    for name, count in counts.items():
        if count > 0:
            width = 100 * count / total
            found.append({"name": name, "count": count, "x": f"{x:.2f}", "width": f"{width:.2f}"})
            x += width
    return found
