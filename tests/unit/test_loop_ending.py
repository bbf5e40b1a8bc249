"""Ending: when a search ends, what is stopped for it, and what its record says."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.loop.budget import Budget
from controller.loop.ending import Ending
from controller.loop.launching import Launching
from tests.loop_parts import STUDY, LoopParts
from worker.protocol import Reason


class Lease:
    def __init__(self, *, lost: bool) -> None:
        self.held, self.lost = not lost, lost


def parts_of(
    redis_url: str, folder: Path, budget: Budget | None = None, lease: Lease | None = None
) -> tuple[LoopParts, Ending]:
    parts = LoopParts(redis_url, folder, budget=budget, lease=lease, lease_s=1.0)
    launching = Launching(parts.context, parts.fleet, parts.tracker)
    return parts, Ending(parts.context, launching, parts.tracker, parts.progress)


@pytest.mark.parametrize(
    ("request_", "reason", "status"),
    [
        ("stop", "its end was asked for", "stopped"),
        ("interrupt", "by Ctrl-C or a signal", "interrupted"),
        ("hand_over", "handed over", "interrupted"),
    ],
)
def test_what_others_ask_for(redis_url: str, tmp_path: Path, request_: str, reason: str, status: str) -> None:
    parts, ending = parts_of(redis_url, tmp_path)
    job = parts.running()
    assert ending.go_on()
    getattr(parts.requests, request_)()
    hands_over = request_ == "hand_over"
    assert ending.go_on() != hands_over  # what runs is waited for, unless the next controller adopts it
    stop = parts.store.tasks.get(job.task_id()).stop
    assert (stop is None) == hands_over
    if not hands_over:
        parts.finish(job)
        parts.tracker.refresh([job.task_id()])
        parts.tracker.monitor_due()
        assert not ending.go_on()
    ending.close(lambda: False)
    record = parts.store.studies.get(STUDY)
    assert (record.state, record.reason) == (status, reason)
    assert record.ended_at is not None


def test_a_budget_that_is_used_up_stops_what_runs(redis_url: str, tmp_path: Path) -> None:
    parts, ending = parts_of(redis_url, tmp_path, Budget(wall_clock_limit=1.0))
    job = parts.running()
    parts.budget.wall_clock.update("study", 0.9)
    assert ending.go_on()
    assert parts.store.tasks.get(job.task_id()).stop is None
    parts.budget.wall_clock.update("study", 1.0)
    assert ending.go_on()
    stop = parts.store.tasks.get(job.task_id()).stop
    assert stop is not None
    assert stop.reason_class is Reason.TIME_LIMIT


def test_all_jobs_created_and_ended_completes_the_study(redis_url: str, tmp_path: Path) -> None:
    parts, ending = parts_of(redis_url, tmp_path, Budget(1))
    parts.ended(1.0)
    assert ending.go_on()  # its trial is still to be told
    parts.state.ended.clear()
    assert not ending.go_on()
    ending.close(lambda: False)
    assert parts.store.studies.get(STUDY).state == "completed"
    assert parts.state.reason == "all 1 trials created"


def test_a_trial_that_never_became_a_job_may_come_again(redis_url: str, tmp_path: Path) -> None:
    parts, ending = parts_of(redis_url, tmp_path)
    asked = parts.search.ask()
    assert asked is not None
    parts.state.asked.append(asked)
    parts.requests.stop()
    assert not ending.go_on()
    ending.close(lambda: False)
    assert parts.states() == ["FAIL"]


def test_an_interrupted_study_keeps_what_it_has_asked_for(redis_url: str, tmp_path: Path) -> None:
    parts, ending = parts_of(redis_url, tmp_path)
    asked = parts.search.ask()
    assert asked is not None
    parts.state.asked.append(asked)
    parts.requests.interrupt()
    ending.go_on()
    ending.close(lambda: False)
    assert parts.states() == ["RUNNING"]


def test_a_study_that_another_controller_has_is_left_alone(redis_url: str, tmp_path: Path) -> None:
    parts, ending = parts_of(redis_url, tmp_path, lease=Lease(lost=True))
    before = parts.store.studies.get(STUDY)
    ending.close(lambda: False)
    assert parts.store.studies.get(STUDY) == before
    assert (parts.state.status, parts.state.reason) == ("interrupted", "taken over by another controller")


def test_a_lost_record_is_written_again_at_the_end(redis_url: str, tmp_path: Path) -> None:
    parts, ending = parts_of(redis_url, tmp_path, Budget(1))
    parts.store.studies.delete(STUDY)

    def restore() -> bool:
        parts.progress.restore()
        return True

    ending.close(restore)
    assert parts.store.studies.get(STUDY).state == "interrupted"
    assert parts.store.studies.get(STUDY).reason == "left by an error"
