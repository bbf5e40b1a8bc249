"""What Optuna draws: importances, slices, contour, rank, hypervolume.

It draws a study in memory, made of the tasks' own parameters and values: Optuna's storage may be away, and a
file of `controller export` is enough.
"""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection

from controller.figures.figure import LINE, Drawn, Options, clickable, empty, figure, number, plain
from controller.figures.pareto import front_of
from controller.figures.sample import sampled
from controller.figures.space import Dimension, dimensions, parameters_of, results, shown
from controller.results.study_data import StudyData, TaskData
from controller.search.study import quiet_optuna

MOST_TRIALS = 2_000
MOST_MARKERS = 6_000
"""Points of all slices together: each is a shape of its own to a browser."""
MOST_SLICES = 12
CELLS = 30
"""Stretches of an axis of the contour: its grid has so many cells along each side at most."""
TOO_FEW = "too few trials have a result yet"
FEWEST = 4
"""Trials with which importances are looked at."""


class InMemory:
    """Tasks that have results, as a study of Optuna's."""

    def __init__(self, data: StudyData, tasks: Sequence[TaskData], cells: int = 0) -> None:
        """
        Args:
            cells: put each number into the middle of one of so many stretches of its axis; 0 leaves it.
        """
        rows = [parameters_of(task) for task in tasks]
        self.dimensions = {found.name: found for found in dimensions(data.study.sweep, rows)}
        self.tasks = tasks
        directions = [
            StudyDirection.MAXIMIZE if metric.sign.maximizes else StudyDirection.MINIMIZE
            for metric in data.objectives
        ]
        self.study = optuna.create_study(directions=directions)
        self.study.add_trials(
            [
                self._trial(row, [task.value(m) or 0.0 for m in data.objectives], cells)
                for task, row in zip(tasks, rows, strict=True)
            ]
        )

    def _trial(self, row: Mapping[str, Any], values: list[float], cells: int) -> optuna.trial.FrozenTrial:
        params, distributions = {}, {}
        for name, value in row.items():
            found = self.dimensions[name]
            # Names and choices end up as text in the figure.
            distributions[plain(name)] = distribution(found)
            params[plain(name)] = _snapped(found, value, cells)
        return optuna.trial.create_trial(params=params, distributions=distributions, values=values)


def distribution(found: Dimension) -> BaseDistribution:
    """What Optuna calls a dimension."""
    if found.categories:
        return CategoricalDistribution(found.categories)
    if found.whole:
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)


def _snapped(found: Dimension, value: Any, cells: int) -> Any:
    if found.categories:
        return shown(value)
    if not cells or found.low == found.high or (found.whole and found.high - found.low < cells):
        return value
    middle = (min(cells - 1, int(found.place(value) * cells)) + 0.5) / cells
    if found.log:
        at = found.low * (found.high / found.low) ** middle
    else:
        at = found.low * (1 - middle) + found.high * middle
    return round(at) if found.whole else at


def _importances(data: StudyData, tasks: Sequence[TaskData], objective: int) -> dict[str, float]:
    """Name as shown → how much a parameter matters, the most important first; empty where nobody can tell."""
    if len(tasks) < FEWEST:
        return {}
    held = InMemory(data, tasks)
    metric = data.objectives[objective]
    # Of a target of one's own, PED-ANOVA takes the lowest values for the best.
    target = None if len(data.objectives) == 1 else lambda trial: metric.score(trial.values[objective])
    try:
        return optuna.importance.get_param_importances(held.study, target=target)
    except (ValueError, RuntimeError):  # all values are the same, or only one parameter varies
        return {}


def _looked_at(data: StudyData, options: Options) -> tuple[list[TaskData], int]:
    """The trials that are drawn, and how many there are."""
    found = results(data)
    return sampled(data, found, MOST_TRIALS, options.objective), len(found)


