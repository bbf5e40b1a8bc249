"""Two searches as one figure: the best so far of both, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.figures.figure import ACCENT, LINE, Drawn, axis, empty, figure, number, plain
from controller.insight.compare import SIDES, Comparison, Mark, Spread

_BANDS = ("rgba(59, 130, 196, 0.18)", "rgba(224, 123, 57, 0.18)")


def draw(found: Comparison, over: str) -> Drawn:
    """The best so far over ``trials`` or ``cost``."""
    marks = found.over_trials if over == "trials" else found.over_cost
    traces = [trace for place in range(len(SIDES)) for trace in _side(found, marks, place)]
    if not traces:
        return empty("no study has a result yet")
    across = axis("trials", type="log") if over == "trials" else axis("computing (s)")
    return figure(traces, xaxis=across, yaxis=axis(found.objective))


def _side(found: Comparison, marks: Sequence[Mark], place: int) -> list[dict[str, Any]]:
    known = [(mark.at, spread) for mark in marks if (spread := mark.sides[place]) is not None]
    if not known:
        return []
    color, runs = (LINE, ACCENT)[place], found.sides[place]
    name = runs[0].study if len(runs) == 1 else f"{len(runs)} studies"
    line = {
        "type": "scatter", "mode": "lines+markers", "name": plain(f"{SIDES[place]}: {name}"),
        "x": [number(at) for at, _ in known],
        "y": [number(spread.mean) for _, spread in known],
        "line": {"color": color, "width": 2, "shape": "hv"},
        "legendgroup": SIDES[place],
    }  # fmt: skip
    return [*_band(known, place), line]


def _band(known: Sequence[tuple[float, Spread]], place: int) -> list[dict[str, Any]]:
    """The interval as an area; none for a single study."""
    edges = [[spread.low for _, spread in known], [spread.high for _, spread in known]]
    if any(value is None for edge in edges for value in edge):
        return []
    return [
        {
            "type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False,
            "x": [number(at) for at, _ in known],
            "y": [number(value) for value in edge],
            "line": {"width": 0, "shape": "hv"},
            "legendgroup": SIDES[place],
            **({"fill": "tonexty", "fillcolor": _BANDS[place]} if upper else {}),
        }
        for upper, edge in enumerate(edges)
    ]  # fmt: skip
