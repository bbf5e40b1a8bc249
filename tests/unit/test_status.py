"""How a study stands: how long, how much is left, the best so far, and why a worker has nothing to do."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
from click.testing import CliRunner

from controller.commands import main as cli
from controller.commands import questions
from controller.commands.settings import Settings
from controller.results.status import budget_rows, describe_study
from tests.fakes import LOSS, record
from worker.protocol import Batch, Point, Status, Store, StudyRecord, StudyState, Summary, keys
from worker.protocol.gpu_status import GpuStatus, pack


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


def kind(
    used: float, limit: float | None = None, unit: str = "jobs", reserved: float = 0.0
) -> dict[str, Any]:
    return {"used": used, "reserved": reserved, "limit": limit, "unit": unit}


def study(store: Store, state: str = StudyState.RUNNING, **budget: Any) -> StudyRecord:
    """A study of which a controller acts unless it has ended or was interrupted."""
    found = StudyRecord(
        name="s", created_at=time.time() - 600, metrics=(LOSS,), state=state, controller="head:1",
        budget={"jobs": kind(0), "wall_clock": kind(10.0, unit="minutes"), **budget},
    )  # fmt: skip
    store.studies.save(found)
    if state in (StudyState.RUNNING, StudyState.PAUSED):
        store.redis.set(keys.study_lock("s"), "head:1")
    return found


def tasks(store: Store, completed: int = 0, running: int = 0, queued: int = 0) -> None:
    for number in range(completed + running + queued):
        made = record(trial=number, status=Status.QUEUED)
        store.tasks.create(made)
        if number >= completed + running:
            continue
        started = store.transitions.start(made.id, 1, "w/0")
        value = 5.0 - number
        summary = {"loss": Summary.of("loss", "").add(value, 0)}
        point = Point(title="loss", series="", value=value, iteration=0, at=1.0)
        store.reports.add(started, Batch(seq=1, points=[point], summaries=summary))
        if number < completed:
            store.transitions.finish(made.id, 1, Status.COMPLETED, worker="w/0")


def worker(store: Store, *, busy: int = 0, slots: int = 1, **fields: Any) -> None:
    running = {f"slot:{number}": "t" for number in range(busy)}
    registration = {"queues": "default", "slots": slots, "host": "node", "state": "running"}
    store.workers.register("w", {**registration, **running, **fields}, 60.0)


def seen(store: Store) -> tuple[str, str]:
    """State and reason of the only worker."""
    (found,) = describe_study(store, "s")["workers"]
    return found["state"], found["reason"]


@pytest.mark.parametrize(
    ("state", "counts", "budget", "registration", "expected"),
    [
        ("running", {"running": 1}, {}, {"busy": 1}, ("running", "")),
        ("running", {"queued": 1}, {}, {}, ("idle", "a job waits on the queue")),
        ("running", {}, {}, {}, ("idle", "no job waits: the controller asks for the next trial")),
        (
            "running", {"running": 2}, {"concurrent": kind(2, 2)}, {},
            ("idle", "max_concurrent: 2 of 2 trials run"),
        ),
        (
            "running", {"running": 1, "completed": 2}, {"jobs": kind(3, 3)}, {},
            ("idle", "all 3 trials are launched"),
        ),
        (
            "running", {"running": 1}, {"iterations": kind(40, 100, "iterations", reserved=60)}, {},
            ("idle", "the running trials may need what is left of the iterations"),
        ),
        (
            "running", {"running": 1, "completed": 2}, {"jobs": kind(3, 3)}, {"slots": 4, "busy": 1},
            ("running", "3 of 4 slots idle: all 3 trials are launched"),
        ),
        ("paused", {}, {}, {}, ("idle", "the study is paused; `controller resume` goes on")),
        ("interrupted", {}, {}, {}, ("idle", "no controller acts on the study")),
        ("completed", {}, {}, {}, ("idle", "the study is completed")),
        ("failed", {}, {}, {}, ("idle", "the study is failed")),
        ("running", {}, {}, {"refused": "it is not signed"}, ("idle", "it has refused a job: it is not signed")),
        ("running", {}, {}, {"state": "draining"}, ("draining", "it was asked to end")),
        (
            "running", {}, {}, {"state": "draining", "busy": 1},
            ("draining", "it was asked to end, when what it runs has ended"),
        ),
    ],
)  # fmt: skip
def test_why_a_worker_has_nothing_to_do(
    store: Store, state: str, counts: Any, budget: Any, registration: Any, expected: tuple[str, str]
) -> None:
    study(store, state, **budget)
    tasks(store, **counts)
    worker(store, **registration)
    assert seen(store) == expected


def test_a_paused_worker_says_for_how_long_and_why(store: Store) -> None:
    study(store)
    worker(store, paused_until=time.time() + 90, paused="all trials failed here")
    state, reason = seen(store)
    assert state in ("paused for 1 min 29 s", "paused for 1 min 30 s")
    assert reason == "all trials failed here"


@pytest.mark.parametrize(
    ("budget", "counts", "left", "remaining_s"),
    [
        ({}, {"completed": 2}, [], None),
        ({"jobs": kind(3, 10)}, {"completed": 2, "running": 1}, ["7 of 10 trials"], 2400.0),
        ({"jobs": kind(1, 10)}, {"running": 1}, ["9 of 10 trials"], None),
        (
            {"jobs": kind(3, 10), "iterations": kind(50, 200, "iterations")}, {"completed": 2, "running": 1},
            ["150 of 200 iterations"], 1800.0,
        ),
        (
            {"wall_clock": kind(10.0, 12.5, "minutes"), "jobs": kind(3, 10)}, {"completed": 2, "running": 1},
            ["7 of 10 trials", "2 min 30 s of 12 min 30 s of wall clock"], 150.0,
        ),
        (
            {"compute_time": kind(30.0, 120.0, "minutes")}, {"completed": 2},
            ["1 h 30 min of 2 h of compute time"], 1800.0,
        ),
        ({"jobs": kind(10, 10)}, {"completed": 10}, ["0 of 10 trials"], 0.0),
    ],
)  # fmt: skip
def test_how_much_is_left(
    store: Store, budget: Any, counts: Any, left: list[str], remaining_s: float
) -> None:
    study(store, **budget)
    tasks(store, **counts)
    found = describe_study(store, "s")
    assert (found["left"], found["remaining_s"]) == (left, remaining_s)
    assert found["elapsed_s"] == 600.0


@pytest.fixture
def shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    @contextlib.contextmanager
    def opened(settings: Settings) -> Iterator[Store]:
        yield store

    monkeypatch.setattr(questions, "open_store", opened)

    def ask(*words: str) -> str:
        done = CliRunner().invoke(cli.command, ["status", "s", *words], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    return ask


def test_a_running_study_in_words(store: Store, shown: Any) -> None:
    study(store, jobs=kind(3, 10))
    tasks(store, completed=2, running=1)
    worker(store, busy=1)
    said = shown().splitlines()
    assert said[0] == "study s: running"
    assert said[2] == "tasks: 1 in_progress, 2 completed"
    assert said[3] == "time: 10 min; left: 7 of 10 trials (about 40 min at this rate)"
    # Of the two that ended: the one that runs is better so far, and may not stay so.
    assert said[4].startswith("best so far: loss 4 (trial 1, task ")
    best = json.loads(shown("--format", "json"))["best"]
    assert [(row["rank"], row["trial"], row["hyper_parameters"]) for row in best] == [
        (1, 1, {"x": 1.5, "General/k": 2})
    ]
    assert "no worker" not in shown()


def test_workers_gpus(store: Store, shown: Any) -> None:
    study(store)
    worker(store)
    assert "gpus" not in shown()
    assert json.loads(shown("--format", "json"))["workers"][0]["gpus"] == []
    gpus = [
        GpuStatus(
            number="0",
            name="NVIDIA H100",
            used=41.23,
            total=79.6,
            utilization=97.0,
            temperature=61.0,
            power=402.0,
        ),
        GpuStatus(number="1", name="NVIDIA H100", lost="GPU is lost"),
    ]
    worker(store, gpus=pack(gpus))
    said = " ".join(shown().split())
    assert "0: 97 % 41.2 of 79.6 GB 61 °C" in said
    assert "1: lost (GPU is lost)" in said
    (row,) = json.loads(shown("--format", "json"))["workers"]
    assert row["gpus"][0] == {
        "number": "0", "name": "NVIDIA H100", "used": 41.23, "total": 79.6, "utilization": 97.0, "temperature": 61.0,
        "power": 402.0, "lost": "",
    }  # fmt: skip
    worker(store, gpus="[nonsense")
    assert json.loads(shown("--format", "json"))["workers"][0]["gpus"] == []


@pytest.mark.parametrize("state", ["completed", "failed", "stopped"])
def test_a_study_that_has_ended_needs_no_worker(store: Store, shown: Any, state: str) -> None:
    study(store, state, jobs=kind(2, 2))
    tasks(store, completed=2)
    said = shown()
    assert "no worker" not in said
    assert "left" not in said
    assert "best: loss 4 (trial 1, task " in said


@pytest.mark.parametrize("state", ["running", "interrupted", "paused"])
def test_a_study_that_goes_on_needs_one(store: Store, shown: Any, state: str) -> None:
    study(store, state)
    assert "no worker serves queue 'default'" in shown()


def test_budgets_are_said_in_units_of_time() -> None:
    rows = budget_rows(
        {
            "jobs": kind(3, 10),
            "iterations": kind(0),
            "compute_time": kind(1.0333, 90.0, "minutes"),
            "wall_clock": kind(0.4167, None, "minutes"),
        }
    )
    assert rows == [
        {"budget": "jobs", "used": "3", "limit": "10"},
        {"budget": "compute time", "used": "1 min 2 s", "limit": "1 h 30 min"},
        {"budget": "wall clock", "used": "25 s", "limit": ""},
    ]
    (with_reserve,) = budget_rows({"iterations": kind(20, 100, "iterations", reserved=12)})
    # Trials that were stopped early buy others: where iterations are counted, those are no limit.
    both = budget_rows({"jobs": kind(90, 60, "jobs"), "iterations": kind(20, 100, "iterations")})
    assert [(row["used"], row["limit"]) for row in both] == [("90", "by iterations"), ("20", "100")]
    assert with_reserve == {"budget": "iterations", "used": "20", "reserved": "12", "limit": "100"}
