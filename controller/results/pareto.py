"""The order of points by several objectives: front by front, within a front by crowding distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def order(scores: Sequence[tuple[float, ...]], count: int) -> list[tuple[int, int]]:
    """The `count` best points as (index, front), the best first.

    Front 0 are the points that no other dominates, front 1 those that only points of front 0 dominate,
    and so on. A point dominates another when it is nowhere larger and somewhere smaller; equal points
    share a front. Within a front the ends come first, then the larger crowding distance, then the smaller
    first coordinate, then the smaller index.

    Args:
        scores: finite, all of the same length; smaller is better in every coordinate.
    """
    found: list[tuple[int, int]] = []
    if count > 0:
        for number, members in enumerate(fronts(scores)):
            found += [(index, number) for index in members]
            if len(found) >= count:
                break
    return found[: max(0, count)]


def fronts(scores: Sequence[tuple[float, ...]]) -> Iterator[list[int]]:
    """The indexes of each front, in the order that `order` describes; computed one at a time, as needed."""
    if not scores:
        return
    points, which = _distinct(np.array(scores, dtype=np.float64))
    left = np.arange(len(points))
    distance = np.zeros(len(points))
    while left.size:
        front = _two_objectives(points, left) if points.shape[1] == 2 else _front(points, left)
        distance[front] = _crowding(points[front])
        inside = np.zeros(len(points), dtype=bool)
        inside[front] = True
        members = np.flatnonzero(inside[which])
        same = which[members]
        yield members[np.lexsort((members, points[same, 0], -distance[same]))].tolist()
        left = left[~inside[left]]


def _distinct(rows: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """The different rows, sorted by the first coordinate, then the second…, and which of them each row is."""
    by = np.lexsort(rows.T[::-1])
    ordered = rows[by]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    which = np.empty(len(rows), dtype=np.intp)
    which[by] = np.cumsum(new) - 1
    return ordered[new], which


def _two_objectives(points: Floats, left: NDArray[np.intp]) -> NDArray[np.intp]:
    """What `_front` returns, in one pass: any lower point to its left dominates a point."""
    second = points[left, 1]
    lowest = np.full(len(left), np.inf)
    lowest[1:] = np.minimum.accumulate(second)[:-1]
    return np.compress(second < lowest, left)


def _front(points: Floats, left: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of the sorted, distinct points at `left`, those that no other of them dominates."""
    # Of sorted points only earlier ones dominate a point, and none dominates the first that is left.
    rest = np.ascontiguousarray(points[left, 1:].T)
    front = []
    while left.size:
        front.append(left[0])
        free = (rest[:, 1:] < rest[:, :1]).any(axis=0)
        left, rest = left[1:], rest[:, 1:]
        if not free.all():
            left, rest = left[free], rest[:, free]
    return np.array(front, dtype=np.intp)


def _crowding(points: Floats) -> Floats:
    """How far the neighbours of each point are apart, along all coordinates; infinite at the ends."""
    distance = np.zeros(len(points))
    # Halved, no difference of two finite numbers is infinite.
    for column in points.T / 2:
        by = np.argsort(column, kind="stable")
        ordered = column[by]
        spread = ordered[-1] - ordered[0]
        if spread > 0:
            distance[by[[0, -1]]] = np.inf
            distance[by[1:-1]] += (ordered[2:] - ordered[:-2]) / spread
    return distance
