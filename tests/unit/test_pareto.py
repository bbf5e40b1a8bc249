from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence

import pytest

from controller.results.pareto import fronts, order

Points = list[tuple[float, ...]]


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def peeled(points: Points) -> list[int]:
    """The front of each point, by definition."""
    found = [-1] * len(points)
    left = set(range(len(points)))
    front = 0
    while left:
        best = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        for i in best:
            found[i] = front
        left -= best
        front += 1
    return found


def crowding(points: Points) -> dict[tuple[float, ...], float]:
    """Of the different points of one front."""
    distinct = sorted(set(points))
    distance = dict.fromkeys(distinct, 0.0)
    for i in range(len(distinct[0])):
        line = sorted(distinct, key=lambda point: point[i])
        spread = line[-1][i] - line[0][i]
        if spread:
            distance[line[0]] = distance[line[-1]] = math.inf
            for before, point, after in zip(line, line[1:], line[2:], strict=False):
                distance[point] += (after[i] - before[i]) / spread
    return distance


def by_definition(points: Points) -> list[tuple[int, int]]:
    numbers = peeled(points)
    found = []
    for front in range(max(numbers, default=-1) + 1):
        members = [i for i, number in enumerate(numbers) if number == front]
        distance = crowding([points[i] for i in members])
        members.sort(key=lambda i: (-distance[points[i]], points[i][0], i))
        found += [(i, front) for i in members]
    return found


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("values", [2, 4, 16, 1024], ids=lambda n: f"{n} values")
def test_the_order_is_the_one_defined(objectives: int, values: int) -> None:
    chance = random.Random(objectives * 10_000 + values)
    for size in (1, 2, 3, 10, 60):
        for _ in range(10):
            points: Points = [
                tuple((chance.randrange(values) - values // 2) / 4 for _ in range(objectives))
                for _ in range(size)
            ]
            found = order(points, size)
            assert found == by_definition(points)
            for count in (1, size // 2, size + 5):
                assert order(points, count) == found[:count]


def test_within_a_front_the_ends_come_first_then_the_lonely() -> None:
    points = [(0.0, 8.0), (1.0, 7.0), (2.0, 6.0), (6.0, 1.0), (8.0, 0.0)]
    assert [index for index, _ in order(points, 5)] == [0, 4, 3, 2, 1]
    assert [crowding(points)[point] for point in points[1:4]] == [4 / 8, 11 / 8, 12 / 8]


def test_in_three_objectives_each_has_its_ends() -> None:
    points = [(1.0, 1.0, 1.0), (2.0, 2.0, 0.0), (0.0, 2.0, 2.0), (2.0, 0.0, 2.0), (1.0, 1.0, 1.5)]
    assert order(points, 9) == [(2, 0), (1, 0), (3, 0), (0, 0), (4, 1)]


def test_equal_points_share_a_front() -> None:
    points = [(1.0, 1.0), (0.0, 2.0), (1.0, 1.0), (2.0, 2.0), (0.0, 2.0), (-0.0, 2.0)]
    assert order(points, 9) == [(1, 0), (4, 0), (5, 0), (0, 0), (2, 0), (3, 1)]
    assert order([(3.0, 3.0)] * 3, 2) == [(0, 0), (1, 0)]


def test_a_single_objective_is_a_plain_sort() -> None:
    assert order([(2.0,), (1.0,), (2.0,), (0.0,)], 9) == [(3, 0), (1, 1), (0, 2), (2, 2)]


def test_nothing_is_asked_or_there() -> None:
    assert order([], 5) == []
    assert list(fronts([])) == []
    assert order([(1.0, 2.0)], 0) == []
    assert order([(1.0, 2.0)], -1) == []
    assert order([(1.0, 2.0)], 5) == [(0, 0)]


def test_the_largest_numbers_do_not_overflow() -> None:
    huge = 1.7e308
    points = [(-huge, huge), (huge, -huge), (0.0, 0.0), (1.0, -1.0), (5e-324, -5e-324)]
    found = order(points, 5)
    assert [front for _, front in found] == [0] * 5
    assert {index for index, _ in found[:2]} == {0, 1}


def test_the_order_does_not_depend_on_the_order_of_the_points() -> None:
    chance = random.Random(3)
    points: Points = list({tuple(float(chance.randrange(9)) for _ in range(3)) for _ in range(80)})
    expected = [points[i] for i, _ in order(points, 80)]
    chance.shuffle(points)
    found = [points[i] for i, _ in order(points, 80)]
    assert sorted(found) == sorted(expected)
    assert [point[0] for point in found] == [point[0] for point in expected]


def plane(chance: random.Random) -> tuple[float, ...]:
    a, b = chance.random(), chance.random()
    return (a, b, -a - b)


@pytest.mark.parametrize(
    ("limit", "make"),
    [
        (0.2, lambda chance: (chance.random(), chance.random())),
        (0.2, lambda chance: (x := chance.random(), -x)),
        (1.0, lambda chance: (chance.random(), chance.random(), chance.random())),
        (1.0, plane),
    ],
    ids=["two", "two, one front", "three", "three, one front"],
)
def test_ten_thousand_points_are_quick(
    limit: float, make: Callable[[random.Random], tuple[float, ...]]
) -> None:
    chance = random.Random(1)
    points = [make(chance) for _ in range(10_000)]
    taken = []
    for _ in range(3):
        started = time.process_time()
        assert len(order(points, 5)) == 5
        taken.append(time.process_time() - started)
    assert min(taken) < limit
