"""Parallel coordinates: how parameters and value of each trial go together.

Plotly's own kind of this figure needs WebGL, and with it a script that makes scripts, which the page's policy
forbids. Lines with gaps need neither, and are fluent for a thousand trials.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from controller.figures.figure import (
    LONGEST_TEXT,
    Drawn,
    Options,
    clickable,
    empty,
    figure,
    objective_name,
    plain,
)
from controller.figures.sample import by_value, sampled
from controller.figures.space import Dimension, dimensions, parameters_of, results, shown
from controller.results.study_data import StudyData, TaskData
from controller.results.task_rows import OWN
from worker.protocol.values import as_text

MOST_TRIALS = 1_000
MOST_AXES = 20
BANDS = 10
"""Colors: a tenth of the trials each, the best in front."""
BEST, WORST = (0xD9, 0x48, 0x0F), (0x9F, 0xB3, 0xC8)
"""Red, green and blue of the first and last of them: seen on white and on black."""
ABSENT = -0.06
"""Where the line of a trial passes the axis of a parameter that it has not."""
MOST_LABELS = 12


def draw(data: StudyData, options: Options) -> Drawn:
    """A line for each trial, from axis to axis; the value is on the last axis, and gives the color."""
    found = results(data)
    tasks = sampled(data, found, MOST_TRIALS, options.objective)
    rows = [parameters_of(task) for task in tasks]
    axes = dimensions(data.study.sweep, rows)
    if options.parameters:
        axes = [axis for axis in axes if axis.name in options.parameters]
    if not tasks or not axes:
        return empty("no trial with parameters has a result yet")
    axes = axes[:MOST_AXES]
    metric = data.objectives[options.objective]
    values = [task.value(metric) or 0.0 for task in tasks]
    last = Dimension(name=objective_name(data, options.objective), low=min(values), high=max(values))
    lines = {
        task.record.id: [
            *(axis.place(row[axis.name]) if axis.name in row else ABSENT for axis in axes),
            last.place(value),
        ]
        for task, row, value in zip(tasks, rows, values, strict=True)
    }
    return figure(
        _bands(by_value(data, tasks, options.objective), lines),
        xaxis={
            "tickvals": list(range(len(axes) + 1)),
            "ticktext": [_short(axis.name) for axis in (*axes, last)],
            "range": [-0.3, len(axes) + 0.3],
            "showgrid": True, "zeroline": False, "automargin": True,
        },
        yaxis={"visible": False, "range": [-0.1, 1.08], "fixedrange": True},
        annotations=[note for place, axis in enumerate((*axes, last)) for note in _labels(place, axis)],
        showlegend=False,
        height=420,
        meta={
            **clickable(task.record for task in tasks), "shown": len(tasks), "of": len(found),
            "axes": [*(_about(data, axis, rows) for axis in axes), _about_objective(metric.key, last)],
        },
    )  # fmt: skip


def _about(data: StudyData, axis: Dimension, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a page needs of an axis to choose a range on it, and to have the table show it."""
    taken = axis.name in OWN or axis.name in [metric.key for metric in data.objectives]
    found: dict[str, Any] = {
        "name": axis.name,
        "column": f"parameter/{axis.name}" if taken else axis.name,
        "low": axis.low, "high": axis.high, "log": axis.log,
    }  # fmt: skip
    if axis.categories:
        values = {shown(row[axis.name]): row[axis.name] for row in rows if axis.name in row}
        found["categories"] = [as_text(values[text])[:LONGEST_TEXT] for text in axis.categories]
        found["literals"] = [_literal(values[text]) for text in axis.categories]
    return found


def _about_objective(key: str, axis: Dimension) -> dict[str, Any]:
    column = f"metric/{key}" if key in OWN else key
    return {"name": key, "column": column, "low": axis.low, "high": axis.high, "log": False}


def _literal(value: Any) -> str | None:
    """A choice as the filter of a table has it; None for what can't stand there."""
    if isinstance(value, (bool, int, float)):
        return repr(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else None


def _bands(best_first: Sequence[TaskData], lines: dict[str, list[float]]) -> list[dict[str, Any]]:
    """One line with gaps for each color, the worst at the back."""
    bands = min(BANDS, len(best_first))
    colors = [_color(place / max(1, bands - 1)) for place in range(bands)]
    traces = []
    for band in reversed(range(bands)):
        part = best_first[band * len(best_first) // bands : (band + 1) * len(best_first) // bands]
        x: list[int | None] = []
        y: list[float | None] = []
        trials: list[int] = []
        for task in part:
            line = lines[task.record.id]
            x += [*range(len(line)), None]
            y += [*(round(place, 5) for place in line), None]
            trials += [task.record.trial] * (len(line) + 1)
        traces.append(
            {
                "type": "scatter", "mode": "lines", "x": x, "y": y, "customdata": trials,
                "name": f"tenth {band + 1}" if bands == BANDS else f"rank {band + 1}",
                "hovertemplate": "trial %{customdata}<extra>%{fullData.name}</extra>",
                "line": {"color": colors[band], "width": 2 if band == 0 else 1},
                "opacity": 0.9 if band == 0 else 0.45,
            }
        )  # fmt: skip
    return traces


def _color(place: float) -> str:
    """From `BEST` at 0 to `WORST` at 1."""
    red, green, blue = (round(a + (b - a) * place) for a, b in zip(BEST, WORST, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _labels(place: int, axis: Dimension) -> list[dict[str, Any]]:
    """What stands beside an axis: its ends, or what was chosen from."""
    if axis.categories:
        step = -(-len(axis.categories) // MOST_LABELS)
        last = max(1, len(axis.categories) - 1)
        texts = [
            (number / last if len(axis.categories) > 1 else 0.5, _short(text))
            for number, text in enumerate(axis.categories)
            if number % step == 0
        ]
    else:
        middle = (axis.low * axis.high) ** 0.5 if axis.log else axis.low / 2 + axis.high / 2
        texts = [(0.0, f"{axis.low:.4g}"), (0.5, f"{middle:.3g}"), (1.0, f"{axis.high:.4g}")]
        if axis.low == axis.high:
            texts = [(0.5, f"{axis.low:.4g}")]
    return [
        {"x": place, "y": at, "text": text, "showarrow": False, "xanchor": "left", "xshift": 3,
         "yshift": 7, "font": {"size": 10}}
        for at, text in texts
    ]  # fmt: skip


def _short(text: str) -> str:
    return plain(text if len(text) <= 18 else text[:17] + "…")
