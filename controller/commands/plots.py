"""``--plot``: a study's best value so far, and a task's learning curves, as curves in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from controller.results.curves import Curve, read_curves
from controller.results.history import by_trial
from controller.results.study_data import StudyData, TaskData, read_study
from controller.screen.plots import Line, Plot
from worker.protocol import ObjectiveMetric, Store, TaskRecord
from worker.protocol.metrics import split_key
from worker.protocol.printable import one_line

MOST_PLOTS = 6
"""Plots of one task: the objective's metrics first."""


def study_plots(store: Store, study: str) -> list[Plot | Text]:
    """The best value so far over the trials; of several objectives the first two over each other."""
    data = read_study(store, study)
    drawn: list[Plot | Text] = [_pareto(data) if len(data.objectives) > 1 else _best_so_far(data)]
    if data.left_out:
        drawn.append(Text(f"  {data.left_out} of its trials are left out", style="dim"))
    return drawn


def _best_so_far(data: StudyData) -> Plot:
    results = by_trial(data)
    steps = [
        (result.trial, best)
        for before, result in zip([*results[:1], *results], results, strict=False)
        for best in (before.best, result.best)
    ]
    lines = [
        Line(
            name="each trial",
            x=[result.trial for result in results],
            y=[result.value for result in results],
            joined=False,
        ),
        Line(name="best so far", x=[x for x, _ in steps], y=[y for _, y in steps], color=1),
    ]
    return Plot(f"{data.objectives[0].key} of study {data.study.name}", "trial", lines)


def _pareto(data: StudyData) -> Plot:
    from controller.figures.pareto import front_of

    first, second = data.objectives[:2]
    tasks = data.ranked()
    front = front_of(data, tasks)
    lines = [
        _points("each trial", tasks, first, second, joined=False),
        # Of more than two objectives the front is no line in these two.
        _points("Pareto front", front, first, second, joined=len(data.objectives) == 2, color=1),
    ]
    return Plot(f"{second.key} of study {data.study.name}", first.key, lines)


def _points(
    name: str,
    tasks: Sequence[TaskData],
    x: ObjectiveMetric,
    y: ObjectiveMetric,
    *,
    joined: bool,
    color: int = 0,
) -> Line:
    pairs = sorted((task.value(x) or 0.0, task.value(y) or 0.0) for task in tasks)
    return Line(name=name, x=[a for a, _ in pairs], y=[b for _, b in pairs], joined=joined, color=color)


def task_plots(store: Store, record: TaskRecord) -> list[Plot | Text]:
    """What a task has reported over its iterations: a plot for each title, the objectives' first."""
    found = {
        key: curve
        for key, curve in read_curves(store, [record.id]).get(record.id, {}).items()
        if len(curve.values) > 1
    }
    objectives = [metric.key for metric in record.spec.metrics]
    titles: dict[str, dict[str, Curve]] = {}
    for key in sorted(found, key=lambda key: (key not in objectives, key)):
        titles.setdefault(split_key(key)[0], {})[key] = found[key]
    drawn: list[Plot | Text] = []
    for title, curves in list(titles.items())[:MOST_PLOTS]:
        lines = [
            Line(name=key, x=curve.iterations, y=curve.values, color=place)
            for place, (key, curve) in enumerate(curves.items())
        ]
        drawn.append(Plot(next(iter(curves)) if len(curves) == 1 else title, "iteration", lines))
    if not titles:
        drawn.append(Text("nothing to plot: no metric has two points"))
    elif more := list(titles)[MOST_PLOTS:]:
        drawn.append(Text(f"not drawn: {one_line(', '.join(more))}"))
    return drawn
