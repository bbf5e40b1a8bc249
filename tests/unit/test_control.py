"""What people change of studies and workers from outside, and the log that says who did it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from controller.control import (
    drain_worker,
    edit_budget,
    enqueue,
    pause_study,
    pause_worker,
    reset_budget,
    resume_study,
    resume_worker,
    stop_study,
    stop_task,
)
from controller.results.budgets import budget_report
from controller.results.limits import wanted_limits, written
from controller.results.study_events import study_events
from controller.results.workers import describe_workers
from controller.search.parameters import DiscreteParameterRange, UniformParameterRange
from tests.fakes import LOSS, record
from worker.protocol import Status, Store, StudyRecord, StudyState, keys
from worker.protocol.errors import BadInput
from worker.protocol.study_log import LOG_ENTRIES, LogEntry, LogKind
from worker.slot.pauses import Pauses

SWEEP = {
    "study": {"name": "s", "metric": {"name": "loss", "goal": "minimize"}},
    "parameters": {
        "lr": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
        "opt": {"choices": ["sgd", "adam"]},
        "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"opt": ["sgd"]}},
    },
    "budget": {"max_trials": 10, "max_iterations": 100},
}


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


def study(store: Store, *, running: bool = True, used: dict[str, float] | None = None, **fields: Any) -> None:
    """A study ``s`` whose controller runs, or doesn't."""
    limits = {"jobs": 10.0, "iterations": None, "compute_time": None, "wall_clock": 60.0, "failures": None}
    budget = {kind: {"used": 0.0, "reserved": 0.0, "limit": limit} for kind, limit in limits.items()}
    for kind, value in (used or {}).items():
        budget[kind]["used"] = value
    budget |= {"time_per_trial": {"limit": 30.0, "unit": "minutes"}, "min_iterations": {"limit": None}}
    about = {"sweep": SWEEP, "budget": budget, **fields}
    store.studies.save(StudyRecord(name="s", created_at=1.0, metrics=(LOSS,), **about))
    if running:
        store.redis.set(keys.study_lock("s"), "host:1")


def said(store: Store) -> list[tuple[str, str, str]]:
    return [(event["kind"], event["text"], event["by"]) for event in study_events(store, "s")]


# The log


def test_the_log_keeps_the_newest_in_order(store: Store) -> None:
    study(store)
    for number in range(5):
        store.study_log.add("s", LogEntry(at=float(number), kind="note", text=f"line {number}"))
    assert [entry.text for entry in store.study_log.last("s", 2)] == ["line 3", "line 4"]
    first, position = store.study_log.read("s", "0-0")
    assert [entry.at for entry in first] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert store.study_log.read("s", position) == ([], position)
    store.study_log.add("s", LogEntry(at=9.0, kind="note", text="later", by="ann", task="t"))
    (entry,) = store.study_log.read("s", position)[0]
    assert (entry.text, entry.by, entry.task) == ("later", "ann", "t")


def test_the_log_is_capped_and_goes_with_the_study(store: Store) -> None:
    study(store)
    with store.redis.pipeline() as pipe:
        for number in range(LOG_ENTRIES + 500):
            store.study_log.add("s", LogEntry(at=1.0, kind="note", text=str(number)), pipe)
        pipe.execute()
    assert store.redis.xlen(keys.study_log("s")) <= LOG_ENTRIES + 200
    store.studies.delete("s")
    assert not store.redis.exists(keys.study_log("s"))


def test_what_is_malformed_in_the_log_is_passed_over(store: Store) -> None:
    store.redis.xadd(keys.study_log("s"), {"at": "nan", "kind": "note", "text": "x"})
    store.redis.xadd(keys.study_log("s"), {"other": "1"})
    store.study_log.add("s", LogEntry(at=1.0, kind="a kind of tomorrow", text="x" * 10_000))
    (entry,) = store.study_log.last("s")
    assert entry.kind == "a kind of tomorrow"
    assert len(entry.text) == 2000


# Studies and tasks


def test_a_running_study_is_asked_and_its_log_says_who(store: Store) -> None:
    study(store)
    assert "asked to pause" in pause_study(store, "s", by="ann@head")
    assert store.studies.pending_request("s") == "pause"
    resume_study(store, "s", by="bob")
    stop_study(store, "s", by="the page with the full token, from 10.0.0.1")
    assert store.studies.pending_request("s") == "stop"
    assert [(kind, by) for kind, _, by in said(store)] == [
        ("pause", "ann@head"),
        ("resume", "bob"),
        ("stop", "the page with the full token, from 10.0.0.1"),
    ]


