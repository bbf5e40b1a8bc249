"""Telling: trials get reports and ends, each once; hopeless ones are stopped."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from controller.loop.job import Job
from controller.loop.telling import Telling
from tests.loop_parts import LoopParts
from worker.protocol import Reason, Status


def parts_of(redis_url: str, folder: Path, **options: object) -> tuple[LoopParts, Telling, list[Job]]:
    parts = LoopParts(redis_url, folder, **options)  # type: ignore[arg-type] # passed on by name
    let_go: list[Job] = []
    return parts, Telling(parts.context, parts.tracker, let_go.append), let_go


def test_an_end_is_told_once_with_its_value(redis_url: str, tmp_path: Path) -> None:
    parts, telling, let_go = parts_of(redis_url, tmp_path)
    job = parts.ended(3.0, 0.5)
    telling.tell_ended()
    telling.tell_ended()
    assert parts.states() == ["COMPLETE"]
    assert parts.study.trials[0].value == 0.5
    assert let_go == [job] == parts.observer.ended_jobs
    assert parts.state.ended == []


def test_an_end_that_could_not_be_dealt_with_is_told_again(redis_url: str, tmp_path: Path) -> None:
    parts, _, let_go = parts_of(redis_url, tmp_path)

    def once(job: Job) -> None:
        let_go.append(job)
        if len(let_go) == 1:
            raise ConnectionError

    telling = Telling(parts.context, parts.tracker, once)
    parts.ended(1.0)
    with pytest.raises(ConnectionError):
        telling.tell_ended()
    telling.tell_ended()
    assert parts.states() == ["COMPLETE"]
    assert len(parts.observer.ended_jobs) == 1


@pytest.mark.parametrize(("min_iterations", "stopped"), [(0, True), (3, True), (4, False)])
def test_a_hopeless_trial_is_stopped_after_its_minimum(
    redis_url: str, tmp_path: Path, min_iterations: int, stopped: bool
) -> None:
    pruner = optuna.pruners.ThresholdPruner(upper=1.0)
    parts, telling, _ = parts_of(redis_url, tmp_path, pruner=pruner, min_iterations=min_iterations)
    job = parts.running()
    parts.report(job, 5.0, 5.0, 5.0)
    changes = parts.monitor.read(1.0)
    parts.tracker.apply(changes)
    telling.tell_reports(changes.points)
    stop = parts.store.tasks.get(job.task_id()).stop
    assert (stop.reason_class if stop else None) == (Reason.PRUNED if stopped else None)


def test_what_an_earlier_controller_missed_is_told_from_the_record(redis_url: str, tmp_path: Path) -> None:
    parts, telling, _ = parts_of(redis_url, tmp_path)
    job = parts.ended(3.0, 2.0)
    telling.adopted = {job.task_id()}
    telling.tell_ended()
    assert parts.study.trials[0].intermediate_values == {0: 3.0, 1: 2.0}


def test_an_end_that_was_read_before_the_last_reports_is_told_with_them(
    redis_url: str, tmp_path: Path
) -> None:
    parts, telling, _ = parts_of(redis_url, tmp_path)
    job = parts.running()
    parts.report(job, 3.0, 2.0)
    changes = parts.monitor.read(1.0)
    parts.tracker.apply(changes)
    telling.tell_reports(changes.points)
    parts.report(job, 1.0, 0.5, first=2)
    parts.finish(job)
    # All records are read, as after an absence of Redis; the events come later.
    parts.tracker.refresh([job.task_id()])
    parts.tracker.monitor_due()
    telling.tell_ended()
    assert parts.study.trials[0].intermediate_values == {0: 3.0, 1: 2.0, 2: 1.0, 3: 0.5}
    telling.tell_reports(parts.monitor.read(1.0).points)
    assert parts.states() == ["COMPLETE"]


def test_a_trial_that_was_cut_short_with_its_study_is_tried_again(redis_url: str, tmp_path: Path) -> None:
    parts, telling, _ = parts_of(redis_url, tmp_path)
    job = parts.running()
    parts.finish(job, Status.STOPPED, Reason.STUDY_STOPPED)
    parts.tracker.refresh([job.task_id()])
    parts.tracker.monitor_due()
    telling.tell_ended()
    assert parts.states() == ["FAIL", "WAITING"]


def test_a_metric_that_is_missing_is_named_once(redis_url: str, tmp_path: Path) -> None:
    parts, telling, _ = parts_of(redis_url, tmp_path)
    parts.ended(metric="los")
    parts.ended()
    telling.tell_ended()
    assert parts.observer.notes == [
        "the first finished job has no metric 'loss'; it reported los; did you mean 'los'?"
    ]
