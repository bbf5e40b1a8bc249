"""The store's contract: the same tests on fakeredis and on a real Redis."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import pytest
import redis

from tests.fakes import ACCURACY, LOSS, ManualClock, record
from worker.protocol import (
    FINISHED,
    Batch,
    ObjectiveMetric,
    Point,
    Reason,
    Sign,
    Status,
    Store,
    StudyRecord,
    Summary,
    TaskRecord,
    keys,
    logs,
    reports,
)
from worker.protocol.connection import connect
from worker.protocol.errors import BadInput, NewerRecord, RecordError, StaleAttempt, TransitionRefused
from worker.protocol.events import Event, EventKind
from worker.protocol.record import VERSION
from worker.protocol.status import TRANSITIONS


@pytest.fixture(params=["fakeredis", "redis"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "fakeredis":
        yield fakeredis.FakeRedis(decode_responses=True)
    else:
        client = connect(request.getfixturevalue("redis_url"), patience_s=0)
        yield client
        client.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(client: Any, clock: ManualClock) -> Store:
    return Store(client, clock)


def running(store: Store, worker: str = "w/0", **changes: Any) -> TaskRecord:
    """A task that slot `worker` runs."""
    task = record(status=Status.QUEUED, **changes)
    store.tasks.create(task)
    return store.transitions.start(task.id, task.attempt, worker)


def report(
    store: Store, task: TaskRecord, *values: float, metric: ObjectiveMetric = LOSS, seq: int = 1
) -> None:
    summary = Summary.of(metric.title, metric.series)
    points = []
    for iteration, value in enumerate(values):
        summary = summary.add(value, iteration)
        points.append(
            Point(title=metric.title, series=metric.series, value=value, iteration=iteration, at=1.0)
        )
    store.reports.add(task, Batch(seq=seq, points=points, summaries={metric.key: summary}))


def snapshot(store: Store) -> dict[str, Any]:
    """Everything in the database, event streams apart."""
    found: dict[str, Any] = {}
    for key in sorted(store.redis.scan_iter("*")):
        kind = store.redis.type(key)
        if kind == "hash":
            found[key] = store.redis.hgetall(key)
        elif kind == "zset":
            found[key] = store.redis.zrange(key, 0, -1, withscores=True)
        elif kind == "list":
            found[key] = store.redis.lrange(key, 0, -1)
        elif kind == "string":
            found[key] = store.redis.get(key)
    return found


def test_a_record_reads_back_as_it_was_written(store: Store) -> None:
    task = record(name="näme", project="p", parent="q", trial=7, reason="why", compute_s=1.25)
    store.tasks.create(task)
    assert store.tasks.get(task.id) == task
    assert store.tasks.get_many([task.id, "0" * 32]) == [task, None]


def test_an_unknown_task_is_bad_input(store: Store) -> None:
    with pytest.raises(BadInput, match="no task"):
        store.tasks.get("0" * 32)


def test_an_id_is_created_once(store: Store) -> None:
    task = record()
    store.tasks.create(task)
    with pytest.raises(TransitionRefused, match="exists already"):
        store.tasks.create(task)


def test_the_life_of_a_task(store: Store, clock: ManualClock) -> None:
    task = record()
    store.tasks.create(task)
    assert store.studies.status_counts("s")[Status.CREATED] == 1
    assert store.transitions.queue(task.id).queued_at == clock.now()
    clock.sleep(2)
    started = store.transitions.start(task.id, 1, "w/0")
    assert (started.status, started.worker, started.started_at) == (Status.IN_PROGRESS, "w/0", clock.now())
    assert store.tasks.leases([task.id]) == [True]
    report(store, started, 3.0, 2.0)
    clock.sleep(5)
    ended = store.transitions.finish(task.id, 1, Status.COMPLETED, worker="w/0", compute_s=5.0)
    assert (ended.status, ended.ended_at, ended.compute_s) == (Status.COMPLETED, clock.now(), 5.0)
    assert store.tasks.get(task.id).iterations == 2
    assert store.tasks.leases([task.id]) == [False]
    counts = store.studies.status_counts("s")
    assert {status: n for status, n in counts.items() if n} == {Status.COMPLETED: 1}
    events, _ = store.events.read("s", "0-0", None)
    assert [event.kind for event in events] == [EventKind.STARTED, EventKind.REPORT, EventKind.ENDED]
    assert events[1].data == {"points": [[0, 0, 3.0, 0], [0, 1, 2.0, 0]]}
    assert events[2].data == {"status": "completed", "class": "", "reason": ""}


def move(store: Store, task: TaskRecord, new: Status) -> None:
    """Try to bring a task to status `new`, by the method that does that."""
    if new is Status.QUEUED and task.status is Status.IN_PROGRESS:
        store.transitions.requeue(task.id, task.attempt, reason="lost")
    elif new is Status.QUEUED:
        store.transitions.queue(task.id)
    elif new is Status.IN_PROGRESS:
        store.transitions.start(task.id, task.attempt, "another/0")
    elif new is Status.STOPPED:
        store.transitions.force_finish(task.id, Reason.USER, "by hand")
    elif new is Status.FAILED:
        store.transitions.force_finish(task.id, Reason.WORKER_LOST, "gone")
    else:
        store.transitions.finish(task.id, task.attempt, new, worker="w/0")


@pytest.mark.parametrize("new", [s for s in Status if s is not Status.CREATED])
@pytest.mark.parametrize("old", list(Status))
def test_every_pair_of_statuses(store: Store, old: Status, new: Status) -> None:
    task = record(status=old, worker="w/0", reason_class=Reason.OBJECTIVE_ERROR if old in FINISHED else None)
    store.tasks.create(task)
    if new in TRANSITIONS[old]:
        move(store, task, new)
        assert store.tasks.get(task.id).status is new
        assert store.studies.status_counts("s")[new] == 1
        assert sum(store.studies.status_counts("s").values()) == 1
        return
    before = snapshot(store)
    if (old, new) in ((Status.QUEUED, Status.QUEUED), (Status.COMPLETED, Status.COMPLETED)):
        move(store, task, new)  # a repeated call of the same caller
    else:
        with pytest.raises(TransitionRefused):
            move(store, task, new)
    assert snapshot(store) == before


STALE_WRITES: dict[str, Callable[[Store, TaskRecord], Any]] = {
    "start": lambda store, task: store.transitions.start(task.id, task.attempt, "w/0"),
    "renew": lambda store, task: store.transitions.renew(task.id, task.attempt, "w/0", 5.0),
    "report": lambda store, task: report(store, task, 1.0),
    "finish": lambda store, task: store.transitions.finish(
        task.id, task.attempt, Status.COMPLETED, worker="w/0"
    ),
    "fail": lambda store, task: store.transitions.finish(
        task.id, task.attempt, Status.FAILED, worker="w/0", reason_class=Reason.OBJECTIVE_ERROR
    ),
    "output": lambda store, task: store.logs.append(task.id, task.attempt, b"late"),
    "artifact": lambda store, task: store.artifacts.add(task.id, task.attempt, "a", "{}"),
}


@pytest.mark.parametrize("name", STALE_WRITES)
@pytest.mark.parametrize("restarted", [False, True], ids=["queued again", "runs elsewhere"])
def test_an_expired_attempt_changes_nothing(store: Store, name: str, restarted: bool) -> None:
    task = running(store)
    store.transitions.requeue(task.id, 1, reason="lost")
    if restarted:
        store.transitions.start(task.id, 2, "other/0")
    before = snapshot(store)
    with pytest.raises(StaleAttempt):
        STALE_WRITES[name](store, task)
    assert snapshot(store) == before


def test_requeueing_from_an_old_attempt_changes_nothing(store: Store) -> None:
    task = running(store)
    store.transitions.requeue(task.id, 1, reason="lost")
    store.transitions.start(task.id, 2, "w/1")
    before = snapshot(store)
    with pytest.raises(StaleAttempt):
        store.transitions.requeue(task.id, 1, reason="lost again")
    assert snapshot(store) == before


def test_only_one_slot_starts_an_attempt(store: Store) -> None:
    task = running(store, "w/0")
    with pytest.raises(TransitionRefused):
        store.transitions.start(task.id, 1, "w/1")
    assert store.tasks.get(task.id).worker == "w/0"
    assert store.transitions.start(task.id, 1, "w/0").worker == "w/0"  # the same slot, whose answer was lost


def test_repeated_writes_are_applied_once(store: Store) -> None:
    task = running(store)
    report(store, task, 3.0, 1.0)
    report(store, task, 3.0, 1.0)
    assert store.reports.series(task.id) == {"loss": [(0, 3.0, 1.0), (1, 1.0, 1.0)]}
    first = store.transitions.finish(task.id, 1, Status.COMPLETED, worker="w/0", compute_s=2.0)
    assert store.transitions.finish(task.id, 1, Status.COMPLETED, worker="w/0", compute_s=2.0) == first
    kinds = [event.kind for event in store.events.read("s", "0-0", None)[0]]
    assert kinds.count(EventKind.ENDED) == 1
    again = running(store)
    assert store.transitions.requeue(again.id, 1, reason="lost").attempt == 2
    assert store.transitions.requeue(again.id, 1, reason="lost").attempt == 2


def test_some_metrics_of_many_tasks_and_the_newest_tasks(store: Store) -> None:
    first, second, third = (running(store, trial=number) for number in range(3))
    report(store, first, 3.0, 0.5)
    store.redis.set(keys.scalars(second.id), "no hash")
    ids = [first.id, second.id, third.id]
    found = store.reports.some_scalars(ids, ["loss", "nothing"])
    assert [{key: summary.last for key, summary in of.items()} for of in found] == [{"loss": 0.5}, {}, {}]
    assert store.reports.some_scalars(ids, []) == [{}, {}, {}]
    assert store.reports.some_scalars([], ["loss"]) == []
    assert store.studies.newest("s", 2) == ids[1:]
    assert (store.studies.newest("s", 9), store.studies.newest("s", 0)) == (ids, [])


def test_a_record_keeps_what_became_of_its_earlier_attempts(store: Store, clock: ManualClock) -> None:
    task = running(store, "w/0")
    began = clock.now()
    clock.sleep(5)
    for _ in range(2):  # a repeated call adds nothing
        store.transitions.requeue(task.id, 1, reason="lost")
    store.transitions.start(task.id, 2, "v/1")
    clock.sleep(1)
    store.transitions.requeue(task.id, 2, reason="r" * 300, handed_back=True)
    first, second = store.tasks.get(task.id).earlier
    assert (first.attempt, first.worker, first.started_at, first.ended_at) == (1, "w/0", began, began + 5)
    assert (first.handed_back, first.reason) == (False, "lost")
    assert (second.attempt, second.worker, second.handed_back, len(second.reason)) == (2, "v/1", True, 200)
    store.redis.hset(keys.task(task.id), "earlier", "[[1]]")
    with pytest.raises(RecordError, match="field 'earlier' is malformed"):
        store.tasks.get(task.id)


def test_a_record_keeps_the_newest_of_many_attempts(store: Store) -> None:
    task = running(store)
    for attempt in range(1, 26):
        store.transitions.requeue(task.id, attempt, reason="again", handed_back=True)
        store.transitions.start(task.id, attempt + 1, "w/0")
    assert [one.attempt for one in store.tasks.get(task.id).earlier] == list(range(6, 26))


def test_an_attempt_reports_from_the_beginning(store: Store) -> None:
    task = running(store)
    report(store, task, 3.0, 0.5)
    store.transitions.requeue(task.id, 1, reason="lost", compute_s=4.0)
    assert store.ranking.best("s", 5) == []
    second = store.transitions.start(task.id, 2, "w/1")
    assert (second.compute_s, store.reports.scalars([task.id]), store.reports.series(task.id)) == (
        4.0,
        [{}],
        {},
    )
    report(store, second, 2.0)
    assert store.reports.scalars([task.id])[0]["loss"].last == 2.0
    assert (
        store.transitions.finish(task.id, 2, Status.COMPLETED, worker="w/1", compute_s=1.0).compute_s == 5.0
    )


class Interloper:
    """Wraps a client: somebody else changes the task between a transaction's look and its writes."""

    def __init__(self, client: Any, act: Callable[[], None], times: int = 1) -> None:
        self._client, self._act, self._times = client, act, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def pipeline(self, *args: Any, **kwargs: Any) -> Any:
        pipe = self._client.pipeline(*args, **kwargs)
        execute = pipe.execute

        def interrupted(*a: Any, **k: Any) -> Any:
            if self._times and pipe.explicit_transaction:
                self._times -= 1
                self._act()
            return execute(*a, **k)

        pipe.execute = interrupted
        return pipe


