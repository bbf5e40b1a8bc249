"""Launching: how many jobs are created, when, and what a lost connection leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from controller.loop.budget import Budget, Verdict
from controller.loop.job import Job
from controller.loop.launching import Launching
from tests.loop_parts import LoopParts
from worker.protocol import Status


def parts_of(redis_url: str, folder: Path, **limits: int) -> tuple[LoopParts, Launching]:
    parts = LoopParts(redis_url, folder, budget=Budget(**limits))
    launching = Launching(parts.context, parts.fleet, parts.tracker)
    parts.hooks.create_job = launching.create  # type: ignore[method-assign] # as SearchStrategy does
    return parts, launching


def test_free_slots_are_filled_and_one_trial_is_asked_ahead(redis_url: str, tmp_path: Path) -> None:
    parts, launching = parts_of(redis_url, tmp_path, max_concurrent=2)
    launching.launch_new()
    assert [job.record.status for job in parts.state.running.values()] == [Status.QUEUED] * 2
    assert set(parts.state.created) == set(parts.state.running)
    assert [asked.number for asked in parts.state.asked] == [2]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_more_jobs_than_the_budget_has(redis_url: str, tmp_path: Path, limit: int) -> None:
    parts, launching = parts_of(redis_url, tmp_path, max_concurrent=2, jobs_limit=limit)
    launching.launch_new()
    assert len(parts.state.running) == min(2, limit)
    assert len(parts.state.asked) == (1 if limit == 3 else 0)


@pytest.mark.parametrize("why", ["paused", "stops", "finish", "verdict"])
def test_nothing_is_launched_once_the_end_has_begun(redis_url: str, tmp_path: Path, why: str) -> None:
    parts, launching = parts_of(redis_url, tmp_path, max_concurrent=2)
    if why == "verdict":
        parts.state.verdict = Verdict(ok=False, final=True, reason="over")
    else:
        setattr(parts.requests, why, True)
    launching.launch_asked()
    launching.launch_new()
    assert not parts.state.running
    assert not parts.study.trials


def test_a_trial_whose_launch_fails_is_launched_when_redis_is_back(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, launching = parts_of(redis_url, tmp_path, max_concurrent=1)

    def away(self: Job, queue_name: str | None = None) -> bool:
        raise redis.ConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(Job, "launch", away)
        with pytest.raises(redis.ConnectionError):
            launching.launch_new()
    assert [asked.number for asked in parts.state.asked] == [0]
    launching.launch_asked()
    assert [job.trial for job in parts.state.running.values()] == [0]


def test_a_subclass_that_creates_nothing_is_noticed(redis_url: str, tmp_path: Path) -> None:
    parts, launching = parts_of(redis_url, tmp_path, max_concurrent=1)
    parts.hooks.create_job = lambda: None  # type: ignore[method-assign] # a subclass' own
    launching.launch_new()
    assert launching.gave_nothing
    assert not launching.exhausted
