"""Tracking: running jobs follow events and records, and keep their limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.loop.budget import Budget
from controller.loop.job import Job
from controller.loop.monitor import Changes, Start
from tests.loop_parts import LoopParts
from worker.protocol import Reason, Status


def test_events_move_a_job_from_queued_to_its_values(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    job = parts.launched()
    parts.store.transitions.start(job.task_id(), 1, "w/0")
    parts.report(Job.adopt(parts.store.tasks.get(job.task_id()), {}, parts.backend), 3.0, 2.0)
    parts.tracker.apply(parts.monitor.read(1.0))
    assert job.is_running()
    assert job.record.worker == "w/0"
    assert job.record.iterations == 2
    assert job.scalars["loss"].last == 2.0
    assert parts.state.due == {job.task_id()}


def test_an_event_of_an_older_attempt_changes_nothing(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    job = parts.running()
    old = parts.monitor.read(1.0)
    job.update(parts.store.transitions.requeue(job.task_id(), 1, reason="lost"))
    parts.tracker.apply(Changes(started=old.started))
    assert (job.record.attempt, job.is_pending()) == (2, True)


def test_a_job_that_has_ended_is_charged_and_waits_to_be_told(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path, budget=Budget(max_iteration_per_job=10))
    job = parts.ended(3.0, 2.0, 1.0)
    assert not parts.state.running
    assert parts.state.ended == [job]
    assert parts.budget.iterations.used == 3
    assert parts.budget.running == 0


@pytest.mark.parametrize(("reported", "stopped"), [(2, False), (3, True)])
def test_the_iteration_limit_is_kept_for_a_worker_that_does_not(
    redis_url: str, tmp_path: Path, reported: int, stopped: bool
) -> None:
    parts = LoopParts(redis_url, tmp_path, budget=Budget(max_iteration_per_job=2))
    job = parts.running()
    parts.report(job, *[1.0] * reported)
    parts.tracker.refresh([job.task_id()])
    parts.tracker.monitor_due()
    stop = parts.store.tasks.get(job.task_id()).stop
    assert (stop.reason_class if stop else None) == (Reason.ITERATION_LIMIT if stopped else None)


def test_a_job_that_a_subclass_gives_up_is_stopped_once(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    job = parts.running()
    asked = []
    parts.hooks.monitor_job = lambda job: bool(asked.append(job))  # type: ignore[method-assign,func-returns-value]
    for _ in range(2):
        parts.state.due.add(job.task_id())
        parts.tracker.monitor_due()
    assert len(asked) == 1
    stop = parts.store.tasks.get(job.task_id()).stop
    assert stop is not None
    assert stop.reason_class is Reason.USER
    assert parts.state.dismissed == {job.task_id()}


def test_a_record_that_is_gone_is_said(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    job, other = parts.running(), parts.running()
    parts.finish(other)
    parts.store.tasks.delete(job.task_id())
    parts.tracker.refresh([job.task_id(), other.task_id()])
    assert parts.lost_records == 1
    assert other.record.status is Status.COMPLETED


def test_what_has_ended_can_wait_and_what_goes_on_can_not() -> None:
    ended = Changes(ended=["a"], points={"a": [(0, 0, 1.0)]})
    assert not ended.urgent
    ended.add(Changes(ended=["b"], started={"c": Start(attempt=1, at=2.0, worker="w/0")}))
    assert not ended.urgent
    assert (ended.ended, list(ended.started)) == (["a", "b"], ["c"])
    ended.add(Changes(points={"a": [(0, 1, 2.0)], "c": [(0, 0, 3.0)]}))
    assert ended.urgent
    assert ended.points == {"a": [(0, 0, 1.0), (0, 1, 2.0)], "c": [(0, 0, 3.0)]}
    for urgent in (Changes(requeued={"d": 2}), Changes(request="stop")):
        assert urgent.urgent
        found = Changes(ended=["a"])
        found.add(urgent)
        assert (found.requeued, found.request) == (urgent.requeued, urgent.request)