def test_a_study_without_a_controller(store: Store) -> None:
    study(store, running=False)
    open_task = record(status=Status.QUEUED)
    store.tasks.create(open_task)
    for ask in (pause_study, resume_study):
        with pytest.raises(BadInput, match="no controller acts on it"):
            ask(store, "s", by="ann")
    assert "1 open task(s)" in stop_study(store, "s", by="ann")
    assert store.tasks.get(open_task.id).status is Status.STOPPED
    assert store.studies.get("s").state == StudyState.STOPPED


def test_a_task_is_stopped_once(store: Store) -> None:
    study(store)
    queued = record(status=Status.QUEUED, trial=3)
    store.tasks.create(queued)
    assert "stopped" in stop_task(store, queued.id, by="ann")
    assert said(store) == [("task", "trial 3: asked to stop", "ann")]
    assert "has ended before (stopped)" in stop_task(store, queued.id, by="ann")
    assert len(said(store)) == 1


def test_a_task_that_a_study_does_not_list_stands_in_no_log(store: Store) -> None:
    study(store)
    stray = record(status=Status.QUEUED)
    store.tasks.create(stray)
    store.redis.zrem(keys.study_tasks("s"), stray.id)
    stop_task(store, stray.id, by="ann")
    assert said(store) == []


# Budgets


def test_limits_are_edited_and_taken_back(store: Store) -> None:
    study(store, used={"jobs": 4})
    done = edit_budget(store, "s", {"max_trials": "300", "wall_clock": "2h", "max_failures": 3}, by="ann")
    assert "max_trials 10 → 300, wall_clock 1 h → 2 h, max_failures no limit → 3" in done
    assert "takes it over now" in done
    edits = store.changes.edits("s")
    assert (edits["max_trials"].limit, edits["max_trials"].instead_of) == (300, 10)
    assert (edits["wall_clock"].limit, edits["wall_clock"].instead_of) == (7200, 3600)
    # A second edit knows what the study was started with, whatever the first one said.
    edit_budget(store, "s", {"max_trials": 40}, by="bob")
    assert (store.changes.edits("s")["max_trials"].limit, edits["max_trials"].instead_of) == (40, 10)
    # Back to that limit: no edit is left.
    edit_budget(store, "s", {"max_trials": 10}, by="bob")
    assert "max_trials" not in store.changes.edits("s")
    assert [edit["limit"] for edit in budget_report(store, "s")["edits"]] == ["max_failures", "wall_clock"]
    assert "wall_clock 2 h → 1 h" in reset_budget(store, "s", by="ann")
    assert store.changes.edits("s") == {}
    with pytest.raises(BadInput, match="was not edited"):
        reset_budget(store, "s", by="ann")
    assert {by for _, _, by in said(store)} == {"ann", "bob"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_trials": 3}, "max_trials: 3 is too low: 4 trials were created already"),
        ({"max_trials": "0"}, "budget.max_trials: "),
        ({"max_trials": "many"}, "budget.max_trials: must be a whole number"),
        ({"max_trials": 2.5}, "budget.max_trials: "),
        ({"wall_clock": "1m"}, "wall_clock: 1 min is too low: 5 min are used already"),
        ({"wall_clock": "soon"}, 'budget.wall_clock: "soon" is not a duration'),
        ({"total_compute": "-1h"}, "budget.total_compute: "),
        ({"max_failures": "2"}, "max_failures: 2 is too low: 2 trials have failed already"),
        ({"max_trials": None, "wall_clock": "none"}, "the study would never end"),
        ({"max_trails": 5}, "budget.max_trails can't be edited; did you mean 'max_trials'?"),
        ({"lease": "5s"}, "budget.lease can't be edited: workers have agreed on it"),
        ({"max_iterations": 50}, "budget.max_iterations can't be edited: trials of another length"),
        ({"elephants": 5}, "budget.elephants can't be edited; these can: max_trials"),
        ({"time_per_trial": "soon"}, 'budget.time_per_trial: "soon" is not a duration'),
        ({"time_per_trial": 0}, "budget.time_per_trial: "),
        ({"min_iterations": -1}, "budget.min_iterations: must be at least 0"),
        ({"min_iterations": 101}, "budget.min_iterations: 101 is above max_iterations (100)"),
        ({"max_trials": "[1"}, "budget.max_trials: neither a list nor a table"),
        ({}, "name what to edit: max_trials"),
        ({"max_trials": 10}, "these limits hold already"),
    ],
    ids=str,
)
def test_limits_that_can_not_be(store: Store, changes: dict[str, Any], message: str) -> None:
    study(store, used={"jobs": 4, "wall_clock": 5, "failures": 2})
    with pytest.raises(BadInput) as raised:
        edit_budget(store, "s", changes, by="ann")
    assert message in str(raised.value)
    assert store.changes.edits("s") == {}
    assert said(store) == []