def test_a_change_in_between_is_noticed(store: Store) -> None:
    task = running(store)
    racing = Store(Interloper(store.redis, lambda: store.transitions.requeue(task.id, 1, reason="lost")))
    with pytest.raises(StaleAttempt):
        racing.transitions.finish(task.id, 1, Status.COMPLETED, worker="w/0")
    assert store.tasks.get(task.id).status is Status.QUEUED


def test_a_harmless_change_in_between_is_retried(store: Store) -> None:
    task = running(store)
    racing = Store(
        Interloper(store.redis, lambda: store.transitions.request_stop(task.id, Reason.PRUNED, "hopeless"))
    )
    assert racing.transitions.finish(task.id, 1, Status.COMPLETED, worker="w/0").status is Status.COMPLETED


def test_a_stop_request_reaches_the_runner_once_and_first_wins(store: Store) -> None:
    task = running(store)
    store.transitions.request_stop(task.id, Reason.PRUNED, "hopeless")
    store.transitions.request_stop(task.id, Reason.USER, "later")
    request = store.transitions.renew(task.id, 1, "w/0", 5.0)
    assert request is not None
    assert (request.reason_class, request.reason) == (Reason.PRUNED, "hopeless")
    assert store.tasks.get(task.id).status is Status.IN_PROGRESS