def importances(data: StudyData, options: Options) -> Drawn:
    """How much each parameter matters for reaching the best tenth (PED-ANOVA)."""
    found = _importances(data, _looked_at(data, options)[0], options.objective)
    if not found:
        return empty(TOO_FEW)
    names = list(found)[: MOST_SLICES * 2][::-1]
    return figure(
        [
            {
                "type": "bar",
                "orientation": "h",
                "x": [round(found[name], 4) for name in names],
                "y": list(range(len(names))),
                "text": [f"{found[name]:.2f}" for name in names],
                "textposition": "auto",
                "textangle": 0,
                "hoverinfo": "none",
                "marker": {"color": LINE},
            }
        ],
        xaxis={"title": {"text": "importance"}, "rangemode": "tozero"},
        yaxis={"tickvals": list(range(len(names))), "ticktext": names, "automargin": True},
        showlegend=False,
        height=max(240, 90 + 26 * len(names)),
    )


def slices(data: StudyData, options: Options) -> Drawn:
    """The value over each parameter: of the named ones, or of those that matter most."""
    tasks, of = _looked_at(data, options)
    names = _chosen(data, tasks, options, MOST_SLICES)
    if not names:
        return empty(TOO_FEW)
    shown_tasks = sampled(data, tasks, MOST_MARKERS // len(names), options.objective)
    held = InMemory(data, shown_tasks)
    drawn = _plotted(optuna.visualization.plot_slice, data, held, names, options)
    layout = drawn["layout"]
    layout.pop("width", None)
    count = len(names)
    columns = min(max(1, options.columns), count)
    rows = -(-count // columns)
    for place in range(count if count > 1 else 0):
        row, column = divmod(place, columns)
        suffix = str(place + 1) if place else ""
        width, height = 1 / columns, 1 / rows
        layout[f"xaxis{suffix}"]["domain"] = [column * width + 0.025, (column + 1) * width - 0.025]
        below = 0.28 / rows if rows > 1 else 0.0
        layout[f"yaxis{suffix}"]["domain"] = [1 - (row + 1) * height + below, 1 - row * height]
        layout[f"yaxis{suffix}"]["showticklabels"] = column == 0
    for trace in drawn["data"]:
        trace["marker"] |= {"size": 5}
        trace["hovertemplate"] = "trial %{marker.color}<br>%{x}: %{y}<extra></extra>"
        trace["customdata"] = trace["marker"].get("color")
    layout["height"] = max(320, 60 + 260 * rows)
    return _finished(drawn, shown_tasks, of)


def contour(data: StudyData, options: Options) -> Drawn:
    """The best value over two parameters: the named ones, or those that matter most."""
    tasks, of = _looked_at(data, options)
    names = _chosen(data, tasks, options, 2)
    if len(names) < 2:
        return empty("a contour needs two parameters that vary, and trials that have a result")
    held = InMemory(data, tasks, cells=CELLS)
    drawn = _plotted(optuna.visualization.plot_contour, data, held, names, options)
    for trace in drawn["data"]:
        if trace["type"] == "scatter":
            trace |= {"hoverinfo": "skip", "opacity": 0.6}
            trace["marker"] = {"size": 3, "color": "#202428", "line": {"width": 0}}
    return _finished(drawn, tasks, of)


def rank(data: StudyData, options: Options) -> Drawn:
    """Trials over two parameters, colored by their rank."""
    tasks, of = _looked_at(data, options)
    names = _chosen(data, tasks, options, 2)
    if len(names) < 2:
        return empty("a rank plot needs two parameters that vary, and trials that have a result")
    held = InMemory(data, tasks)
    drawn = _plotted(optuna.visualization.plot_rank, data, held, names, options)
    first = drawn["data"][0]
    first["marker"]["size"] = 6
    numbers = [task.record.trial for task in tasks if _has(task, names)]
    first["customdata"] = numbers
    first.pop("hovertext", None)
    first["hovertemplate"] = "trial %{customdata}<br>%{x}, %{y}<extra></extra>"
    return _finished(drawn, tasks, of)


def hypervolume(data: StudyData, options: Options) -> Drawn:
    """The hypervolume of the Pareto front so far, beyond what is a little worse than the worst of each."""
    tasks = data.ranked()
    if len(tasks) < 2:
        return empty(TOO_FEW)
    most = MOST_TRIALS if len(data.objectives) <= 3 else MOST_HARD
    shown_tasks = _with_front(data, tasks, most)
    reference = []
    for metric in data.objectives:
        values = [task.value(metric) or 0.0 for task in tasks]
        low, high = min(values), max(values)
        beyond = (high / 2 - low / 2) * 0.2 or abs(high) * 0.1 or 1.0
        reference.append(low - beyond if metric.sign.maximizes else high + beyond)
    held = InMemory(data, shown_tasks)
    drawn = as_json(optuna.visualization.plot_hypervolume_history(held.study, reference))
    line = drawn["data"][0]
    numbers = [task.record.trial for task in shown_tasks]
    line |= {"mode": "lines", "x": numbers, "customdata": numbers, "line": {"color": LINE, "shape": "hv"}}
    return _finished(drawn, shown_tasks, len(tasks))


MOST_HARD = 300
"""Trials of a study with four objectives or more: the volume's cost grows fast with them."""


def _with_front(data: StudyData, tasks: Sequence[TaskData], most: int) -> list[TaskData]:
    """At most about `most` tasks, the Pareto front among them, in their order."""
    if len(tasks) <= most:
        return list(tasks)
    front = {task.record.id for task in front_of(data, tasks)[:most]}
    step = -(-len(tasks) // max(1, most - len(front)))
    return [task for place, task in enumerate(tasks) if task.record.id in front or place % step == 0]


def _chosen(data: StudyData, tasks: Sequence[TaskData], options: Options, most: int) -> list[str]:
    """Names of parameters that vary, as shown: the named ones, or those that matter most."""
    rows = [parameters_of(task) for task in tasks]
    varying = [
        plain(found.name)
        for found in dimensions(data.study.sweep, rows)
        if len(found.categories) > 1 or found.low < found.high
    ]
    if options.parameters:
        return [name for name in map(plain, options.parameters) if name in varying][:most]
    if len(varying) <= most:
        return varying
    order = list(_importances(data, tasks, options.objective))
    ranked = [name for name in order if name in varying]
    return (ranked + [name for name in varying if name not in ranked])[:most]


def _has(task: TaskData, names: Sequence[str]) -> bool:
    own = {plain(name) for name in parameters_of(task)}
    return all(name in own for name in names)


def _target(data: StudyData, objective: int) -> Callable[[optuna.trial.FrozenTrial], float] | None:
    """What Optuna is to look at, of several objectives."""
    if len(data.objectives) == 1:
        return None
    return lambda trial: float(trial.values[objective])


def _plotted(
    plot: Callable[..., Any], data: StudyData, held: InMemory, names: Sequence[str], options: Options
) -> Drawn:
    """One of Optuna's figures of a value over parameters."""
    title = plain(data.objectives[options.objective].key)
    target = _target(data, options.objective)
    return as_json(plot(held.study, params=list(names), target=target, target_name=title))


def as_json(made: Any) -> Drawn:
    """A figure of plotly's package as plain JSON types, without its title and template."""
    found: Drawn = json.loads(json.dumps(made.to_plotly_json(), default=_plain_value))
    layout = found["layout"]
    for name in ("template", "title"):
        layout.pop(name, None)
    return {"data": _finite(found["data"]), "layout": _finite(layout)}


def _plain_value(value: Any) -> Any:
    # numpy's arrays and numbers
    return value.tolist()


def _finite(value: Any) -> Any:
    """JSON has no NaN: None is what Plotly takes for a gap. Arrays, which Plotly packs, become lists."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        if "bdata" in value:
            return _finite(_unpacked(value))
        return {key: _finite(item) for key, item in value.items()}
    return value


def _unpacked(packed: Mapping[str, Any]) -> Any:
    """The numbers of an array in Plotly's own form: type, bytes in base 64, and the shape of several rows."""
    numbers = np.frombuffer(base64.b64decode(packed["bdata"]), dtype=packed["dtype"])
    shape = [int(size) for size in str(packed.get("shape", "-1")).split(",")]
    return numbers.reshape(shape).tolist()


def _finished(drawn: Drawn, tasks: Sequence[TaskData], of: int) -> Drawn:
    """One of Optuna's figures with what all of ours have."""
    common = figure([])["layout"]
    meta = {**clickable(task.record for task in tasks), "shown": len(tasks), "of": of}
    return {"data": drawn["data"], "layout": {**common, "showlegend": False, **drawn["layout"], "meta": meta}}


quiet_optuna()
warnings.filterwarnings(
    "ignore", "PedAnovaImportanceEvaluator computes the importances of params to achieve low"
)
