"""All figures by name, in the order in which they are shown."""

from __future__ import annotations

from controller.figures import curves, progress, timeline
from controller.figures.figure import Figure
from controller.results.study_data import StudyData

_ALL = (
    Figure(name="best", title="Best so far, by trial", draw=progress.over_trials),
    Figure(name="best-over-time", title="Best so far, over time", draw=progress.over_time),
    Figure(name="values", title="Values of the objective", draw=progress.histogram),
    Figure(name="curves", title="Learning curves", draw=curves.draw),
    Figure(name="timeline", title="Timeline by worker and slot", draw=timeline.draw),
)
FIGURES = {figure.name: figure for figure in _ALL}
"""Name, as in addresses → figure."""


def applicable(data: StudyData) -> list[Figure]:
    """The figures that a study has."""
    return [figure for figure in _ALL if figure.applies(data)]