def test_what_is_handed_back_with_its_study_is_not_to_stop_any_more(store: Store) -> None:
    """Who goes on with the study has it run; a person's request stays."""
    for reason_class, stays in ((Reason.STUDY_STOPPED, False), (Reason.USER, True)):
        task = running(store)
        store.transitions.request_stop(task.id, reason_class, "now")
        assert (
            store.transitions.requeue(task.id, 1, reason="handed back", handed_back=True).stop is not None
        ) == stays
        store.transitions.start(task.id, 2, "w/1")
        assert (store.transitions.renew(task.id, 2, "w/1", 5.0) is not None) == stays


def test_stopping_what_nobody_runs_ends_it(store: Store) -> None:
    task = record(status=Status.QUEUED)
    store.tasks.create(task)
    assert store.transitions.request_stop(task.id, Reason.USER, "by hand").status is Status.STOPPED
    with pytest.raises(TransitionRefused):
        store.transitions.start(task.id, 1, "w/0")
    done = running(store)
    store.transitions.finish(done.id, 1, Status.COMPLETED, worker="w/0")
    assert store.transitions.request_stop(done.id, Reason.USER, "too late").status is Status.COMPLETED


@pytest.mark.parametrize(
    ("sign", "reports", "order"),
    [
        (Sign.MIN, {"a": [1.0, 5.0], "b": [9.0, 2.0], "c": [0.1, 7.0]}, "bac"),
        (Sign.MAX, {"a": [1.0, 5.0], "b": [9.0, 2.0], "c": [0.1, 7.0]}, "cab"),
        (Sign.MIN_GLOBAL, {"a": [1.0, 5.0], "b": [9.0, 2.0], "c": [0.1, 7.0]}, "cab"),
        (Sign.MAX_GLOBAL, {"a": [1.0, 5.0], "b": [9.0, 2.0], "c": [0.1, 7.0]}, "bca"),
    ],
)
def test_the_ranking_follows_the_reports(
    store: Store, sign: Sign, reports: dict[str, list[float]], order: str
) -> None:
    metric = ObjectiveMetric(title="m", series="s", sign=sign)
    ids = {}
    for name, values in reports.items():
        task = running(store, metrics=(metric,))
        ids[task.id] = name
        report(store, task, *values, metric=metric)
    assert "".join(ids[task_id] for task_id in store.ranking.best("s", 9)) == order
    assert "".join(ids[task_id] for task_id in store.ranking.best("s", 2)) == order[:2]
    assert store.ranking.best("s", 0) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_never_rank(store: Store, value: float) -> None:
    task = running(store)
    report(store, task, 1.0, value)
    assert store.ranking.best("s", 5) == []
    report(store, task, 1.0, value, 0.5, seq=2)
    assert store.ranking.best("s", 5) == [task.id]


