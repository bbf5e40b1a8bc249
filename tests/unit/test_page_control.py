"""The pages of workers and of a study's control, and their actions, by HTTP."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest

from tests.dashboard import READ_TOKEN, client_of, site_of
from tests.fakes import LOSS, record
from worker.protocol import Status, Store, StudyRecord, keys
from worker.protocol.study_log import LogEntry

NAME = "a/b <script>alert(1)</script>"
SWEEP = {
    "study": {"name": NAME, "metric": {"name": "loss", "goal": "minimize"}},
    "parameters": {
        "lr": {"type": "float", "low": 0.0, "high": 1.0},
        "opt </option>": {"choices": ["sgd", "1", 1, True, None]},
    },
    "budget": {"max_trials": 10},
}
BUDGET = {
    kind: {"used": 2.0, "reserved": 0.0, "limit": 10.0, "unit": "jobs"} for kind in ("jobs", "concurrent")
}


@pytest.fixture
def store() -> Store:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    store.studies.save(StudyRecord(name=NAME, created_at=1.0, metrics=(LOSS,), sweep=SWEEP, budget=BUDGET))
    store.redis.set(keys.study_lock(NAME), "host:1")
    task = record(status=Status.QUEUED, attempt=1, study=NAME)
    store.tasks.create(task)
    store.transitions.start(task.id, 1, "w/0")
    about = {"host": "<b>node</b>", "queues": "default", "slots": 1, "state": "running", "slot:0": task.id}
    store.workers.register("w", about, 60.0)
    return store


def client(store: Store, token: str | None = None, *, acts: bool = True) -> Any:
    site = site_of(store, allow_actions=acts)
    return client_of(site, **({} if token is None else {"token": token}))


STUDY = "a~2Fb%20%3Cscript%3Ealert%281%29%3C~2Fscript%3E"


def test_what_a_worker_wrote_is_text(store: Store) -> None:
    store.workers.pause("w", store.clock.now() + 60, "<img src=x onerror=alert(1)>")
    page = client(store).get("/workers").text
    assert "&lt;b&gt;node&lt;/b&gt;" in page
    assert "&lt;img src=x" in page
    assert "<script>alert" not in page
    assert f"/studies/{STUDY}" in page
    assert "Resume w" in page


def test_the_fleet_as_json(store: Store) -> None:
    about = client(store).get("/api/workers").json()
    assert about["workers"][0]["slots"][0]["study"] == NAME
    assert about["queues"][0]["queue"] == "default"


def test_no_workers_and_no_queues() -> None:
    page = client(Store(fakeredis.FakeRedis(decode_responses=True))).get("/workers")
    assert page.status_code == 200
    assert "No worker is up" in page.text


@pytest.mark.parametrize("acts", [True, False])
@pytest.mark.parametrize("token", [None, READ_TOKEN], ids=["full", "read"])
def test_buttons_are_for_those_who_may_act(store: Store, acts: bool, token: str | None) -> None:
    page = client(store, token, acts=acts).get(f"/studies/{STUDY}/control")
    assert page.status_code == 200
    assert ("data-action" in page.text) == (acts and token is None)
    assert "<script>alert" not in page.text
    assert ("data-action" in client(store, token, acts=acts).get("/workers").text) == (acts and token is None)


ACTIONS = [
    (f"/api/studies/{STUDY}/pause", {}, "asked to pause"),
    (f"/api/studies/{STUDY}/resume", {}, "asked to resume"),
    (f"/api/studies/{STUDY}/stop", {}, "asked to stop"),
    (f"/api/studies/{STUDY}/budget", {"max_trials": "20", "max_concurrent": ""}, "max_trials 10 → 20"),
    (f"/api/studies/{STUDY}/enqueue", {"lr": "0.5", "opt </option>": '"1"'}, 'opt </option>="1"'),
    (f"/api/studies/{STUDY}/enqueue", {"lr": "", "opt </option>": "1"}, "opt </option>=1"),
    (
        f"/api/studies/{STUDY}/enqueue",
        {"lr": "1e-3", "opt </option>": "null"},
        "lr=0.001, opt </option>=null",
    ),
    (f"/api/studies/{STUDY}/enqueue", {"parameters": {"lr": 0.25}}, "lr=0.25"),
]


@pytest.mark.parametrize(("address", "fields", "done"), ACTIONS)
def test_actions(store: Store, address: str, fields: dict[str, Any], done: str) -> None:
    answer = client(store).post(address, json=fields)
    assert answer.status_code == 200, answer.text
    assert done in answer.json()["done"]
    (entry, *_) = store.study_log.last(NAME)
    assert entry.by == "the page with the full token, from testclient"


@pytest.mark.parametrize(
    ("address", "fields", "status", "problem"),
    [
        ("/api/studies/none/pause", {}, 404, "no study 'none'"),
        ("/api/tasks/none/stop", {}, 404, "none"),
        ("/api/workers/none", {"what": "pause"}, 404, "no worker 'none'"),
        ("/api/workers/w", {"what": "end"}, 400, "only to pause, drain or resume"),
        ("/api/workers/w", {"what": "pause"}, 400, "it doesn't listen now"),
        ("/api/workers/w", {"what": "pause", "reason": "x" * 501}, 400, "at most 500 characters"),
        (f"/api/studies/{STUDY}/budget", {"max_trials": "1"}, 400, "too low"),
        (f"/api/studies/{STUDY}/budget", {"max_trials": ["1", "2"]}, 400, "a limit is a number"),
        (f"/api/studies/{STUDY}/budget", {"lease": "1"}, 400, "can't be edited"),
        (f"/api/studies/{STUDY}/budget", {}, 400, "name what to edit"),
        (f"/api/studies/{STUDY}/budget/reset", {}, 400, "was not edited"),
        (f"/api/studies/{STUDY}/enqueue", {"lr": "2"}, 400, "never 2"),
        (f"/api/studies/{STUDY}/enqueue", {"lr": "[1"}, 400, "lr: "),
        (f"/api/studies/{STUDY}/enqueue", {"lr": ""}, 400, "names no parameter"),
        (f"/api/studies/{STUDY}/enqueue", {"parameters": [1]}, 400, "a JSON object"),
    ],
)
def test_what_can_not_be_done(
    store: Store, address: str, fields: dict[str, Any], status: int, problem: str
) -> None:
    answer = client(store).post(address, json=fields)
    assert answer.status_code == status, answer.text
    assert problem in answer.json()["error"]
    assert store.study_log.last(NAME) == []


@pytest.mark.parametrize(("address", "fields", "done"), ACTIONS)
def test_nobody_else_acts(store: Store, address: str, fields: dict[str, Any], done: str) -> None:
    for other in (client(store, READ_TOKEN), client(store, acts=False)):
        assert other.post(address, json=fields).status_code == 403
    forged = client(store)
    forged.headers["X-CSRF-Token"] = "wrong"
    assert forged.post(address, json=fields).status_code == 403
    assert client(store).get(address).status_code == 405
    assert store.study_log.last(NAME) == []
    assert store.studies.pending_request(NAME) == ""


def test_a_task_is_stopped(store: Store) -> None:
    (task,) = store.studies.tasks(NAME)
    assert f'data-action="/api/tasks/{task}/stop"' in client(store).get(f"/tasks/{task}").text
    assert "/stop" not in client(store, READ_TOKEN).get(f"/tasks/{task}").text
    assert "asked to stop" in client(store).post(f"/api/tasks/{task}/stop", json={}).json()["done"]
    assert "Stop the study" in client(store).get(f"/studies/{STUDY}").text
    stop = store.tasks.get(task).stop
    assert stop is not None
    assert stop.reason_class.value == "user"


def test_the_log_is_shown_newest_first(store: Store) -> None:
    for number in range(3):
        store.study_log.add(NAME, LogEntry(at=float(number), kind="<i>", text=f"<u>line {number}", by="ann"))
    page = client(store).get(f"/studies/{STUDY}/control?part=events").text
    assert page.index("&lt;u&gt;line 2") < page.index("&lt;u&gt;line 0")
    assert [event["by"] for event in client(store).get(f"/api/studies/{STUDY}/events").json()] == ["ann"] * 3


def test_a_study_of_a_program_that_says_little() -> None:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    for name, sweep in (("one", {}), ("two", {"parameters": {"x": {"type": "Mine", "choices": 5}, "y": 3}})):
        store.studies.save(StudyRecord(name=name, created_at=1.0, metrics=(LOSS,), sweep=sweep))
        assert client(store).get(f"/studies/{name}/control").status_code == 200
