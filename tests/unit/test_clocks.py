"""Durations by monotonic clocks, moments in Redis' time: clocks that differ or are set change nothing."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis

from controller import HyperParameterOptimizer, UniformParameterRange
from controller.loop.fleet import Fleet
from controller.loop.run_time import RunTime
from tests.fakes import ManualClock, record
from worker import Task
from worker.protocol import Status, Store
from worker.protocol.clock import SteadyClock
from worker.protocol.connection import connect
from worker.protocol.redis_time import RedisTime
from worker.sdk.tensorboard import EventFolder

HOUR = 3600.0


class SetClock(ManualClock):
    """A machine's two clocks, of which the time of day can be set."""

    ahead = 0.0

    def now(self) -> float:
        return self.time + self.ahead


def running(clock: SetClock, started_ago: float, attempt: int = 1) -> Any:
    return record(status=Status.IN_PROGRESS, started_at=clock.time - started_ago, attempt=attempt)


# How long an attempt runs


@pytest.mark.parametrize("off", [0.0, HOUR, -HOUR])
def test_a_worker_s_clock_plays_no_part_in_what_was_launched_here(off: float) -> None:
    clock = SetClock()
    run_time = RunTime(clock)
    run_time.launched(clock.monotonic())
    assert run_time.seconds() == 0
    clock.sleep(5)  # it waits on the queue
    run_time.see(running(clock, off))
    assert 0 <= run_time.seconds() <= 5
    clock.sleep(10)
    assert 10 <= run_time.seconds() <= 15


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_this_machine_s_clock_may_be_set_while_it_runs(step: float) -> None:
    clock = SetClock()
    run_time = RunTime(clock)
    run_time.see(running(clock, 100))  # an earlier controller has launched it
    assert run_time.seconds() == 100
    clock.ahead = step
    clock.sleep(10)
    run_time.see(running(clock, 110))  # read again
    assert run_time.seconds() == 110


def test_each_attempt_is_measured_by_itself() -> None:
    clock = SetClock()
    run_time = RunTime(clock)
    run_time.see(running(clock, 100))
    run_time.see(record(status=Status.QUEUED, attempt=2))
    assert run_time.seconds() == 0
    run_time.see(running(clock, 3, attempt=2))
    assert run_time.seconds() == 3
    run_time.see(running(clock, 1, attempt=3))
    assert run_time.seconds() == 1


# Redis' time


class Machine:
    """A machine's clocks and a Redis elsewhere, which may be away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.day, self.steady, self.redis_ahead = 1_000_000.0, 50.0, 7.0
        self.away, self.asked = False, 0
        monkeypatch.setattr(time, "time", lambda: self.day)
        monkeypatch.setattr(time, "monotonic", lambda: self.steady)

    def sleep(self, seconds: float) -> None:
        self.day += seconds
        self.steady += seconds

    def time(self) -> tuple[int, int]:
        self.asked += 1
        if self.away:
            raise redis.ConnectionError("away")
        return int(self.true + self.redis_ahead), int((self.true + self.redis_ahead) % 1 * 1e6)

    @property
    def true(self) -> float:
        return 1_000_000.0 + self.steady - 50.0


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_redis_time_goes_on_when_this_machine_s_clock_is_set(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    machine = Machine(monkeypatch)
    clock = RedisTime(machine)
    assert clock.now() == pytest.approx(1_000_007)
    machine.day += step
    machine.sleep(10)
    assert clock.now() == pytest.approx(1_000_017)
    machine.sleep(RedisTime.AGAIN_S)
    assert clock.now() == pytest.approx(1_000_617)
    assert machine.asked == 2


def test_redis_time_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.away = True
    clock = RedisTime(machine)
    assert clock.now() == 1_000_000  # nothing better is known
    assert clock.now() == 1_000_000
    assert machine.asked == 1  # it is not asked each time
    machine.away = False
    machine.sleep(RedisTime.AWAY_S)
    assert clock.now() == pytest.approx(1_000_017)
    machine.away = True
    machine.sleep(RedisTime.AGAIN_S)
    assert clock.now() == pytest.approx(1_000_617)


def test_the_steady_clock_stands_by_what_it_has_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    clock = SteadyClock()
    machine.day -= HOUR
    machine.sleep(1)
    assert clock.now() == 1_000_001
    clock.look()
    assert clock.now() == 1_000_001 - HOUR


@pytest.mark.parametrize("off", [0.0, HOUR, -HOUR])
@pytest.mark.parametrize(("until", "slots"), [(-1.0, 2), (5.0, 0)])
def test_a_pause_is_judged_by_redis_time(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, off: float, until: float, slots: int
) -> None:
    store = Store(connect(redis_url))
    store.workers.register("w", {"queues": "default", "slots": 2, "state": "running"}, 60)
    store.workers.pause("w", store.clock.now() + until, "all failed")
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + off)
    fleet = Fleet(Store(connect(redis_url)), "default")
    fleet.look(1.0)
    assert fleet.slots == slots


# The optimizer's time limit


@pytest.mark.parametrize("step", [0.0, HOUR, -HOUR])
@pytest.mark.parametrize(("passed", "reached"), [(119.0, False), (120.0, True), (121.0, True)])
@pytest.mark.parametrize("how", ["minutes", "naive", "aware"])
def test_an_optimizer_s_limit_is_a_duration(
    tmp_path: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    passed: float,
    reached: bool,
    step: float,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis_url)
    base = Task.create("P", "base", function="obj:quick", parameters={"x": 1.0})
    optimizer = HyperParameterOptimizer(base.id, [UniformParameterRange("x", 0.0, 1.0)], "loss", "")
    assert not optimizer.reached_time_limit()
    day, steady = 1_700_000_000.0, 50.0
    monkeypatch.setattr(time, "time", lambda: day)
    monkeypatch.setattr(time, "monotonic", lambda: steady)
    monkeypatch.setattr(optimizer, "_started_at", steady)
    if how == "minutes":
        optimizer.set_time_limit(in_minutes=2)
    else:
        moment = datetime.fromtimestamp(day, timezone.utc if how == "aware" else None)
        optimizer.set_time_limit(specific_time=moment + timedelta(minutes=2))
    day, steady = day + passed + step, steady + passed
    assert optimizer.reached_time_limit() == reached
    optimizer.set_time_limit()
    assert not optimizer.reached_time_limit()


# TensorBoard's files


def test_new_files_are_read_whatever_their_times(tmp_path: Path) -> None:
    """After a clock was set back they look older than the program."""
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    def write(name: str, age_s: float) -> None:
        folder = tmp_path / name
        events = writer.EventFileWriter(str(folder))
        events.add_event(Event(step=1, summary=scalar_pb(name, 1.0)))
        events.close()
        for path in folder.iterdir():
            os.utime(path, (time.time() - age_s, time.time() - age_s))

    write("earlier", HOUR)
    followed = EventFolder(tmp_path)
    write("now", HOUR)
    assert {series for _, series, *_ in followed.read()} == {"now: now"}