def test_what_ranks_by_status(store: Store) -> None:
    tasks = {}
    for name in ("completed", "stopped", "failed", "running"):
        task = tasks[name] = running(store)
        report(store, task, 1.0)
    store.transitions.finish(tasks["completed"].id, 1, Status.COMPLETED, worker="w/0")
    store.transitions.finish(tasks["stopped"].id, 1, Status.STOPPED, worker="w/0", reason_class=Reason.PRUNED)
    store.transitions.finish(
        tasks["failed"].id, 1, Status.FAILED, worker="w/0", reason_class=Reason.OBJECTIVE_ERROR
    )
    assert set(store.ranking.best("s", 9)) == {tasks[n].id for n in ("completed", "stopped", "running")}
    assert store.ranking.best("s", 9, only_completed=True) == [tasks["completed"].id]


SEVERAL = (LOSS, ACCURACY)


def report_both(
    store: Store, task: TaskRecord, loss: float | None, accuracy: float | None, seq: int = 1
) -> TaskRecord:
    """Report values of both objectives in one batch; None reports nothing."""
    points, summaries = [], {}
    for metric, value in ((LOSS, loss), (ACCURACY, accuracy)):
        if value is not None:
            points.append(Point(title=metric.title, series=metric.series, value=value, iteration=seq, at=1.0))
            summaries[metric.key] = Summary.of(metric.title, metric.series).add(value, seq)
    store.reports.add(task, Batch(seq=seq, points=points, summaries=summaries))
    return task