def test_limits_of_single_trials(store: Store) -> None:
    study(store)
    done = edit_budget(store, "s", {"time_per_trial": "2h", "min_iterations": "5"}, by="ann")
    assert "time_per_trial 30 min → 2 h, min_iterations 0 → 5" in done
    assert store.changes.edits("s")["time_per_trial"].limit == 7200
    reset_budget(store, "s", by="ann")
    assert store.changes.edits("s") == {}


@pytest.mark.parametrize(
    ("sweep", "budget", "why"),
    [
        (SWEEP, {}, "no controller of this version"),
        (
            {**SWEEP, "objective": {"optuna": "m:f"}},
            {"min_iterations": {"limit": None}},
            "written for Optuna",
        ),
    ],
    ids=["an earlier version's", "Optuna's objective"],
)
def test_an_edit_that_would_reach_no_trial(
    store: Store, sweep: dict[str, Any], budget: dict[str, Any], why: str
) -> None:
    jobs = {"jobs": {"used": 0.0, "limit": 10.0}}
    study(store, sweep=sweep, budget={**jobs, **budget})
    with pytest.raises(BadInput, match=why):
        edit_budget(store, "s", {"min_iterations": 5}, by="ann")
    # The form of the page doesn't offer it, and sets the others.
    assert "min_iterations" not in wanted_limits(store.studies.get("s"), {})
    edit_budget(store, "s", {"max_trials": 20}, by="ann")


@pytest.mark.parametrize(("trials", "fits"), [(4, False), (5, True)])
def test_trials_that_have_iterations_are_counted_by_those(store: Store, trials: int, fits: bool) -> None:
    study(store)
    about = store.studies.get("s")
    # 10 trials of 100 iterations: 380 are used, 50 reserved, by 30 short trials.
    iterations = {"used": 380.0, "reserved": 50.0, "limit": 1000.0}
    budget = {**about.budget, "iterations": iterations, "jobs": {"used": 30.0, "limit": 10.0}}
    store.studies.save(replace(about, budget=budget))
    if fits:
        edit_budget(store, "s", {"max_trials": trials}, by="ann")
    else:
        with pytest.raises(BadInput, match="430 iterations are used or reserved, those of 5 trials"):
            edit_budget(store, "s", {"max_trials": trials}, by="ann")


def test_a_study_that_does_not_run_is_edited_for_its_next_start(store: Store) -> None:
    study(store, running=False, state=StudyState.COMPLETED)
    done = edit_budget(store, "s", {"max_trials": 20}, by="ann")
    assert "from the next `controller start` on, unless the sweep file has another limit" in done


@pytest.mark.parametrize(
    ("name", "limit", "text"),
    [("max_trials", 300.0, "300"), ("wall_clock", 5400.0, "1h30m"), ("total_compute", 90.5, "1m30.5s"),
     ("wall_clock", None, ""), ("wall_clock", 180_000.0, "50h")],
)  # fmt: skip
def test_limits_are_written_as_they_are_read(store: Store, name: str, limit: float | None, text: str) -> None:
    assert written(name, limit) == text
    if text:
        study(store)
        edit_budget(store, "s", {name: text}, by="ann")
        assert store.changes.edits("s")[name].limit == limit


# Configurations


