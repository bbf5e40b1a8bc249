"""Best so far, over trials and over time, and how the values are spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.figures.figure import (
    ACCENT,
    HOVER,
    LINE,
    POINT,
    Drawn,
    Options,
    axis,
    empty,
    figure,
    number,
    objective_name,
    plain,
    stamp,
)  # fmt: skip
from controller.results.curves import peaks
from controller.results.history import Result, by_time, by_trial, steps
from controller.results.study_data import StudyData

MOST_POINTS = 5_000
NOTHING = "no trial has a result yet"


def over_trials(data: StudyData, options: Options) -> Drawn:
    """The value of each trial, and the best so far, by trial number."""
    results = by_trial(data, options.objective)
    return _history(data, options, results, [result.trial for result in results], axis("trial"))


def over_time(data: StudyData, options: Options) -> Drawn:
    """The value of each trial, and the best so far, by the moment of the trial's end."""
    results = by_time(data, options.objective)
    places = [stamp(result.ended_at) for result in results]
    return _history(data, options, results, places, axis("time (UTC)", type="date"))


def _history(
    data: StudyData,
    options: Options,
    results: Sequence[Result],
    places: Sequence[Any],
    across: dict[str, Any],
) -> Drawn:
    if not results:
        return empty(NOTHING)
    shown = peaks([result.value for result in results], MOST_POINTS)
    turns = steps(results)
    where = dict(zip((result.trial for result in results), places, strict=True))
    return figure(
        [
            {
                "type": "scatter", "mode": "markers", "name": "trial",
                "x": [places[i] for i in shown],
                "y": [number(results[i].value) for i in shown],
                "customdata": [results[i].trial for i in shown],
                "hovertemplate": HOVER,
                "marker": {"color": POINT, "size": 5, "opacity": 0.7},
            },
            {
                "type": "scatter", "mode": "lines", "name": "best so far",
                "x": [where[result.trial] for result in turns],
                "y": [number(result.best) for result in turns],
                "customdata": [result.trial for result in turns],
                "hovertemplate": HOVER,
                "line": {"color": ACCENT, "width": 2, "shape": "hv"},
            },
        ],
        xaxis=across,
        yaxis=axis(objective_name(data, options.objective)),
        meta={"tasks": {str(r.trial): r.task_id for r in (*turns, *(results[i] for i in shown))}},
    )  # fmt: skip


def histogram(data: StudyData, options: Options) -> Drawn:
    """How often which value was reached, by trials whose results rank."""
    results = by_trial(data, options.objective)
    if not results:
        return empty(NOTHING)
    values = sorted(result.value for result in results)
    # Counted here: a hundred numbers instead of one for each trial.
    low, high = values[0], values[-1]
    bins = min(60, max(1, round(len(values) ** 0.5)))
    width = (high / bins - low / bins) or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int(value / width - low / width)))] += 1
    edges = [low + i * width for i in range(bins + 1)]
    return figure(
        [
            {
                "type": "bar",
                "x": [low + (i + 0.5) * width for i in range(bins)],
                "y": counts,
                "width": width,
                "hovertext": [
                    f"{edges[i]:.5g} to {edges[i + 1]:.5g}: {counts[i]} trial(s)" for i in range(bins)
                ],
                "hoverinfo": "text",
                "marker": {"color": LINE},
                "name": plain(objective_name(data, options.objective)),
            }
        ],
        xaxis=axis(objective_name(data, options.objective)),
        yaxis=axis("trials", rangemode="tozero"),
        bargap=0.05,
        showlegend=False,
    )
