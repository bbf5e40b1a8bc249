"""All figures by name, in the order in which they are shown."""

from __future__ import annotations

from controller.figures import by_optuna, curves, parallel, pareto, progress, timeline
from controller.figures.figure import Figure
from controller.results.study_data import StudyData

_ALL = (
    Figure(name="best", title="Best so far, by trial", draw=progress.over_trials),
    Figure(name="best-over-time", title="Best so far, over time", draw=progress.over_time),
    Figure(name="pareto", title="Pareto front", draw=pareto.draw, applies=pareto.several),
    Figure(name="hypervolume", title="Hypervolume", draw=by_optuna.hypervolume, applies=pareto.several),
    Figure(name="curves", title="Learning curves", draw=curves.draw),
    Figure(name="values", title="Values of the objective", draw=progress.histogram),
    Figure(name="importances", title="What matters", draw=by_optuna.importances),
    Figure(name="parallel", title="Parallel coordinates", draw=parallel.draw),
    Figure(name="slices", title="Slices", draw=by_optuna.slices),
    Figure(name="contour", title="Contour", draw=by_optuna.contour),
    Figure(name="rank", title="Rank", draw=by_optuna.rank),
    Figure(name="timeline", title="Timeline by worker and slot", draw=timeline.draw),
)
FIGURES = {figure.name: figure for figure in _ALL}
"""Name, as in addresses → figure."""


def applicable(data: StudyData) -> list[Figure]:
    """The figures that a study has."""
    return [figure for figure in _ALL if figure.applies(data)]
