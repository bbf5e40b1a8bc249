"""Learning curves of many trials over each other."""

from __future__ import annotations

from typing import Any

from controller.figures.figure import (
    HOVER,
    Drawn,
    Options,
    axis,
    clickable,
    empty,
    figure,
    number,
    objective_name,
)
from controller.figures.sample import sampled
from controller.results.curves import MOST_POINTS, Curve, picked
from controller.results.study_data import StudyData, TaskData
from worker.protocol import Reason, Status

COLORS = (
    "#3b82c4", "#e07b39", "#3f9b58", "#b08cc9", "#d1495b",
    "#d9a520", "#3aa6a6", "#a5673f", "#c46fa0", "#7b8f3a",
)  # fmt: skip
MOST_CURVES = 1_000
NAMED = 30
"""Curves that have an entry in the legend; of more of them the legend names kinds."""
PRUNED = "#a9a9a9"


def draw(data: StudyData, options: Options) -> Drawn:
    """The curves in `data`, of one metric; those of pruned trials are dotted, among many grey."""
    metric = options.metric or objective_name(data, options.objective)
    having = [task for task in data.tasks if metric in data.curves.get(task.record.id, {})]
    if not having:
        return empty(f"no trial has reported {metric} yet")
    tasks = sampled(data, having, MOST_CURVES, options.objective)
    found = picked({task.record.id: data.curves[task.record.id] for task in tasks}, metric, MOST_POINTS)
    if len(tasks) <= NAMED:
        traces = [
            _one(task, found[task.record.id], COLORS[place % len(COLORS)], options.by_time)
            for place, task in enumerate(tasks)
        ]
    else:
        traces = _by_kind(tasks, found, options.by_time)
    across = axis("minutes since the trial's start") if options.by_time else axis("iteration")
    return figure(
        traces,
        xaxis=across,
        yaxis=axis(metric),
        meta={**clickable(task.record for task in tasks), "shown": len(tasks), "of": len(having)},
    )


def is_pruned(task: TaskData) -> bool:
    return task.record.reason_class is Reason.PRUNED


def _one(task: TaskData, curve: Curve, color: str, by_time: bool) -> dict[str, Any]:
    """One trial as a trace of its own, named in the legend."""
    kind = _kind(task)
    return {
        "type": "scatter",
        "mode": "lines" if len(curve.values) > 1 else "markers",
        "name": f"trial {task.record.trial}" + ("" if kind == "completed" else f" ({kind})"),
        "x": _across(task, curve, by_time),
        "y": [number(value) for value in curve.values],
        "customdata": [task.record.trial] * len(curve.values),
        "hovertemplate": HOVER,
        "line": {"color": color, "width": 1.5, "dash": "dot" if is_pruned(task) else "solid"},
        "marker": {"color": color},
    }


def _kind(task: TaskData) -> str:
    if is_pruned(task):
        return "pruned"
    return "running" if task.record.status is Status.IN_PROGRESS else task.record.status.value


KINDS = {
    "pruned": PRUNED, "failed": "#d1495b", "stopped": "#a5673f", "queued": "#d9a520", "completed": "#3b82c4",
    "running": "#3f9b58",
}  # fmt: skip
"""Color of each kind of many curves, the first at the back."""


def _by_kind(tasks: list[TaskData], curves: dict[str, Curve], by_time: bool) -> list[dict[str, Any]]:
    """Many trials: one trace a kind, a line with gaps, which a browser draws as one shape."""
    traces = []
    for kind, color in KINDS.items():
        those = [task for task in tasks if _kind(task) == kind]
        x: list[float | None] = []
        y: list[float | None] = []
        trials: list[int] = []
        for task in those:
            curve = curves[task.record.id]
            x += [*_across(task, curve, by_time), None]
            y += [*(number(value) for value in curve.values), None]
            trials += [task.record.trial] * (len(curve.values) + 1)
        if those:
            traces.append(
                {
                    "type": "scatter", "mode": "lines", "name": f"{kind} ({len(those)})",
                    "x": x, "y": y, "customdata": trials, "hovertemplate": HOVER, "opacity": 0.55,
                    "line": {"color": color, "width": 1, "dash": "dot" if kind == "pruned" else "solid"},
                }
            )  # fmt: skip
    return traces


def _across(task: TaskData, curve: Curve, by_time: bool) -> list[float]:
    if not by_time:
        return [float(iteration) for iteration in curve.iterations]
    # An attempt that resumed has points of the one before.
    starts = [task.record.started_at or curve.times[0], *(one.started_at for one in task.record.earlier)]
    began = min(start for start in (*starts, curve.times[0]))
    return [round((at - began) / 60, 4) for at in curve.times]