def test_a_configuration_waits_for_the_controller(store: Store) -> None:
    study(store)
    assert "tries it next" in enqueue(store, "s", {"lr": 0.1, "opt": "sgd", "momentum": 0.5}, by="ann")
    (given,) = store.changes.given("s")
    assert dict(given.parameters) == {"lr": 0.1, "opt": "sgd", "momentum": 0.5}
    assert given.by == "ann"
    store.changes.taken("s", given)
    assert store.changes.given("s") == []
    store.redis.delete(keys.study_lock("s"))
    assert "no controller acts on it" in enqueue(store, "s", {"lr": 0.2}, by="ann")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "names no parameter; there are lr, opt, momentum"),
        ({"lr": 2}, '"lr" is never 2: it goes from 1e-05 to 1.0'),
        ({"opt": "sgdd"}, 'did you mean "sgd"?'),
        ({"momentun": 0.1}, 'did you mean "momentum"?'),
        ({"opt": "adam", "momentum": 0.5}, '"momentum" is there only if "opt" is ["sgd"]'),
        ({"lr": float("nan")}, "must be a finite number"),
        ({"lr": [1]}, "it is a number"),
    ],
    ids=str,
)
def test_configurations_that_can_not_be(store: Store, given: dict[str, Any], message: str) -> None:
    study(store)
    with pytest.raises(BadInput) as raised:
        enqueue(store, "s", given, by="ann")
    assert message in str(raised.value)
    assert store.changes.given("s") == []


def test_configurations_of_a_programs_study(store: Store) -> None:
    parameters = [UniformParameterRange("General/lr", 0.0, 1.0), DiscreteParameterRange("opt", ["a", "b"])]
    study(store, sweep={"study": {"name": "s"}, "parameters": {p.name: p.to_dict() for p in parameters}})
    enqueue(store, "s", {"General/lr": 0.5, "opt": "a"}, by="ann")
    for wrong in ({"General/lr": 2.0}, {"opt": "c"}, {"lx": 1}, {}):
        with pytest.raises(BadInput):
            enqueue(store, "s", wrong, by="ann")
    assert len(store.changes.given("s")) == 1


def test_what_is_no_configuration_in_redis_is_dropped(store: Store) -> None:
    study(store)
    for raw in ("[", "[]", '{"parameters": 5}', "{}"):
        store.redis.rpush(keys.given("s"), raw)
    enqueue(store, "s", {"lr": 0.5}, by="ann")
    assert [dict(given.parameters) for given in store.changes.given("s")] == [{"lr": 0.5}]
    assert store.redis.llen(keys.given("s")) == 1


# Workers


def worker(store: Store, name: str = "w", **fields: Any) -> None:
    about = {"host": "node1", "queues": "default", "slots": 2, "state": "running", **fields}
    store.workers.register(name, about, 60.0)


class Listener:
    """A worker's daemon, as far as it hears orders: it answers each at once, in a thread."""

    def __init__(self, store: Store, folder: Path, name: str = "w", **fields: Any) -> None:
        self.pauses = Pauses(store, name, folder / "paused", folder / "drains")
        self.folder = folder
        self._store, self._name, self._fields = store, name, fields
        worker(store, name, **fields)
        channel = store.redis.pubsub(ignore_subscribe_messages=True)
        channel.subscribe(**{keys.control(name): self._hear})
        self._thread = channel.run_in_thread(sleep_time=0.01, daemon=True)

    def _hear(self, message: dict[str, Any]) -> None:
        self.pauses.hear(message["data"])
        worker(self._store, self._name, **{**self._fields, **self.pauses.fields()})

    def end(self) -> None:
        self._thread.stop()
        self._thread.join()


@pytest.fixture
def listener(store: Store, tmp_path: Path) -> Iterator[Listener]:
    found = Listener(store, tmp_path)
    yield found
    found.end()


def test_a_worker_is_paused_drained_and_resumed(store: Store, listener: Listener, tmp_path: Path) -> None:
    study(store)
    paused, drains = tmp_path / "paused", tmp_path / "drains"
    assert "not answered" not in pause_worker(store, "w", reason="new\ndisk", by="ann")
    (shown,) = describe_workers(store)["workers"]
    assert (shown["state"], shown["reason"]) == ("paused", "by ann: new\\ndisk")
    assert not shown["takes_jobs"]
    assert (paused.exists(), drains.exists()) == (True, False)
    drain_worker(store, "w", by="bob")
    assert describe_workers(store)["workers"][0]["state"] == "draining"
    assert (paused.exists(), drains.exists(), listener.pauses.drains) == (True, True, True)
    resume_worker(store, "w", by="ann")
    assert describe_workers(store)["workers"][0]["takes_jobs"]
    assert (paused.exists(), drains.exists()) == (False, False)
    with pytest.raises(BadInput, match="it takes jobs already"):
        resume_worker(store, "w", by="ann")
    assert [(kind, by) for kind, _, by in said(store)] == [
        (LogKind.WORKER, "ann"), (LogKind.WORKER, "bob"), (LogKind.WORKER, "ann"),
    ]  # fmt: skip


