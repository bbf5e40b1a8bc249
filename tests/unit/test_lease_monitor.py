"""The lease monitor: lost workers, lost jobs, and who gets another attempt."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from controller.loop.job import Job
from tests.loop_parts import LoopParts
from worker.protocol import Reason, Status, StopRequest, keys


@pytest.fixture
def parts(redis_url: str, tmp_path: Path) -> LoopParts:
    return LoopParts(redis_url, tmp_path, lease_s=1.0)


def lose_worker(parts: LoopParts, job: Job) -> None:
    """Its lease runs out."""
    assert parts.store.redis.delete(keys.lease(job.task_id())) == 1


def sweep(parts: LoopParts, *jobs: Job, after_s: float = 0.0) -> list[Job]:
    return parts.leases.sweep(time.monotonic() + after_s, jobs)


def test_a_lost_workers_task_gets_another_attempt(parts: LoopParts) -> None:
    job = parts.running()
    assert sweep(parts, job) == []
    lose_worker(parts, job)
    assert sweep(parts, job, after_s=1) == [job]
    record = parts.store.tasks.get(job.task_id())
    assert (record.status, record.attempt) == (Status.QUEUED, 2)
    assert parts.backend.launcher.waiting("default", [(record.id, 2)]) == [True]
    assert parts.leases.has_queued(record.id, 2)
    assert any("was lost; another attempt follows" in note for note in parts.observer.notes)


def test_attempts_come_to_an_end(parts: LoopParts) -> None:
    job = parts.running()
    for number in range(1, 4):
        lose_worker(parts, job)
        sweep(parts, job, after_s=number)
        if number < 3:
            parts.start(job)
    record = parts.store.tasks.get(job.task_id())
    assert (record.status, record.reason_class) == (Status.FAILED, Reason.WORKER_LOST)
    assert record.reason.endswith("3 attempts of 3 were lost")


def test_a_lost_worker_that_was_asked_to_stop_needs_no_other(parts: LoopParts) -> None:
    job = parts.running()
    parts.store.transitions.request_stop(job.task_id(), Reason.TIME_LIMIT, "ran too long")
    job.refresh()
    assert job.record.stop == StopRequest(reason_class=Reason.TIME_LIMIT, reason="ran too long")
    lose_worker(parts, job)
    sweep(parts, job)
    record = parts.store.tasks.get(job.task_id())
    assert (record.status, record.reason_class) == (Status.STOPPED, Reason.TIME_LIMIT)


def test_leases_are_not_judged_while_they_get_time(parts: LoopParts) -> None:
    job = parts.running()
    lose_worker(parts, job)
    parts.leases.give_time(2)
    assert sweep(parts, job, after_s=1.5) == []
    assert sweep(parts, job, after_s=2.5) == [job]


def test_looks_come_three_times_a_lease(parts: LoopParts) -> None:
    job = parts.running()
    assert sweep(parts, job) == []
    lose_worker(parts, job)
    assert sweep(parts, job, after_s=0.2) == []
    assert sweep(parts, job, after_s=0.5) == [job]


def test_a_job_that_the_queue_has_lost_is_put_there_again(parts: LoopParts) -> None:
    job = parts.launched()
    parts.leases.queued(job.task_id())
    assert sweep(parts, job, after_s=2) == []
    assert not parts.leases.has_queued(job.task_id(), 1)  # it was there
    parts.backend.launcher.withdraw("default", job.task_id(), 1)
    assert sweep(parts, job, after_s=4) == []
    assert parts.leases.has_queued(job.task_id(), 1)
    assert parts.backend.launcher.waiting("default", [(job.task_id(), 1)]) == [True]
    parts.leases.forget(job.task_id())
    assert not parts.leases.has_queued(job.task_id(), 1)


def test_what_is_not_queued_is_not_relaunched(parts: LoopParts) -> None:
    job = parts.running()
    assert not parts.leases.relaunch(job)
    parts.finish(job)
    assert not parts.leases.relaunch(job)


# What somebody else has written there


@pytest.mark.parametrize("queue", ["evil", "", "a b", "*", "x" * 5000, "\n"])
def test_a_job_goes_back_to_its_own_queue(parts: LoopParts, queue: str) -> None:
    job = parts.launched()
    forged = replace(job.record.spec, queue=queue)
    parts.store.redis.hset(keys.task(job.task_id()), "spec", forged.encode())
    parts.store.workers.register("accomplice", {"queues": queue, "slots": 1}, 60)
    parts.backend.launcher.withdraw("default", job.task_id(), 1)
    sweep(parts, job)
    sweep(parts, job, after_s=4)
    assert parts.backend.launcher.waiting("default", [(job.task_id(), 1)]) == [True]
    assert parts.store.tasks.get(job.task_id()).spec.queue == "default"


@pytest.mark.parametrize("fields", [{"spec": "{"}, {"attempt": "x"}, {"id": "0" * 32}])
def test_a_record_that_can_not_be_ends_no_controller(parts: LoopParts, fields: dict[str, str]) -> None:
    running, launched = parts.running(), parts.launched()
    for job in (running, launched):
        parts.store.redis.hset(keys.task(job.task_id()), mapping=fields)
    lose_worker(parts, running)
    parts.backend.launcher.withdraw("default", launched.task_id(), 1)
    sweep(parts, running, launched)
    sweep(parts, running, launched, after_s=4)
    assert not parts.leases.relaunch(launched)
