"""What a figure is, and the parts that all of them are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from controller.results.study_data import StudyData
from worker.protocol import TaskRecord

Drawn = dict[str, Any]
"""``{"data": [traces], "layout": {...}}`` of JSON types."""

LINE, POINT, ACCENT = "#3b82c4", "#8fa3b8", "#e07b39"
"""Colors of traces: seen on white and on black."""
LONGEST_TEXT = 120
"""Characters of a name or sentence in a figure."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a reader may choose of a figure; each figure takes what concerns it."""

    objective: int = 0
    """Which of several objectives."""
    metric: str = ""
    """Key of the metric of learning curves; empty for the objective."""
    by_time: bool = False
    """Over time since the trial's start rather than over iterations."""
    parameters: tuple[str, ...] = ()
    """Names of parameters; empty for those that matter most."""
    columns: int = 4
    """Fields beside each other, of figures that have many."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One kind of figure.

    Calling it draws a study; a study that has nothing to show yet gives an empty figure that says so.
    """

    name: str
    title: str
    draw: Callable[[StudyData, Options], Drawn]
    applies: Callable[[StudyData], bool] = lambda data: True
    """Whether a study has such a figure at all: a Pareto front needs several objectives."""

    def __call__(self, data: StudyData, options: Options | None = None) -> Drawn:
        return self.draw(data, options or Options())


def figure(traces: Sequence[dict[str, Any]], **layout: Any) -> Drawn:
    """A figure of these traces.

    Args:
        layout: over what all figures have.
    """
    return {
        "data": list(traces),
        "layout": {
            "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
            "hovermode": "closest",
            "legend": {"orientation": "h", "y": 1.08, "yanchor": "bottom"},
            **layout,
        },
    }


def empty(why: str) -> Drawn:
    """A figure that says why there is nothing to see."""
    return figure(
        [],
        xaxis={"visible": False},
        yaxis={"visible": False},
        annotations=[
            {"text": plain(why), "showarrow": False, "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper"}
        ],
    )


def axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": plain(title)}, "automargin": True, **more}


HOVER = "trial %{customdata}<br>%{x}: %{y}<extra></extra>"
"""What is said of a point whose ``customdata`` is its trial."""


def clickable(records: Iterable[TaskRecord]) -> dict[str, dict[str, str]]:
    """A layout's ``meta``: trial number → task id, so that a page can open the task of a point by its
    ``customdata``, the number."""
    return {"tasks": {str(record.trial): record.id for record in records}}


def plain(text: object) -> str:
    """Text as Plotly shows it unchanged: it takes some tags, links among them, for markup."""
    shown = str(text)
    if len(shown) > LONGEST_TEXT:
        shown = shown[: LONGEST_TEXT - 1] + "…"
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def number(value: float | None) -> float | None:
    """A value as JSON has it, with six digits: None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def stamp(seconds: float) -> str:
    """Seconds since the epoch as Plotly's axes take a moment, in UTC."""
    moment = datetime.fromtimestamp(max(0.0, min(seconds, 253_402_300_799.0)), tz=timezone.utc)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def objective_name(data: StudyData, index: int) -> str:
    """The key of an objective of the study."""
    return data.objectives[index].key
