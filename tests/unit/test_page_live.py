"""What the page hears of changes: each of what it looks at, once a look, and of Redis' absence."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import fakeredis
import pytest
import redis

from controller.dashboard import live
from controller.dashboard.live import Changes, Topic, fingerprint
from tests.dashboard import site_of
from tests.fakes import LOSS, record
from worker.protocol import Store, StudyRecord, TaskRecord, keys
from worker.protocol.errors import RedisUnavailable
from worker.protocol.event_stream import emit
from worker.protocol.events import Event, EventKind


@pytest.fixture
def store() -> Store:
    made = Store(fakeredis.FakeRedis(decode_responses=True))
    for name in ("s", "t"):
        made.studies.save(StudyRecord(name=name, created_at=1.0, metrics=(LOSS,)))
    return made


def task_of(store: Store) -> TaskRecord:
    task = record(study="s")
    store.tasks.create(task)
    return task


def event(store: Store, study: str) -> None:
    with store.redis.pipeline() as pipe:
        emit(pipe, study, Event(kind=EventKind.CONTROL, data={"request": "stop"}))
        pipe.execute()


def register(store: Store, **fields: Any) -> None:
    store.workers.register("w", {"slots": 1, "queues": "default", "seen": "1", **fields}, 60)


CHANGES: dict[str, Callable[[Store, str], Any]] = {
    "an event": lambda store, task: event(store, "s"),
    "a state": lambda store, task: store.redis.hset(keys.study("s"), "state", "paused"),
    "a controller": lambda store, task: store.redis.set(keys.study_lock("s"), "me"),
    "a request": lambda store, task: store.redis.set(keys.study_request("s"), "stop"),
    "a deletion": lambda store, task: store.studies.delete("s"),
    "a worker": lambda store, task: register(store),
}
OF_TASK: dict[str, Callable[[Store, str], Any]] = {
    "its record": lambda store, task: store.redis.hset(keys.task(task), "status", "queued"),
    "its output": lambda store, task: store.redis.append(keys.log(task), "."),
    "its scalars": lambda store, task: store.redis.hset(keys.scalars(task), "loss", "[1]"),
    "its artifacts": lambda store, task: store.redis.hset(keys.artifacts(task), "model", "{}"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_a_study_changes_its_topic_and_that_of_all(store: Store, change: Any) -> None:
    def looks() -> list[str]:
        return [fingerprint(store, topic, {}) for topic in (Topic("s"), Topic(), Topic("t"))]

    first = looks()
    assert looks() == first
    change(store, "")
    one, every, other = looks()
    assert one != first[0]
    assert every != first[1]
    assert (other == first[2]) == (change is not CHANGES["a worker"])


@pytest.mark.parametrize("change", OF_TASK.values(), ids=OF_TASK.keys())
def test_a_task(store: Store, change: Any) -> None:
    task, ends = task_of(store), dict[str, int]()
    topic = Topic("s", task.id)
    first = fingerprint(store, topic, ends)
    for _ in range(2):
        assert fingerprint(store, topic, ends) == first
    change(store, task.id)
    second = fingerprint(store, topic, ends)
    assert second != first
    assert fingerprint(store, topic, ends) == second


def test_a_worker_that_only_lives_on_changes_nothing(store: Store) -> None:
    register(store)
    first = [fingerprint(store, topic, {}) for topic in (Topic("s"), Topic())]
    register(store, seen="2")
    assert [fingerprint(store, topic, {}) for topic in (Topic("s"), Topic())] == first
    # How busy its GPUs are is shown on the page of all, and on no study's.
    register(store, seen="3", gpus="busy")
    assert fingerprint(store, Topic("s"), {}) == first[0]
    assert fingerprint(store, Topic(), {}) != first[1]


def test_spoiled_keys_are_no_absence(store: Store) -> None:
    store.redis.delete(keys.study("s"))
    store.redis.set(keys.study("s"), "x")
    assert fingerprint(store, Topic("s"), {})


def heard(
    changes: Changes, topic: Topic, then: Callable[[Callable[[], Awaitable[str]]], Awaitable[None]]
) -> None:
    """Run `then` with a function that awaits the kind of the next message of a topic."""

    async def run() -> None:
        async with contextlib.aclosing(changes.listen(topic)) as messages:

            async def following() -> str:
                return (await asyncio.wait_for(messages.__anext__(), 20))[0]

            await then(following)
            changes.end()

    asyncio.run(run())


def test_a_page_hears_of_its_own_changes_and_of_nothing_else(store: Store) -> None:
    async def then(following: Callable[[], Awaitable[str]]) -> None:
        assert await following() == "hello"
        assert await following() == "change", "what it showed may be older than the first look"
        event(store, "t")
        event(store, "s")
        assert await following() == "change"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(following(), 0.2)

    heard(Changes(site_of(store), every_s=0.01), Topic("s"), then)


def test_redis_away_and_back(store: Store) -> None:
    problem: list[Exception] = []

    def opened() -> Store:
        if problem:
            raise problem[0]
        return store

    from controller.dashboard.site import Site

    async def then(following: Callable[[], Awaitable[str]]) -> None:
        assert [await following(), await following()] == ["hello", "change"]
        for error in (redis.ConnectionError("gone"), RedisUnavailable("no Redis yet")):
            problem.append(error)
            assert await following() == "away"
            problem.clear()
            assert await following() == "back"

    heard(Changes(Site(opened), every_s=0.01), Topic("s"), then)


def test_a_page_that_is_opened_while_redis_is_away_is_told_so(store: Store) -> None:
    from controller.dashboard.site import Site

    def opened() -> Store:
        raise redis.ConnectionError("gone")

    changes = Changes(Site(opened), every_s=0.01)

    async def run() -> None:
        for expected in (["hello", "away"], ["away"]):
            async with contextlib.aclosing(changes.listen(Topic())) as messages:
                assert [(await messages.__anext__())[0] for _ in expected] == expected
        changes.end()

    asyncio.run(run())


def test_silence_is_broken_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEEP_ALIVE_S", 0.02)

    async def then(following: Callable[[], Awaitable[str]]) -> None:
        assert await following() == "hello"
        seen: set[str] = set()
        while seen != {"change", ""}:  # in either order: the first look may take longer than the silence
            seen.add(await following())
            assert seen <= {"change", ""}

    heard(Changes(site_of(store), every_s=0.01), Topic("s"), then)


def test_with_no_page_open_nothing_is_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def counted(*arguments: Any) -> str:
        looks.append(1)
        return "same"

    monkeypatch.setattr(live, "fingerprint", counted)
    changes = Changes(site_of(store), every_s=0.005)

    async def run() -> None:
        async with contextlib.aclosing(changes.listen(Topic())) as messages:
            assert [(await messages.__anext__())[0] for _ in range(2)] == ["hello", "change"]
        await asyncio.sleep(0.05)
        after = len(looks)
        await asyncio.sleep(0.05)
        assert len(looks) == after
        # The next page is looked for again.
        async with contextlib.aclosing(changes.listen(Topic())) as messages:
            assert [(await messages.__anext__())[0] for _ in range(2)] == ["hello", "change"]
        changes.end()

    asyncio.run(run())


def test_a_page_that_does_not_read_holds_up_no_other(store: Store) -> None:
    changes = Changes(site_of(store), every_s=0.005)

    async def run() -> None:
        async with contextlib.aclosing(changes.listen(Topic("s"))) as slow:
            assert (await slow.__anext__())[0] == "hello"
            async with contextlib.aclosing(changes.listen(Topic("s"))) as quick:
                assert [(await quick.__anext__())[0] for _ in range(2)] == ["hello", "change"]
                for _ in range(20):
                    event(store, "s")
                    assert (await asyncio.wait_for(quick.__anext__(), 20))[0] == "change"
        changes.end()

    asyncio.run(run())
