"""The plots of the report: all figures that a study has, small enough to be mailed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from controller.figures import FIGURES, Options, applicable
from controller.figures.figure import Drawn
from controller.report.facts import Facts
from controller.report.packing import packed, squeezed
from controller.results.study_data import StudyData

CURVES = "curves"
WHOLE = (CURVES, "slices", "parallel", "timeline")
"""Figures that take the page's whole width."""
PER_OBJECTIVE = (
    "best", "best-over-time", CURVES, "values", "importances", "parallel", "slices", "contour", "rank",
)  # fmt: skip
"""Figures of which each objective has its own."""
LOGARITHMIC = ("best", "best-over-time", "hypervolume", CURVES)
"""Figures that have a button for a logarithmic axis."""
MOST_OBJECTIVES = 4
MOST_METRICS = 4
"""Metrics beside the objectives whose learning curves are drawn: those that most trials have reported."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One figure on the page."""

    id: str
    title: str
    data: str
    """Plotly's figure, packed."""
    whole: bool
    log: bool
    curves: bool
    """Learning curves: over iterations or time, smoothed or not."""


def plots(data: StudyData, facts: Facts) -> list[Plot]:
    """The figures that have something to show, in their order."""
    return [
        _plot(f"figure-{number}", name, title, figure)
        for number, (name, title, figure) in enumerate(_drawn(data, facts))
        if figure["data"]
    ]


def _drawn(data: StudyData, facts: Facts) -> Iterator[tuple[str, str, Drawn]]:
    """Name, title and Plotly's figure of each."""
    keys = [metric.key for metric in data.objectives[:MOST_OBJECTIVES]]
    for figure in applicable(data):
        for number, key in enumerate(keys if figure.name in PER_OBJECTIVE else [""]):
            title = f"{figure.title}: {key}" if key and len(keys) > 1 else figure.title
            if figure.name == CURVES:
                yield CURVES, title, _curves(data, objective=number)
            else:
                yield figure.name, title, figure(data, Options(objective=number))
        if figure.name == CURVES:
            yield from _more_curves(data, facts)


def _more_curves(data: StudyData, facts: Facts) -> Iterator[tuple[str, str, Drawn]]:
    """Learning curves of the best trials by themselves, and of what else was reported."""
    title = FIGURES[CURVES].title
    best = {trial.task: data.curves[trial.task] for trial in facts.best if trial.task in data.curves}
    if len(data.curves) > len(best) > 0:
        yield CURVES, f"{title} of the best {len(best)}", _curves(data.with_curves(best))
    reported = Counter(key for curves in data.curves.values() for key in sorted(curves))
    others = [key for key, _ in reported.most_common() if key not in facts.metrics]
    for key in others[:MOST_METRICS]:
        # What was said once is no curve.
        if any(len(curves[key].values) > 1 for curves in data.curves.values() if key in curves):
            yield CURVES, f"{title}: {key}", _curves(data, metric=key)


def _curves(data: StudyData, **options: Any) -> Drawn:
    """Learning curves over iterations, with their places over time as ``time``."""
    found = FIGURES[CURVES](data, Options(**options))
    by_time = FIGURES[CURVES](data, Options(**options, by_time=True))
    places = [trace["x"] for trace in by_time["data"]]
    return {**found, "time": {"x": places, "xaxis": by_time["layout"].get("xaxis")}}


def _plot(place: str, name: str, title: str, figure: Drawn) -> Plot:
    # `meta` leads from points to pages, which are not here.
    layout = {key: value for key, value in figure["layout"].items() if key != "meta"}
    return Plot(
        id=place,
        title=title,
        data=squeezed({**packed(figure), "layout": layout}),
        whole=name in WHOLE,
        log=name in LOGARITHMIC,
        curves=name == CURVES,
    )
