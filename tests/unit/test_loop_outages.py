"""Outages: steps that wait for Redis, for lost records, for the storage and for the lease."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import redis

from controller.loop import outages
from controller.loop.observer import REDIS
from controller.loop.outages import Outages
from tests.loop_parts import LoopParts
from worker.protocol import keys
from worker.protocol.errors import NoSuchTask, StorageUnavailable


class Bench:
    def __init__(self, parts: LoopParts) -> None:
        self.parts = parts
        self.polls, self.restored = 0, [True]
        self.outages = Outages(
            parts.requests, parts.leases, parts.observer, lambda: self.restored.pop(0), self._poll
        )

    def _poll(self) -> None:
        self.polls += 1

    def raising(self, *errors: BaseException, result: Any = "done") -> Any:
        """A step that fails with these errors, one a call, and then returns."""
        left = list(errors)

        def step() -> Any:
            if left:
                raise left.pop(0)
            return result

        return step


@pytest.fixture
def bench(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(outages, "RETRY_S", 0.001)
    return Bench(LoopParts(redis_url, tmp_path))


AWAY = redis.ConnectionError("Error 111 connecting to localhost:6379. Connection refused.")


def test_redis_away_is_told_once_and_waited_for(bench: Bench) -> None:
    assert bench.outages.survive(bench.raising(AWAY, AWAY, AWAY)) == "done"
    first, second = bench.parts.observer.notes
    assert first.endswith("; waiting for it")
    assert second == "Redis is back"
    assert bench.polls == 1
    assert bench.parts.observer.heartbeats == ["", REDIS, REDIS, REDIS]


def test_leases_get_time_after_an_outage(bench: Bench) -> None:
    """Workers could not renew theirs: none is lost for that."""
    job = bench.parts.running()
    bench.outages.survive(bench.raising(AWAY))
    assert bench.parts.store.redis.delete(keys.lease(job.task_id())) == 1
    assert bench.parts.leases.sweep(time.monotonic(), [job]) == []


def test_an_interrupt_ends_the_waiting(bench: Bench) -> None:
    bench.parts.requests.interrupt()
    assert bench.outages.survive(bench.raising(AWAY)) is False


def test_what_does_not_pass_is_raised(bench: Bench) -> None:
    with pytest.raises(redis.ResponseError):
        bench.outages.survive(bench.raising(redis.ResponseError("ERR unknown command")))


def test_lost_records_are_restored_and_the_step_is_run_again(bench: Bench) -> None:
    assert bench.outages.survive(bench.raising(NoSuchTask("a"))) == "done"
    bench.restored = [False]
    with pytest.raises(NoSuchTask):
        bench.outages.survive(bench.raising(NoSuchTask("a")))


def test_a_storage_that_stays_away_ends_the_step(bench: Bench) -> None:
    assert bench.outages.survive(bench.raising(StorageUnavailable("locked"))) is False
    assert bench.parts.observer.notes == ["locked; the next start tells what ended"]


class Lease:
    def __init__(self, *held: bool, lost: bool = False) -> None:
        self._held, self.lost = list(held), lost

    @property
    def held(self) -> bool:
        return self._held.pop(0) if len(self._held) > 1 else self._held[0]


def test_a_lease_that_ran_out_is_waited_for(bench: Bench) -> None:
    assert bench.outages.keep_lease(None)
    assert bench.outages.keep_lease(Lease(True))
    assert bench.parts.observer.notes == []
    assert bench.outages.keep_lease(Lease(False, False, True))
    assert bench.parts.observer.notes == [
        "this controller's lease on the study has run out; waiting to renew it"
    ]


def test_a_lease_that_another_has_ends_the_search(bench: Bench) -> None:
    assert not bench.outages.keep_lease(Lease(False, lost=True))
    assert bench.parts.requests.interrupted
    assert "another controller has taken over" in bench.parts.observer.notes[0]
