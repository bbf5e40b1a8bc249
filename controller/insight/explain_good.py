"""A trial's parameters beside those of the trials that its sampler took for good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controller.results.parameters import as_written, shown
from worker.protocol import TaskRecord


def beside_good(
    record: TaskRecord, others: Iterable[TaskRecord], reason: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Parameter → where its value lies among the good ones', by the reason of an ask.

    Numbers have ``value``, ``low``, ``high`` and ``within``; others ``value`` and ``same`` of ``n``.
    """
    good = reason.get("good")
    if not isinstance(good, Sequence) or isinstance(good, str):
        return {}
    wanted = {number for number in good if isinstance(number, int)}
    theirs = [as_written(one, everything=False) for one in others if one.trial in wanted]
    found: dict[str, dict[str, Any]] = {}
    for name, value in as_written(record, everything=False).items():
        values = [one[name] for one in theirs if one.get(name) is not None]
        if not values or value is None:
            continue
        if all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (value, *values)):
            low, high = min(values), max(values)
            found[name] = {"value": value, "low": low, "high": high, "within": low <= value <= high}
        else:
            found[name] = {"value": value, "same": values.count(value), "n": len(values)}
    return found


def good_words(places: Mapping[str, Mapping[str, Any]]) -> str:
    """Such as ``lr 0.002 (the good ones: 0.001 to 0.004), opt adam (2 of 2 good ones)``."""
    parts = []
    for name, place in places.items():
        value = shown(place["value"])
        if "low" in place:
            low, high = shown(place["low"]), shown(place["high"])
            theirs = low if low == high else f"{low} to {high}"
            beyond = "" if place["within"] else "beyond "
            parts.append(f"{name} {value} ({beyond}the good ones' {theirs})")
        else:
            parts.append(f"{name} {value} ({place['same']} of {place['n']} good ones)")
    return ", ".join(parts)