def ranked_keys(store: Store) -> list[str]:
    return sorted(key for key in snapshot(store) if ":rank" in key)


def test_each_of_several_objectives_has_its_index(store: Store) -> None:
    one = report_both(store, running(store, metrics=SEVERAL), 2.0, 0.5)
    other = report_both(store, running(store, metrics=SEVERAL), 1.0, 0.25)
    assert ranked_keys(store) == [keys.rank("s"), keys.rank("s", index=1)]
    assert list(store.ranking.scores("s", 2).items()) == [(other.id, (1.0, -0.25)), (one.id, (2.0, -0.5))]
    report_both(store, one, None, 0.125, seq=2)
    assert store.ranking.scores("s", 2)[one.id] == (2.0, -0.125)
    assert store.ranking.scores("other", 2) == {}


def test_one_objective_has_one_index(store: Store) -> None:
    task = running(store)
    report(store, task, 1.0)
    store.transitions.finish(task.id, 1, Status.COMPLETED, worker="w/0")
    assert ranked_keys(store) == [keys.rank("s"), keys.rank("s", only_completed=True)]
    assert store.ranking.scores("s", 1) == {task.id: (1.0,)}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("lacking", [0, 1])
def test_a_task_that_lacks_an_objective_never_ranks(store: Store, lacking: int, value: float | None) -> None:
    good = report_both(store, running(store, metrics=SEVERAL), 1.0, 0.5)
    bad = running(store, metrics=SEVERAL)
    if value is not None:
        report_both(store, bad, 0.5, 0.75)
        assert len(store.ranking.scores("s", 2)) == 2
    report_both(store, bad, *((value, 0.75) if lacking == 0 else (0.5, value)), seq=2)
    assert list(store.ranking.scores("s", 2)) == [good.id]
    store.transitions.finish(bad.id, 1, Status.COMPLETED, worker="w/0")
    assert store.ranking.scores("s", 2, only_completed=True) == {}


def test_which_of_several_objectives_rank_by_status(store: Store) -> None:
    tasks = {
        name: report_both(store, running(store, metrics=SEVERAL), 1.0, 0.5)
        for name in ("completed", "stopped", "failed", "running", "closed", "lost")
    }
    store.transitions.finish(tasks["completed"].id, 1, Status.COMPLETED, worker="w/0")
    store.transitions.finish(tasks["stopped"].id, 1, Status.STOPPED, worker="w/0", reason_class=Reason.PRUNED)
    store.transitions.finish(
        tasks["failed"].id, 1, Status.FAILED, worker="w/0", reason_class=Reason.OBJECTIVE_ERROR
    )
    store.transitions.force_finish(tasks["closed"].id, Reason.USER, "by hand")
    store.transitions.force_finish(tasks["lost"].id, Reason.WORKER_LOST, "gone")
    expected = {tasks[name].id for name in ("completed", "stopped", "running", "closed")}
    assert set(store.ranking.scores("s", 2)) == expected
    assert set(store.ranking.scores("s", 2, only_completed=True)) == {tasks["completed"].id}
    for index in (0, 1):
        assert set(store.redis.zrange(keys.rank("s", index=index), 0, -1)) == expected


