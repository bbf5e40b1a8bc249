"""What is due by the clock, the study's record, and the jobs that are made."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from controller.loop.control import Control
from controller.loop.machines import Machines
from controller.loop.periodic import TICK_S, PeriodicChecks
from controller.loop.recovery import Recovery
from tests.loop_parts import STUDY, LoopParts
from worker.protocol import Status
from worker.protocol.errors import BadInput


@pytest.fixture
def parts(redis_url: str, tmp_path: Path) -> LoopParts:
    return LoopParts(redis_url, tmp_path, pool_period_s=10.0, lease_s=60.0)


def checks_of(parts: LoopParts) -> PeriodicChecks:
    recovery = Recovery(parts.context, parts.monitor, parts.tracker, parts.progress)
    control = Control(parts.context, parts.progress)
    machines = Machines(parts.state, parts.requests, parts.fleet, parts.observer)
    return PeriodicChecks(
        parts.context, parts.fleet, parts.leases, parts.tracker, parts.progress, recovery, control, machines
    )


def test_time_is_counted_once_a_tick(parts: LoopParts) -> None:
    checks, now = checks_of(parts), time.monotonic()
    checks.begin(now)
    checks.run(now)
    assert checks.idle_s(now) == TICK_S
    checks.run(now + 0.5)
    assert parts.budget.wall_clock.used == 0.0
    checks.run(now + 60.0)
    assert parts.budget.wall_clock.used == pytest.approx(1.0)  # minutes
    record = parts.store.studies.get(STUDY)
    assert record.budget == parts.budget.to_dict()


def test_a_running_job_is_due_with_each_tick(parts: LoopParts) -> None:
    checks, now, job = checks_of(parts), time.monotonic(), parts.running()
    checks.begin(now)
    checks.run(now)
    assert job.task_id() in parts.state.due


def test_records_are_read_where_an_event_was_lost(parts: LoopParts) -> None:
    checks, now, job = checks_of(parts), time.monotonic(), parts.running()
    checks.begin(now)
    checks.run(now)
    parts.finish(job)  # nobody reads its event
    checks.run(now + 9.0)
    assert job.record.status is Status.IN_PROGRESS
    checks.run(now + 11.0)
    assert job.record.status is Status.COMPLETED


def test_they_are_read_when_asked_for(parts: LoopParts) -> None:
    checks, now, job = checks_of(parts), time.monotonic(), parts.running()
    checks.begin(now)
    parts.finish(job)
    checks.poll_soon()
    checks.run(now)
    assert job.record.status is Status.COMPLETED


def test_a_record_that_is_gone_is_written_again(parts: LoopParts) -> None:
    checks, now = checks_of(parts), time.monotonic()
    checks.begin(now)
    parts.store.redis.flushdb()
    checks.run(now)
    assert parts.store.studies.get(STUDY).name == STUDY


def test_progress_is_saved_and_restored(parts: LoopParts) -> None:
    parts.state.reason = "for a test"
    assert parts.progress.save()
    assert parts.store.studies.get(STUDY).reason == "for a test"
    assert parts.progress.save(ended=True)
    assert parts.store.studies.get(STUDY).ended_at is not None
    parts.store.redis.flushdb()
    assert not parts.progress.save()
    parts.progress.restore()
    assert parts.store.studies.get(STUDY).name == STUDY


def test_jobs_have_the_searchs_limits(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path, lease_s=7.0, max_attempts=2)
    parts.budget.time_per_trial.limit = 0.5
    parts.hooks.jobs.project = "p"
    record = parts.launched().record
    spec = record.spec
    assert (spec.lease_s, spec.time_limit_s, spec.max_attempts) == (7.0, 30.0, 2)
    assert spec.metrics == parts.objective.metrics
    assert (record.project, record.study) == ("p", STUDY)
    assert record.name.startswith("base: x=0.")


def test_jobs_are_named_as_the_program_says(parts: LoopParts) -> None:
    parts.hooks.jobs.naming = lambda base, parameters: f"{base} with {len(parameters)}"
    assert parts.launched().record.name == "base with 1"


def test_an_unknown_field_of_a_task_is_refused(parts: LoopParts) -> None:
    with pytest.raises(BadInput, match="did you mean 'lease_s'"):
        parts.hooks.helper_create_job(parts.context.base_task_id, task_overrides={"leases": 3})
