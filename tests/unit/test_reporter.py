"""The slot's side of reporting, where a write may have been applied although it failed."""

from __future__ import annotations

import time
from typing import Any

import fakeredis
import pytest
import redis

from tests.fakes import LOSS, record
from worker.protocol import ObjectiveMetric, Point, Sign, Status, Store, TaskSpec
from worker.protocol.metrics import split_key
from worker.protocol.reports import Reports
from worker.sdk.reporter import Reporter


class FlakyReports(Reports):
    """Applies the reports of some calls, and says nevertheless that Redis is away."""

    broken: frozenset[int] | set[int] = frozenset()
    calls = 0

    def add(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        found = super().add(*arguments, **options)
        if self.calls in self.broken:
            raise redis.ConnectionError("connection lost while the answer was awaited")
        return found


@pytest.mark.parametrize("broken", [{1}, {2}, {1, 2, 3}])
def test_what_comes_while_a_batch_is_in_doubt_is_not_lost(broken: set[int]) -> None:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    store.reports = flaky = FlakyReports(store.redis, store.artifacts)
    flaky.broken = broken
    task = record(status=Status.QUEUED)
    store.tasks.create(task)
    now = [0.0]
    reporter = Reporter(store, store.transitions.start(task.id, 1, "w/0"), lambda: now[0])
    for iteration in range(6):
        reporter.add(
            Point(title="loss", series="", value=float(iteration), iteration=iteration, at=time.time())
        )
        now[0] += 1.0  # past the pause after a failure
        reporter.flush()
    now[0] += 1.0
    assert reporter.flush()
    assert [point[0] for point in store.reports.series(task.id)["loss"]] == list(range(6))
    summary = store.reports.scalars([task.id])[0]["loss"]
    assert (summary.iterations, summary.last) == (6, 5.0)
    reported = [i for e in store.events.read("s", "0-0", None)[0] if e.data for i in _iterations(e)]
    assert set(reported) == set(range(6))


def _iterations(event: Any) -> list[int]:
    return [point[1] for point in event.data.get("points", ())]


def test_an_iteration_beyond_the_limit_is_not_taken() -> None:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    spec = TaskSpec(objective={"kind": "function", "target": "m:f"}, metrics=(LOSS,), max_iterations=3)
    task = record(status=Status.QUEUED, spec=spec)
    store.tasks.create(task)
    reporter = Reporter(store, store.transitions.start(task.id, 1, "w/0"), time.monotonic)
    for iteration in (0, 1, 1, 2):
        reporter.add(Point(title="loss", series="", value=1.0, iteration=iteration, at=0.0))
    assert not reporter.over_limit
    reporter.add(Point(title="other", series="", value=1.0, iteration=9, at=0.0))  # no objective
    reporter.add(Point(title="loss", series="", value=9.0, iteration=3, at=0.0))
    assert reporter.over_limit
    assert reporter.flush()
    assert store.tasks.get(task.id).iterations == 3
    assert store.reports.scalars([task.id])[0]["loss"].last == 1.0


@pytest.mark.parametrize(
    ("metric", "found"),
    [("accuracy", {"accuracy", "Summary/accuracy"}), ("Summary/accuracy", {"Summary/accuracy"})],
)
def test_a_single_value_is_found_by_its_bare_name_too(metric: str, found: set[str]) -> None:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    title, series = split_key(metric)
    task = record(
        status=Status.QUEUED,
        spec=TaskSpec(
            metrics=(ObjectiveMetric(title=title, series=series, sign=Sign.MAX),),
            constraints=({"metric": "size", "max": 3.0},),
        ),
    )
    store.tasks.create(task)
    reporter = Reporter(store, store.transitions.start(task.id, 1, "w/0"), time.monotonic)
    for name, value in (("accuracy", 0.25), ("size", 2.0), ("other", 1.0), ("accuracy", 0.5)):
        reporter.add(Point(title="Summary", series=name, value=value, iteration=-(2**31), at=time.time()))
    assert reporter.flush()
    scalars = store.reports.scalars([task.id])[0]
    assert set(scalars) == {*found, "size", "Summary/size", "Summary/other"}
    assert {scalars[key].last for key in found} == {0.5}
    assert {(s.count, s.iterations, s.last_iteration) for s in scalars.values()} == {(1, 1, 0)}


@pytest.mark.parametrize(
    ("reported", "taken", "used", "over", "beyond"),
    [
        # Counted from 0 and from 1: as many as the limit, and one more.
        (range(9), 9, 9, False, None),
        (range(10), 10, 10, False, None),
        (range(11), 10, 10, True, None),
        (range(1, 11), 10, 10, False, None),
        (range(1, 12), 10, 10, True, None),
        # Every fifth: the number comes first.
        ((0, 5, 9), 3, 9, False, None),
        ((0, 5, 10), 3, 10, False, None),
        ((0, 5, 10, 11), 3, 10, True, 11),
        ((0, 5, 10, 15, 2, 7), 3, 10, True, 15),
        # Far beyond from the start: nothing is taken, and the number says why.
        ((1000,), 0, 0, True, 1000),
        # The same one again, and one from before: neither is a new iteration.
        ((0, 10, 10, 3), 2, 10, False, None),
        ((-5, -1), 0, 0, False, None),
    ],
)
def test_the_limit_is_reached_by_number_or_count_whichever_comes_first(
    reported: Any, taken: int, used: int, over: bool, beyond: int | None
) -> None:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    spec = TaskSpec(objective={"kind": "function", "target": "m:f"}, metrics=(LOSS,), max_iterations=10)
    task = record(status=Status.QUEUED, spec=spec)
    store.tasks.create(task)
    reporter = Reporter(store, store.transitions.start(task.id, 1, "w/0"), time.monotonic)
    for iteration in reported:
        reporter.add(Point(title="loss", series="", value=1.0, iteration=iteration, at=0.0))
    assert (reporter.over_limit, reporter.beyond) == (over, beyond)
    assert reporter.flush()
    found = store.tasks.get(task.id)
    assert (found.iterations, found.used_iterations) == (taken, used)
    store.transitions.requeue(task.id, 1, reason="lost")
    store.transitions.start(task.id, 2, "w/0")
    assert store.tasks.get(task.id).used_iterations == 0  # another attempt begins anew
