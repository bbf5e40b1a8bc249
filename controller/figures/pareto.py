"""Studies with several objectives: the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from controller.figures.figure import (
    ACCENT,
    HOVER,
    POINT,
    Drawn,
    Options,
    axis,
    clickable,
    empty,
    figure,
    number,
    objective_name,
)  # fmt: skip
from controller.results import pareto
from controller.results.study_data import StudyData, TaskData

MOST_POINTS = 3_000
MOST_OBJECTIVES = 4
"""Objectives that are drawn, each pair of them in a field of its own."""


def several(data: StudyData) -> bool:
    return len(data.objectives) > 1


def front_of(data: StudyData, tasks: Sequence[TaskData]) -> list[TaskData]:
    """The tasks that no other dominates."""
    scores = [tuple(m.score(task.value(m) or 0.0) for m in data.objectives) for task in tasks]
    return [tasks[index] for index in next(pareto.fronts(scores), ())]


def draw(data: StudyData, options: Options) -> Drawn:
    """All results over each pair of objectives, the front marked."""
    tasks = data.ranked()
    if not tasks:
        return empty("no trial has a result of each objective yet")
    front = front_of(data, tasks)
    on_front = {task.record.id for task in front}
    others = [task for task in tasks if task.record.id not in on_front]
    step = -(-len(others) // MOST_POINTS) or 1
    others = others[::step]
    pairs = list(combinations(range(min(MOST_OBJECTIVES, len(data.objectives))), 2))
    columns = 1 if len(pairs) == 1 else 3 if len(pairs) > 4 else len(pairs)
    rows = -(-len(pairs) // columns)
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    for place, (across, up) in enumerate(pairs):
        suffix = str(place + 1) if place else ""
        row, column = divmod(place, columns)
        gap_x, gap_y = (0.06, 0.12) if len(pairs) > 1 else (0.0, 0.0)
        layout[f"xaxis{suffix}"] = axis(
            objective_name(data, across), anchor=f"y{suffix}",
            domain=[column / columns + gap_x / 2, (column + 1) / columns - gap_x / 2],
        )  # fmt: skip
        layout[f"yaxis{suffix}"] = axis(
            objective_name(data, up), anchor=f"x{suffix}",
            domain=[1 - (row + 1) / rows + gap_y / 2, 1 - row / rows - gap_y / 2],
        )  # fmt: skip
        for name, those, marker in (
            ("trial", others, {"color": POINT, "size": 5, "opacity": 0.6}),
            ("Pareto front", front, {"color": ACCENT, "size": 8}),
        ):
            traces.append(_points(data, name, those, marker, (across, up), suffix, first=place == 0))
    shown = [*front, *others]
    meta = {**clickable(task.record for task in shown), "shown": len(shown), "of": len(tasks)}
    return figure(traces, **layout, height=max(380, 320 * rows), meta=meta)


def _points(
    data: StudyData,
    name: str,
    tasks: Sequence[TaskData],
    marker: dict[str, Any],
    pair: tuple[int, int],
    suffix: str,
    *,
    first: bool,
) -> dict[str, Any]:
    across, up = (data.objectives[index] for index in pair)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "legendgroup": name,
        "showlegend": first,
        "x": [number(task.value(across)) for task in tasks],
        "y": [number(task.value(up)) for task in tasks],
        "customdata": [task.record.trial for task in tasks],
        "hovertemplate": HOVER,
        "marker": marker,
        "xaxis": f"x{suffix}",
        "yaxis": f"y{suffix}",
    }
