"""Attempts by worker and slot."""

from __future__ import annotations

from collections import Counter
from typing import Any

from controller.figures.figure import Drawn, Options, axis, clickable, empty, figure, plain, stamp
from controller.results.durations import spoken
from controller.results.study_data import StudyData
from controller.results.timeline import OUTCOMES, Attempt, timeline

COLORS = dict(
    zip(
        OUTCOMES,
        ("#3b82c4", "#3f9b58", "#b08cc9", "#8a8a8a", "#d1495b", "#e07b39", "#d9a520", "#a5673f"),
        strict=True,
    )
)
MOST_ATTEMPTS = 4_000
"""Attempts that are drawn, the newest, and of what did not simply complete as many as there is room for."""
MOST_SLOTS = 200


def draw(data: StudyData, options: Options) -> Drawn:
    """A bar for each attempt: one row a slot, one color an outcome."""
    attempts = _shown(timeline(data))
    if not attempts:
        return empty("no trial has begun yet")
    slots = list(dict.fromkeys(attempt.worker for attempt in attempts))
    traces = []
    for outcome in OUTCOMES:
        those = [attempt for attempt in attempts if attempt.outcome == outcome]
        if those:
            traces.append(_trace(outcome, those, {slot: place for place, slot in enumerate(slots)}))
    # Two workers may be called alike as far as a label goes: rows have numbers, and labels beside them.
    rows = axis(
        "",
        tickvals=list(range(len(slots))),
        ticktext=[plain(slot or "?") for slot in slots],
        range=[len(slots) - 0.4, -0.6],
    )
    shown = {attempt.task_id for attempt in attempts}
    return figure(
        traces,
        meta=clickable(task.record for task in data.tasks if task.record.id in shown),
        xaxis=axis("time (UTC)", type="date"),
        yaxis=rows,
        height=max(320, 110 + 22 * len(slots)),
    )


def _trace(outcome: str, attempts: list[Attempt], places: dict[str, int]) -> dict[str, Any]:
    """One line with gaps for all bars of a color: a browser draws thousands of them at once."""
    x: list[str | None] = []
    y: list[int | None] = []
    text: list[str] = []
    trials: list[int] = []
    for attempt in attempts:
        said = _said(attempt)
        x += [stamp(attempt.started_at), stamp(attempt.ended_at), None]
        y += [places[attempt.worker]] * 2 + [None]
        text += [said, said, ""]
        trials += [attempt.trial] * 3
    return {
        "type": "scatter",
        "mode": "lines",
        "name": outcome,
        "x": x,
        "y": y,
        "text": text,
        "customdata": trials,
        "hoverinfo": "text",
        "line": {"color": COLORS[outcome], "width": 12},
    }


def _said(attempt: Attempt) -> str:
    number = f", attempt {attempt.attempt}" if attempt.attempt > 1 else ""
    why = f": {attempt.reason}" if attempt.reason else ""
    took = spoken(attempt.ended_at - attempt.started_at)
    return plain(f"trial {attempt.trial}{number}, {attempt.outcome} after {took}{why}")


def _shown(attempts: list[Attempt]) -> list[Attempt]:
    """At most so many attempts and slots as a browser draws and a person reads, by slot and start."""
    busiest = {slot for slot, _ in Counter(attempt.worker for attempt in attempts).most_common(MOST_SLOTS)}
    kept = [attempt for attempt in attempts if attempt.worker in busiest]
    if len(kept) <= MOST_ATTEMPTS:
        return kept
    kept.sort(key=lambda attempt: (attempt.outcome != "completed", attempt.started_at))
    return sorted(kept[-MOST_ATTEMPTS:], key=lambda attempt: (attempt.worker, attempt.started_at))
