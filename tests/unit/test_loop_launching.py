"""Launching: how many jobs are created, when, and what a lost connection leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from optuna.distributions import IntDistribution

from controller.loop.budget import Budget, Verdict
from controller.loop.job import Job
from controller.loop.launching import Launching
from controller.search.parameters import SweepParameter
from controller.search.search import Search
from tests.loop_parts import STUDY, LoopParts, PlainHooks
from worker.protocol import Status, TaskRecord


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


class Ours(PlainHooks):
    """What no subclass has changed."""


Ours.__module__ = "controller.api.strategy"


def of_ours(redis_url: str, folder: Path, **limits: int) -> tuple[LoopParts, Launching]:
    """As `parts_of`, and jobs are launched together."""
    parts = LoopParts(redis_url, folder, budget=Budget(**limits))
    parts.context = replace(parts.context, hooks=Ours(parts.hooks.jobs, parts.tracker))
    launching = Launching(parts.context, parts.fleet, parts.tracker)
    parts.context.hooks.create_job = launching.create  # type: ignore[method-assign] # as SearchStrategy does
    return parts, launching


@pytest.mark.parametrize("limits", [{"max_concurrent": 5}, {"max_concurrent": 9, "jobs_limit": 5}])
def test_all_that_there_is_room_for_is_launched_in_one_transaction(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    parts, launching = of_ours(redis_url, tmp_path, **limits)
    together: list[list[int]] = []
    launch_all = parts.backend.launch_all

    def seen(records: Sequence[TaskRecord], queue: str | None = None) -> list[TaskRecord]:
        together.append([record.trial for record in records])
        return launch_all(records, queue)

    monkeypatch.setattr(parts.backend, "launch_all", seen)
    launching.launch_new()
    assert together == [[0, 1, 2, 3, 4]]
    ids = list(parts.state.running)
    assert [record and record.status for record in parts.store.tasks.get_many(ids)] == [Status.QUEUED] * 5
    assert parts.backend.launcher.waiting("default", [(task_id, 1) for task_id in ids]) == [True] * 5
    assert parts.budget.running == 5
    parameters = [parts.search.study.trials[job.trial].params for job in parts.state.running.values()]
    assert [job.parameters for job in parts.state.running.values()] == parameters


def test_trials_that_were_launched_together_when_redis_went_away_are_launched_once(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, launching = of_ours(redis_url, tmp_path, max_concurrent=3)
    launch_all = parts.backend.launch_all

    def away(records: Sequence[TaskRecord], queue: str | None = None) -> list[TaskRecord]:
        launch_all(records[:2], queue)  # and the answer is lost, with the third
        raise redis.ConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(parts.backend, "launch_all", away)
        with pytest.raises(redis.ConnectionError):
            launching.launch_new()
    assert not parts.state.running
    assert [asked.number for asked in parts.state.asked] == [0, 1, 2]
    launching.launch_new()
    assert [job.trial for job in parts.state.running.values()] == [0, 1, 2]
    assert len(parts.store.studies.tasks(STUDY)) == 3
    assert parts.budget.running == 3


def test_a_job_class_with_a_launch_of_its_own_is_asked_for_each_job(redis_url: str, tmp_path: Path) -> None:
    launched: list[int] = []

    class Own(Job):
        def launch(self, queue_name: str | None = None) -> bool:
            launched.append(self.trial)
            return super().launch(queue_name)

    parts, launching = of_ours(redis_url, tmp_path, max_concurrent=3)
    parts.hooks.jobs.job_class = Own
    launching.launch_new()
    assert launched == [0, 1, 2]


def test_a_subclass_creates_its_jobs_one_after_the_other(redis_url: str, tmp_path: Path) -> None:
    parts, launching = parts_of(redis_url, tmp_path, max_concurrent=3)
    running: list[int] = []

    def create() -> Job | None:
        running.append(len(parts.state.running))
        return launching.create()

    parts.hooks.create_job = create  # type: ignore[method-assign] # a subclass' own
    launching.launch_new()
    assert running == [0, 1, 2]


def test_what_is_left_of_a_space_is_launched_and_then_it_is_exhausted(redis_url: str, tmp_path: Path) -> None:
    parts, _ = of_ours(redis_url, tmp_path, max_concurrent=9)
    few = SweepParameter("x", IntDistribution(1, 3))
    context = replace(parts.context, search=Search(parts.study, [few]))
    launching = Launching(context, parts.fleet, parts.tracker)
    context.hooks.create_job = launching.create  # type: ignore[method-assign] # as SearchStrategy does
    launching.launch_new()
    assert sorted(job.parameters["x"] for job in parts.state.running.values()) == [1, 2, 3]
    assert launching.exhausted
    assert not launching.gave_nothing


@pytest.mark.parametrize(("limit", "ahead"), [(None, 3), (12, 3), (8, 2), (7, 1), (6, 0)])
def test_as_many_trials_are_asked_ahead_as_have_ended_at_once(
    redis_url: str, tmp_path: Path, limit: int | None, ahead: int
) -> None:
    parts, launching = of_ours(
        redis_url, tmp_path, max_concurrent=3, **({} if limit is None else {"jobs_limit": limit})
    )
    launching.launch_new()
    assert [asked.number for asked in parts.state.asked] == [3]  # nothing has ended yet
    for task_id, job in list(parts.state.running.items()):
        parts.budget.close_job(task_id, iterations=1, by_itself=True)
        parts.state.ended.append(parts.state.running.pop(task_id))
        assert job.trial < 3
    launching.launch_asked()
    parts.state.ended.clear()
    launching.launch_new()
    assert sorted(job.trial for job in parts.state.running.values()) == [3, 4, 5]
    assert [asked.number for asked in parts.state.asked] == list(range(6, 6 + ahead))