def test_what_stands_in_a_registration_is_no_order(store: Store, listener: Listener) -> None:
    """Any worker can write there; only the head node speaks on a worker's channel."""
    worker(store, hold="drain", hold_by="nobody")
    listener.pauses.look()
    assert not listener.pauses.paused


@pytest.mark.parametrize("message", ["pause", "", "{", "[]", '{"hold": "end"}', "{}x", 5, None, "f" * 32])
def test_messages_that_are_no_orders(store: Store, tmp_path: Path, message: object) -> None:
    pauses = Pauses(store, "w", tmp_path / "paused", tmp_path / "drains")
    pauses.hear(message)
    assert not pauses.paused


def test_a_pause_of_a_controllers_is_ended_by_a_person(store: Store, listener: Listener) -> None:
    store.workers.pause("w", store.clock.now() + 100, "all fails here")
    listener.pauses.look()
    assert listener.pauses.paused
    resume_worker(store, "w", by="ann")
    listener.pauses.look()
    listener.pauses.turn(time.monotonic())
    assert not listener.pauses.paused
    assert describe_workers(store)["workers"][0]["takes_jobs"]


def test_a_pause_outlives_its_registration_and_ends_by_time(store: Store, listener: Listener) -> None:
    store.workers.pause("w", store.clock.now() + 100, "all fails here")
    listener.pauses.look()
    store.workers.forget("w")
    listener.pauses.look()
    listener.pauses.turn(time.monotonic())
    assert listener.pauses.paused
    listener.pauses.turn(time.monotonic() + 101)
    assert not listener.pauses.paused


def test_a_worker_that_does_not_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(store)
    with pytest.raises(BadInput, match="it doesn't listen now"):
        pause_worker(store, "w", by="ann")
    channel = store.redis.pubsub()
    channel.subscribe(keys.control("w"))
    monkeypatch.setattr("controller.control.workers.ANSWER_S", 0.1)
    assert "it has not answered yet" in pause_worker(store, "w", by="ann")


def test_workers_that_there_are_not(store: Store) -> None:
    worker(store, "node7")
    with pytest.raises(BadInput, match="no worker 'node8' in this Redis; did you mean 'node7'"):
        pause_worker(store, "node8", by="ann")
    assert store.workers.list()[0].get("hold", "") == ""
    assert not store.redis.exists(keys.worker("node8"))


def test_a_study_of_another_queue_has_no_line_of_it(store: Store, tmp_path: Path) -> None:
    study(store)
    found = Listener(store, tmp_path, queues="gpu")
    pause_worker(store, "w", by="ann")
    found.end()
    assert said(store) == []


def test_the_fleet_as_values(store: Store) -> None:
    study(store)
    task = record(status=Status.QUEUED, trial=7, attempt=1)
    store.tasks.create(task)
    store.transitions.start(task.id, 1, "w/0", register=False)
    other = record(status=Status.QUEUED, study="nowhere", attempt=1)
    store.tasks.create(other)
    store.transitions.start(other.id, 1, "w/1", register=False)
    worker(store, **{"slot:0": task.id, "slot:1": other.id, "slot:9": "x" * 40})
    worker(store, "v", queues="gpu,default", slots=3, host="node2")
    store.redis.rpush("rq:queue:default", "a", "b")
    store.redis.set("rq:queue:gpu", "no list")
    about = describe_workers(store)
    first = next(each for each in about["workers"] if each["worker"] == "w")
    assert [(slot["study"], slot["trial"]) for slot in first["slots"]] == [("s", 7), ("", None)]
    assert first["slots"][0]["seconds"] >= 0
    assert {host["host"]: host["slots"] for host in about["hosts"]} == {"node1": 2, "node2": 3}
    assert [
        (queue["queue"], queue["waiting"], queue["slots"], queue["studies"]) for queue in about["queues"]
    ] == [
        ("default", 2, 5, ["s"]),
        ("gpu", None, 3, []),
    ]