def test_a_new_attempt_has_no_old_score(store: Store) -> None:
    task = report_both(store, running(store, metrics=SEVERAL), 1.0, 0.5)
    store.transitions.requeue(task.id, 1, reason="lost")
    assert ranked_keys(store) == []
    # What is left there in spite of that goes when the attempt starts.
    for index in (0, 1):
        store.redis.zadd(keys.rank("s", index=index), {task.id: 1.0})
    again = store.transitions.start(task.id, 2, "w/1")
    assert ranked_keys(store) == []
    report_both(store, again, 3.0, None)
    assert store.ranking.scores("s", 2) == {}


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.STOPPED])
@pytest.mark.parametrize("metrics", [(LOSS,), SEVERAL], ids=["one", "several"])
def test_a_task_that_must_not_rank_is_taken_off(
    store: Store, metrics: tuple[ObjectiveMetric, ...], status: Status
) -> None:
    task = report_both(store, running(store, metrics=metrics), 1.0, 0.5)
    good = report_both(store, running(store, metrics=metrics), 2.0, 0.25)
    for _ in range(2):
        store.transitions.finish(task.id, 1, status, worker="w/0", reason_class=Reason.PRUNED, ranks=False)
    store.transitions.finish(good.id, 1, Status.COMPLETED, worker="w/0")
    for key in ranked_keys(store):
        assert store.redis.zrange(key, 0, -1) == [good.id], key
    assert store.ranking.best("s", 9) == [good.id]
    assert list(store.ranking.scores("s", len(metrics), only_completed=True)) == [good.id]


def test_deleting_a_study_removes_every_index(store: Store) -> None:
    metrics = tuple(
        ObjectiveMetric(title=f"m{i}", series="", sign=Sign.MIN) for i in range(keys.MAX_OBJECTIVES)
    )
    store.studies.save(StudyRecord(name="s", created_at=1.0, metrics=metrics))
    task = running(store, metrics=metrics)
    for seq, metric in enumerate(metrics, start=1):
        report(store, task, float(seq), metric=metric, seq=seq)
    assert len(ranked_keys(store)) == len(metrics)
    assert store.ranking.scores("s", len(metrics)) == {
        task.id: tuple(float(i + 1) for i in range(len(metrics)))
    }
    store.studies.delete("s")
    assert snapshot(store) == {}


def test_scalars_keep_the_whole_series(store: Store) -> None:
    task = running(store, metrics=(ACCURACY,))
    report(store, task, 0.5, 0.9, 0.7, metric=ACCURACY)
    summary = store.reports.scalars([task.id])[0]["accuracy/validation"]
    assert (summary.last, summary.min, summary.max, summary.count, summary.last_iteration) == (
        0.7,
        0.5,
        0.9,
        3,
        2,
    )
    assert store.reports.series(task.id)["accuracy/validation"] == [
        (0, 0.5, 1.0),
        (1, 0.9, 1.0),
        (2, 0.7, 1.0),
    ]


def test_the_series_is_capped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "SERIES_LIMIT", 3)
    monkeypatch.setattr(reports, "TRIM_EVERY", 1)
    task = running(store)
    for seq in range(1, 6):
        report(store, task, float(seq), seq=seq)
    assert [value for _, value, _ in store.reports.series(task.id)["loss"]] == [3.0, 4.0, 5.0]


def test_the_log_keeps_its_newest_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_LIMIT", 10)
    task = running(store)
    store.logs.append(task.id, 1, b"0123456789abcde")
    text, position = store.logs.read(task.id)
    assert (text, position) == ("0123456789abcde", 15)
    store.logs.append(task.id, 1, "fghijÄÖ".encode())
    text, end = store.logs.read(task.id)
    assert text.endswith("ijÄÖ")
    assert len(text.encode()) <= 20
    assert end == 24
    assert store.logs.read(task.id, position)[0] == "fghijÄÖ"
    assert store.logs.read(task.id, end) == ("", end)


def test_bytes_that_are_no_text_are_shown_somehow(store: Store) -> None:
    task = running(store)
    store.logs.append(task.id, 1, b"a\xff\xfeb")
    assert store.logs.read(task.id)[0] == "a\ufffd\ufffdb"


def test_a_newer_record_is_refused(store: Store) -> None:
    task = record()
    store.tasks.create(task)
    store.redis.hset(keys.task(task.id), "v", 99)
    with pytest.raises(NewerRecord, match="version 99.*upgrade"):
        store.tasks.get(task.id)


