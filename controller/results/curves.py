"""Learning curves: what tasks have reported over iterations and time, thinned out on this side.

However much is stored, a figure gets at most some 20,000 points: a browser draws no more of them fluently,
and a screen shows no more.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.protocol import Store, keys
from worker.protocol.connection import hashes
from worker.protocol.reports import points_of

MONITOR = ":monitor:"
"""Metrics of the machine begin so."""
MOST_POINTS = 20_000
"""Points of all curves together."""
PER_CURVE = 500
"""Points that are kept of one curve."""
CHUNK = 20
"""Tasks in one round trip; each may have thousands of batches."""
WINDOWS, WINDOW = 500, 4
"""A task with more batches than in so many windows is read in windows, evenly spread: each is a sample."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric of one task, by rising iteration; the first and the last point are always there."""

    iterations: Sequence[int]
    values: Sequence[float]
    """NaN and infinities where they were reported."""
    times: Sequence[float]
    """When each was reported, seconds since the epoch."""

    def thinned(self, most: int) -> Curve:
        """At most `most` of its points, peaks among them."""
        kept = peaks(self.values, most)
        return Curve(
            iterations=array("q", (self.iterations[i] for i in kept)),
            values=array("d", (self.values[i] for i in kept)),
            times=array("d", (self.times[i] for i in kept)),
        )


def peaks(values: Sequence[float], most: int) -> Sequence[int]:
    """Indexes of at most `most` values: the ends, and of the stretches between the lowest and the highest.

    A plain sample would lose the peaks. Two are kept at least.
    """
    if len(values) <= max(2, most):
        return range(len(values))
    stretches = max(0, (most - 2) // 2)
    kept = {0, len(values) - 1}
    size = (len(values) - 2) / stretches if stretches else 0.0
    for number in range(stretches):
        stretch = range(1 + int(number * size), 1 + int((number + 1) * size))
        finite = [index for index in stretch if math.isfinite(values[index])]
        if finite:
            kept.add(min(finite, key=values.__getitem__))
            kept.add(max(finite, key=values.__getitem__))
        else:
            kept.update(stretch[:1])
    return sorted(kept)


def curves_of(
    task_id: str, batches: Iterable[str], most: int = PER_CURVE, *, machine: bool = False
) -> dict[str, Curve]:
    """The curves in a task's batches as they are stored: metric key → curve.

    Args:
        most: points of each.
        machine: with the machine's metrics.
    """
    found = {}
    for key, points in points_of(task_id, batches).items():
        if key.startswith(MONITOR) and not machine:
            continue
        # Of several reports of an iteration the latest counts.
        latest = {iteration: (value, at) for iteration, value, at in points}
        ordered = sorted(latest)
        curve = Curve(
            iterations=ordered,
            values=[latest[iteration][0] for iteration in ordered],
            times=[latest[iteration][1] for iteration in ordered],
        )
        found[key] = curve.thinned(most)
    return found


def read_curves(store: Store, task_ids: Sequence[str]) -> dict[str, Mapping[str, Curve]]:
    """Task id → its curves by metric key, of each task at most `PER_CURVE` points a metric.

    Tasks that have reported nothing are left out.
    """
    found: dict[str, Mapping[str, Curve]] = {}
    for start in range(0, len(task_ids), CHUNK):
        ids = task_ids[start : start + CHUNK]
        for task_id, batches in zip(ids, _batches(store, ids), strict=True):
            curves = curves_of(task_id, batches)
            if curves:
                found[task_id] = curves
    return found


def read_task_curves(store: Store, task_id: str) -> dict[str, Curve]:
    """All curves of one task by metric key, the machine's among them, of at most `PER_CURVE` points each."""
    (batches,) = _batches(store, [task_id])
    return curves_of(task_id, batches, machine=True)


def _batches(store: Store, task_ids: Sequence[str]) -> list[list[str]]:
    """For each task its batches, or windows of them where there are very many, in two round trips."""
    with store.redis.pipeline(transaction=False) as pipe:
        for task_id in task_ids:
            pipe.llen(keys.series(task_id))
        lengths = [length or 0 for length in hashes(pipe)]
        parts = [_windows(length) for length in lengths]
        for task_id, windows in zip(task_ids, parts, strict=True):
            for first, last in windows:
                pipe.lrange(keys.series(task_id), first, last)
        answers = iter(hashes(pipe))
    return [[text for _ in windows for text in next(answers)] for windows in parts]


def _windows(length: int) -> list[tuple[int, int]]:
    """The parts of a list of batches that are read, as LRANGE has them."""
    if length <= WINDOWS * WINDOW:
        return [(0, -1)] if length else []
    step = (length - WINDOW) / (WINDOWS - 1)
    return [(int(number * step), int(number * step) + WINDOW - 1) for number in range(WINDOWS)]


def picked(curves: Mapping[str, Mapping[str, Curve]], metric: str, most: int) -> dict[str, Curve]:
    """Task id → its curve of one metric, all together at most `most` points, but two of each at least."""
    found = {task_id: by_key[metric] for task_id, by_key in curves.items() if metric in by_key}
    share = max(2, most // max(1, len(found)))
    return {task_id: curve.thinned(share) for task_id, curve in found.items()}
