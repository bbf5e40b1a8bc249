"""A confirmation as rows of a table, for the terminal, the page and the report."""

from __future__ import annotations

from typing import Any

from controller.insight.confirm_answer import Confirmation, Confirmed, Measure


def rows_of(answer: Confirmation) -> list[dict[str, Any]]:
    """A row for each configuration, the most likely best first."""
    several = len(answer.objectives) > 1
    return [_row(one, several=several) for one in answer.configurations]


def _row(one: Confirmed, *, several: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"trial": one.trial, "place": one.place, "repeats": _repeats(one)}
    for measure in one.measures:
        name = f"{measure.metric} " if several else ""
        row[f"{name}mean"] = measure.mean
        row[f"{name}95 %"] = _interval(measure)
        row[f"{name}shown"] = measure.shown
    row["best"] = "" if one.probability is None else f"{100 * one.probability:.0f} %"
    row["parameters"] = ", ".join(f"{name}={_short(value)}" for name, value in one.parameters.items())
    row["why"] = one.dropped
    return row


def _repeats(one: Confirmed) -> str:
    failed = f", {one.failed} failed" if one.failed else ""
    still = f", {one.open} to end" if one.open else ""
    return f"{one.repeats}{failed}{still}"


def _interval(measure: Measure) -> str:
    if measure.low is None or measure.high is None:
        return ""
    return f"{measure.low:.5g} to {measure.high:.5g}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
