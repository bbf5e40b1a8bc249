"""What a controller's scrape asks of a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from controller.commands.acl import CONTROLLER_PASSWORD, users
from controller.health.redis_metrics import PAUSE_S, TIMEOUT_S, RedisMetrics, Seen
from controller.loop.launcher import Launcher
from tests.fakes import record
from tests.proxy import BreakingProxy
from tests.redisserver import RedisServer
from worker.protocol import Status, Store, TaskSpec
from worker.protocol.connection import connect
from worker.protocol.events import Event, EventKind


@pytest.fixture
def store(redis_url: str) -> Store:
    return Store(connect(redis_url))


def look(url: str, position: str = "0-0") -> Seen:
    """A first look at study s and its queue."""
    return RedisMetrics(url, "s", "default", Launcher(url).key("default"), lambda: position).seen()


def register(store: Store, name: str, ttl_s: float = 15.0, **fields: object) -> None:
    store.workers.register(name, {"slots": 2, "queues": "gpu,default", "state": "running", **fields}, ttl_s)


def test_an_empty_redis(redis_url: str, store: Store) -> None:
    assert look(redis_url) == Seen(up=True, queued=0, lag_s=0.0, best=None, workers=())


def test_the_queue_and_the_best(redis_url: str, store: Store) -> None:
    launcher = Launcher(redis_url)
    for number, score in enumerate((0.5, 0.25, 0.75)):
        task = record(trial=number, status=Status.QUEUED)
        store.tasks.create(task)
        launcher.enqueue(task)
        store.redis.zadd("orq:study:s:rank", {task.id: score})
    launcher.enqueue(record(spec=TaskSpec(queue="other")))
    seen = look(redis_url)
    assert (seen.queued, seen.best) == (3, 0.25)


def test_the_workers_of_the_queue(redis_url: str, store: Store) -> None:
    register(store, "fresh", **{"slot:0": "a" * 32, "slot:1": ""})
    register(store, "old", ttl_s=5.0, state="draining")
    register(store, "paused", paused_until=repr(time.time() + 60))
    register(store, "elsewhere", queues="gpu")
    register(store, "odd", slots="many")
    register(store, "strange", state="x" * 1000)
    workers = look(redis_url).workers
    assert workers is not None
    assert [(w.name, w.slots, w.busy, w.state) for w in workers] == [
        ("fresh", 2, 1, "running"),
        ("old", 2, 0, "draining"),
        ("paused", 2, 0, "paused"),
        ("strange", 2, 0, "running"),
    ]
    ages = [worker.heartbeat_age_s for worker in workers]
    assert ages == pytest.approx([0.0, 10.0, 0.0, 0.0], abs=1.0)


def test_events_that_nobody_has_read(redis_url: str, store: Store) -> None:
    now_ms = round(time.time() * 1000)
    for age_s in (100, 20):
        event = Event(kind=EventKind.STARTED, task="t")
        store.redis.xadd("orq:study:s:events", event.encode(), id=f"{now_ms - age_s * 1000}-0")
    assert look(redis_url).lag_s == pytest.approx(100, abs=5)
    assert look(redis_url, f"{now_ms - 100_000}-0").lag_s == pytest.approx(20, abs=5)
    assert look(redis_url, f"{now_ms - 20_000}-0").lag_s == 0
    assert look(redis_url, "").lag_s is None  # nobody reads


def test_one_look_a_second_whoever_asks(redis_url: str, store: Store) -> None:
    at = RedisMetrics(redis_url, "s", "default", Launcher(redis_url).key("default"), lambda: "")
    began = time.monotonic()
    found = {id(at.seen()) for _ in range(2000)}
    assert len(found) <= 1 + (time.monotonic() - began) / PAUSE_S


@pytest.fixture
def own() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_what_a_user_may_not_ask_is_left_out(own: RedisServer) -> None:
    store = Store(connect(own.url()))
    register(store, "w")
    store.redis.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "+ping", "+smembers", "+hgetall")
    seen = look(own.url().replace("redis://", "redis://few:pw@"))
    assert seen.up
    assert (seen.queued, seen.best, seen.lag_s) == (None, None, None)
    assert [(w.name, w.heartbeat_age_s) for w in seen.workers or ()] == [("w", None)]


def test_the_rules_of_controller_acl_let_it_ask_all_of_it(own: RedisServer) -> None:
    store = Store(connect(own.url()))
    register(store, "w")
    user = users(["default"])[0]
    rule = user.rule({CONTROLLER_PASSWORD: "pw"}).split()
    store.redis.execute_command("ACL", "SETUSER", user.name, *rule[2:])
    seen = look(own.url().replace("redis://", f"redis://{user.name}:pw@"))
    assert (seen.up, seen.queued, seen.lag_s) == (True, 0, 0.0)
    assert [(w.name, w.heartbeat_age_s) for w in seen.workers or ()] == [("w", pytest.approx(0.0, abs=1.0))]


def test_a_redis_that_says_nothing_is_away_in_time(own: RedisServer) -> None:
    with BreakingProxy(own.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        at = RedisMetrics(url, "s", "default", Launcher(own.url()).key("default"), lambda: "")
        assert at.seen().up
        assert at.away_at == float("-inf")
        proxy.blackhole()
        deadline = time.monotonic() + 30
        while at.seen().up:
            assert time.monotonic() < deadline
        began = time.monotonic()
        time.sleep(PAUSE_S)
        assert not at.seen().up
        assert time.monotonic() - began < PAUSE_S + 3 * TIMEOUT_S
        assert at.away_at >= began
        proxy.heal()
        proxy.reset()
        while not at.seen().up:
            assert time.monotonic() < deadline