@pytest.mark.parametrize(
    ("field", "value"),
    [("v", "x"), ("status", "odd"), ("spec", "{"), ("created_at", "now"), ("attempt", ""), ("stop", "[1]")],
)
def test_a_malformed_record_names_what_is_wrong(store: Store, field: str, value: str) -> None:
    task = record()
    store.tasks.create(task)
    store.redis.hset(keys.task(task.id), field, value)
    with pytest.raises(RecordError, match=rf"{field}|{value or 'invalid literal'}"):
        store.tasks.get(task.id)


def test_events_are_read_once_and_trimmed(store: Store) -> None:
    position = store.events.last_id("s")
    for _ in range(250):
        running(store)
    events, position = store.events.read("s", position, None)
    assert len(events) == 250
    assert store.events.read("s", position, None)[0] == []
    store.redis.xadd(keys.events("s"), {"k": "nonsense"})
    store.studies.request("s", "pause")
    events, position = store.events.read("s", position, None)
    assert [event.kind for event in events] == [EventKind.CONTROL]
    assert (store.studies.take_request("s"), store.studies.take_request("s")) == ("pause", "")
    store.events.trim("s", position)
    assert store.redis.xlen(keys.events("s")) < 150


def test_deleting_a_study_leaves_nothing_of_it(store: Store) -> None:
    base = record(study="", trial=-1)
    store.tasks.create(base)
    for name in ("s", "other"):
        store.studies.save(
            StudyRecord(name=name, created_at=1.0, metrics=(LOSS,), base_task=base.id if name == "s" else "")
        )
        task = running(store, study=name)
        report(store, task, 1.0)
        store.logs.append(task.id, 1, b"text")
        store.artifacts.add(task.id, 1, "a", "{}")
        store.transitions.finish(task.id, 1, Status.COMPLETED, worker="w/0")
    other = {key: value for key, value in snapshot(store).items() if ":other" in key}
    assert store.studies.delete("s") == 1
    left = snapshot(store)
    assert store.studies.names() == ["other"]
    assert {key: value for key, value in left.items() if ":other" in key} == other
    assert not [key for key in left if ":study:s" in key]
    # It has no lease any more, and surroundings of its own only outside a study.
    assert len([key for key in left if key.startswith("orq:task:")]) == len(keys.of_task("x")) - 2
    with pytest.raises(BadInput, match="no study 's'.*other"):
        store.studies.get("s")


def test_a_study_record_reads_back(store: Store) -> None:
    study = StudyRecord(
        name="ä/ b:c",
        created_at=2.5,
        metrics=(LOSS, ACCURACY),
        sweep={"a": [1]},
        budget={"jobs": {"used": 1}},
    )
    store.studies.save(study)
    assert store.studies.get("ä/ b:c") == study
    store.redis.hset(keys.study(study.name), "v", VERSION + 1)
    with pytest.raises(NewerRecord):
        store.studies.get(study.name)


def test_workers_vanish_with_their_registration(store: Store) -> None:
    store.workers.register("a", {"queues": "default,gpu", "slots": 2}, 60)
    store.workers.register("b", {"queues": "cpu", "slots": 1}, 60)
    assert [worker["name"] for worker in store.workers.list("gpu")] == ["a"]
    assert {worker["name"] for worker in store.workers.list()} == {"a", "b"}
    store.redis.delete(keys.worker("a"))
    assert [worker["name"] for worker in store.workers.list()] == ["b"]
    assert store.redis.smembers(keys.WORKERS) == {"b"}
    store.workers.forget("b")
    assert store.workers.list() == []


def test_every_key_is_documented() -> None:
    table = keys.__doc__ or ""
    for key in [
        *keys.of_task("T"),
        *keys.of_study("S"),
        keys.worker("W"),
        keys.control("W"),
        keys.STUDIES,
        keys.WORKERS,
        keys.BASE_TASKS,
    ]:
        shown = re.sub(r":rank:\d+$", ":rank:I", re.sub(r":status:\w+$", ":status:X", key))
        assert f"`{shown}`" in table, key


def test_an_event_reads_back(client: redis.Redis) -> None:
    event = Event(kind=EventKind.REPORT, task="t", attempt=2, seq=3, data={"points": [[0, 1, "nan", 0]]})
    assert Event.decode(event.encode()) == event
    assert json.loads(event.encode()["d"]) == event.data
