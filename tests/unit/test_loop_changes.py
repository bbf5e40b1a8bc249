"""What people change of a running study, as the loop takes it over; and the notes that it keeps in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from controller.control import edit_budget, enqueue, reset_budget
from controller.loop.budget import Budget
from controller.loop.changes import EditedBudget, GivenConfigurations, limits
from controller.loop.control import Control
from controller.loop.launching import Launching
from controller.loop.logged_observer import LoggedObserver
from controller.loop.observer import REDIS
from tests.loop_parts import STUDY, LoopParts, Notes, X
from worker.protocol import keys
from worker.protocol.study_log import LogKind


def parts_of(redis_url: str, folder: Path, **budget: Any) -> LoopParts:
    parts = LoopParts(redis_url, folder, budget=Budget(**budget))
    save(parts)
    return parts


def save(parts: LoopParts) -> None:
    """The record as the loop writes it, of a study that a program has begun."""
    parts.progress.save()
    record = parts.store.studies.get(STUDY)
    described: dict[str, Any] = {X.name: X.to_dict()}
    record.sweep.update({"study": {"name": STUDY}, "parameters": described})
    parts.store.studies.save(record)


# Budgets


def test_an_edit_is_taken_over_and_taken_back(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path, jobs_limit=5, max_iteration_per_job=10, wall_clock_limit=60)
    edited = EditedBudget(parts.context)
    edited.begin()
    assert parts.observer.notes == []
    edit_budget(parts.store, STUDY, {"max_trials": 8, "wall_clock": "2h", "max_concurrent": 3}, by="ann")
    edited.look()
    assert limits(parts.budget) == {
        "max_trials": 8, "max_concurrent": 3, "max_failures": None, "total_compute": None, "wall_clock": 7200,
        "time_per_trial": None, "min_iterations": None,
    }  # fmt: skip
    assert parts.budget.iterations.limit == 80
    assert parts.observer.notes == [
        "max_trials is 8, as ann has set it instead of 5",
        "max_concurrent is 3, as ann has set it instead of no limit",
        "wall_clock is 2 h, as ann has set it instead of 1 h",
    ]
    edited.look()
    assert len(parts.observer.notes) == 3
    reset_budget(parts.store, STUDY, by="bob")
    edited.look()
    assert limits(parts.budget)["max_trials"] == 5
    assert parts.budget.max_concurrent is None
    assert parts.budget.iterations.limit == 50
    assert parts.observer.notes[3] == "max_trials is 5, with which the study was started"


@pytest.mark.parametrize(
    ("second", "expected", "note"),
    [
        (5, 8, "max_trials is 8, still as ann has set it instead of 5"),
        (6, 6, "max_trials is 6, with which the study was started; it was 5 when ann set it to 8"),
        (
            None,
            None,
            "max_trials is no limit, with which the study was started; it was 5 when ann set it to 8",
        ),
    ],
    ids=["the same sweep file", "another limit in the sweep file", "no limit in the sweep file"],
)
def test_the_next_start(
    redis_url: str, tmp_path: Path, second: int | None, expected: int | None, note: str
) -> None:
    parts = parts_of(redis_url, tmp_path, jobs_limit=5)
    edit_budget(parts.store, STUDY, {"max_trials": 8}, by="ann")
    again = LoopParts(redis_url, tmp_path, budget=Budget(second))
    EditedBudget(again.context).begin()
    assert again.budget.jobs.limit == expected
    assert again.observer.notes == [note]
    assert bool(again.store.changes.edits(STUDY)) == (expected == 8)


def test_a_redis_that_comes_back_without_its_data_takes_no_edit_back(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path, jobs_limit=5)
    edited = EditedBudget(parts.context)
    edited.begin()
    edit_budget(parts.store, STUDY, {"max_trials": 8}, by="ann")
    edited.look()
    parts.store.redis.delete(keys.budget_edits(STUDY))
    edited.look()
    assert parts.budget.jobs.limit == 8
    assert parts.store.changes.edits(STUDY)["max_trials"].by == "ann"
    reset_budget(parts.store, STUDY, by="ann")
    edited.look()
    assert parts.budget.jobs.limit == 5
    assert parts.store.changes.edits(STUDY) == {}


def test_what_is_no_edit_in_redis_is_passed_over(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path, jobs_limit=5)
    texts = {"max_trials": "[", "wall_clock": '{"limit": 1}', "lease": '{"limit": 1, "instead_of": 2}'}
    parts.store.redis.hset(keys.budget_edits(STUDY), mapping=texts)
    edited = EditedBudget(parts.context)
    edited.begin()
    edited.look()
    assert parts.budget.jobs.limit == 5
    assert parts.observer.notes == []


def test_a_raised_limit_gets_more_trials_launched(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path, jobs_limit=1, max_concurrent=5)
    launching = Launching(parts.context, parts.fleet, parts.tracker)
    parts.hooks.create_job = launching.create  # type: ignore[method-assign] # as SearchStrategy does
    control = Control(parts.context, parts.progress)
    control.begin()
    launching.launch_new()
    assert len(parts.state.running) == 1
    edit_budget(parts.store, STUDY, {"max_trials": 3}, by="ann")
    assert parts.monitor.read(0).request == "changed"
    control.take()
    launching.launch_new()
    assert len(parts.state.running) == 3


def test_limits_of_single_trials(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path, time_limit_per_job=60, max_concurrent=2)
    launching = Launching(parts.context, parts.fleet, parts.tracker)
    parts.hooks.create_job = launching.create  # type: ignore[method-assign] # as SearchStrategy does
    control = Control(parts.context, parts.progress)
    control.begin()
    launching.launch_new()
    edit_budget(
        parts.store, STUDY, {"time_per_trial": "2h", "min_iterations": 7, "max_concurrent": 3}, by="ann"
    )
    control.take()
    launching.launch_new()
    limits_s = [job.record.spec.time_limit_s for job in parts.state.running.values()]
    assert limits_s == [3600, 3600, 7200], "what runs keeps what its worker goes by"
    assert parts.budget.min_iterations.limit == 7
    assert "time_per_trial is 2 h, for trials created from now on, as ann has set it instead of 1 h" in (
        parts.observer.notes
    )
    parts.progress.save()
    kept = parts.store.studies.get(STUDY).budget
    assert (kept["time_per_trial"]["limit"], kept["min_iterations"]["limit"]) == (120, 7)


def test_a_lower_time_does_not_end_what_was_created_with_more(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path, time_limit_per_job=60)
    job = parts.hooks.helper_create_job(parts.context.base_task_id, {"x": 0.5})
    job.launch("default")
    parts.tracker.adopt(job)
    job.computed_s = lambda: 3000.0  # type: ignore[method-assign] # as if it had run so long
    parts.budget.time_per_trial.limit = 1
    assert parts.tracker.check_limits(job)
    assert not job.is_stopped()
    job.computed_s = lambda: 3700.0  # type: ignore[method-assign] # likewise
    parts.tracker.check_limits(job)
    assert job.is_stopped()


# Configurations


def test_what_is_given_is_tried_next_in_its_order(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path)
    given = GivenConfigurations(parts.context)
    parts.state.asked.extend(parts.search.ask_several(2))  # asked for already
    for x in (0.1, 0.2):
        enqueue(parts.store, STUDY, {"x": x}, by="ann")
    given.look()
    enqueue(parts.store, STUDY, {"x": 0.3}, by="ann")
    given.look()
    assert [asked.parameters["x"] for asked in parts.state.asked][:3] == [0.1, 0.2, 0.3]
    assert len(parts.state.asked) == 5
    assert parts.store.changes.given(STUDY) == []
    assert parts.observer.notes[0] == 'tried next: {"x": 0.1} given by ann'


def test_with_nothing_asked_ahead_the_search_gives_it_next(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path)
    enqueue(parts.store, STUDY, {"x": 0.25}, by="ann")
    GivenConfigurations(parts.context).look()
    asked = parts.search.ask()
    assert asked is not None
    assert asked.parameters == {"x": 0.25}


def test_what_was_tried_is_not_tried_again(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path)
    first = parts.search.ask()
    assert first is not None
    enqueue(parts.store, STUDY, first.parameters, by="ann")
    GivenConfigurations(parts.context).look()
    assert parts.observer.notes[0].endswith("given by ann: it was given before")
    assert parts.store.changes.given(STUDY) == []


def test_one_that_a_killed_controller_has_taken_is_not_tried_twice(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path)
    enqueue(parts.store, STUDY, {"x": 0.25}, by="ann")
    raw = parts.store.redis.lrange(keys.given(STUDY), 0, -1)
    GivenConfigurations(parts.context).look()
    parts.store.redis.rpush(keys.given(STUDY), *raw)  # as if it had died before it took it off
    GivenConfigurations(parts.context).look()
    assert "it was given before" in parts.observer.notes[1]
    assert len([trial for trial in parts.study.trials if trial.state.name == "WAITING"]) == 1


def test_what_the_search_refuses_waits_no_longer(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path)
    parts.store.changes.give(STUDY, {"x": 5}, "ann")
    parts.store.changes.give(STUDY, {"y": 5}, "ann")
    GivenConfigurations(parts.context).look()
    assert all(note.startswith("not tried: ") for note in parts.observer.notes)
    assert len(parts.observer.notes) == 2
    assert parts.store.changes.given(STUDY) == []
    assert parts.study.trials == []


# The log


def test_notes_stand_in_the_log_with_who_and_of_which_kind(redis_url: str, tmp_path: Path) -> None:
    parts = parts_of(redis_url, tmp_path)
    shown = Notes()
    observer = LoggedObserver(shown, parts.store, STUDY, "host:1")
    observer.note("a note")
    observer.remark(LogKind.QUARANTINE, "two\nlines\x1b[2J")
    observer.log(LogKind.END, "completed")
    assert shown.notes == ["a note", "two\nlines\x1b[2J"]
    assert parts.store.study_log.last(STUDY) == []
    observer.heartbeat(REDIS)
    assert parts.store.study_log.last(STUDY) == []
    observer.heartbeat()
    entries = parts.store.study_log.last(STUDY)
    assert [(entry.kind, entry.text, entry.by) for entry in entries] == [
        ("note", "a note", "host:1"),
        ("quarantine", "two\\nlines\\x1b[2J", "host:1"),
        ("end", "completed", "host:1"),
    ]


def test_what_redis_does_not_take_now_it_gets_later(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(redis_url, tmp_path)
    observer = LoggedObserver(Notes(), parts.store, STUDY, "host:1")
    add = parts.store.study_log.add

    def away(*_: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(parts.store.study_log, "add", away)
    observer.remark(LogKind.OUTAGE, "Redis is away")
    observer.heartbeat()
    monkeypatch.setattr(parts.store.study_log, "add", add)
    observer.end()
    assert [entry.text for entry in parts.store.study_log.last(STUDY)] == ["Redis is away"]
