"""Recovery: what an earlier controller left is adopted, what Redis lost is written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.loop.recovery import Recovery, reconcile
from tests.loop_parts import STUDY, LoopParts
from worker.protocol import Status


@pytest.fixture
def parts(redis_url: str, tmp_path: Path) -> LoopParts:
    return LoopParts(redis_url, tmp_path)


def recovery(parts: LoopParts) -> Recovery:
    return Recovery(parts.context, parts.monitor, parts.tracker, parts.progress)


def test_tasks_and_trials_are_compared(parts: LoopParts) -> None:
    ended, running, queued = parts.running(), parts.running(), parts.launched()
    parts.report(ended, 0.5)
    parts.finish(ended)
    asked = parts.search.ask()
    assert asked is not None
    left = reconcile(parts.backend, parts.search, STUDY)
    assert [record.id for record in left.closed] == [ended.task_id()]
    assert [(job.task_id(), scalars["loss"].last) for job, scalars in left.ended] == [(ended.task_id(), 0.5)]
    assert {job.task_id() for job in left.running} == {running.task_id(), queued.task_id()}
    assert [trial.number for trial in left.unlaunched] == [asked.number]


def test_what_was_left_is_adopted_and_counted(parts: LoopParts) -> None:
    ended, running = parts.running(), parts.running()
    parts.finish(ended)
    parts.state.running.clear()  # another controller begins
    left = recovery(parts).adopt_leftover()
    assert list(parts.state.running) == [running.task_id()]
    assert [job.task_id() for job in parts.state.ended] == [ended.task_id()]
    assert ended.task_id() in parts.state.created
    assert left.unlaunched == []
    assert parts.observer.notes == ["taking up 1 running, 1 ended and 0 unlaunched trial(s)"]


def test_nothing_is_written_where_nothing_is_lost(parts: LoopParts) -> None:
    parts.running()
    assert not recovery(parts).restore_lost()
    assert parts.observer.notes == []


def test_a_lost_task_gets_a_new_attempt(parts: LoopParts) -> None:
    job = parts.running()
    parts.store.tasks.delete(job.task_id())
    assert recovery(parts).restore_lost()
    record = parts.store.tasks.get(job.task_id())
    assert (record.status, record.attempt) == (Status.QUEUED, 2)
    assert parts.backend.launcher.waiting("default", [(record.id, 2)]) == [True]


def test_a_lost_study_is_written_again(parts: LoopParts) -> None:
    parts.progress.save()
    job = parts.running()
    parts.store.redis.flushdb()
    assert recovery(parts).restore_lost()
    assert parts.store.studies.get(STUDY).name == STUDY
    assert parts.store.tasks.get(parts.context.base_task_id).name == "base"
    record = parts.store.tasks.get(job.task_id())
    assert (record.status, record.attempt) == (Status.QUEUED, 2)
    assert "Redis has lost the study" in parts.observer.notes[0]
