"""Base tasks and tasks made by hand run what their makers signed, or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from controller.loop.backend import Backend
from tests.fakes import LOSS, record
from worker.protocol import Status, Store, StudyRecord, TaskRecord, TaskSpec, keys
from worker.protocol.copies import TaskCopy, write_tasks
from worker.protocol.errors import BadInput
from worker.protocol.sealing import Sealing, Unsealed
from worker.sdk import home as homes
from worker.sdk import task_queries
from worker.sdk.home import Home
from worker.sdk.task import Task

SECRET = "one secret for all sides"


@pytest.fixture
def store() -> Store:
    made = Store(fakeredis.FakeRedis(decode_responses=True))
    made.tasks.sealing = Sealing(SECRET)
    return made


@pytest.fixture
def at(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    """A program's Redis, where what is put on a queue is kept in `sent`."""
    monkeypatch.setenv("OPTUNA_RQ_SECRET", SECRET)
    found = Home("redis://127.0.0.1:1/0", f"file://{tmp_path}", tmp_path, None)
    found.store = store
    sent: list[TaskRecord] = []
    found._jobs = type("Jobs", (), {"enqueue": lambda self, record: sent.append(record)})()  # type: ignore[assignment]
    found.sent = sent  # type: ignore[attr-defined]
    monkeypatch.setattr(task_queries, "home", lambda **_: found)
    monkeypatch.setattr(homes, "home", lambda **_: found)
    return found


def base(store: Store, **changes: Any) -> TaskRecord:
    made = record(study="", trial=-1, **changes)
    store.tasks.create(made)
    return made


def alter(store: Store, task_id: str, **changes: Any) -> None:
    """As somebody who can write to Redis does."""
    old = store.tasks.get(task_id)
    store.redis.hset(keys.task(task_id), "spec", replace(old.spec, **changes).encode())


EVIL: dict[str, dict[str, Any]] = {
    "objective": {"objective": {"kind": "command", "argv": ["rm", "-rf", "/"]}},
    "environment": {"objective": {"kind": "function", "target": "m:f", "env": {"LD_PRELOAD": "/evil.so"}}},
    "a parameter": {"parameters": {"x": 99, "General/k": 2}},
    "one more parameter": {"parameters": {"x": 1.5, "General/k": 2, "Args/config": "/evil"}},
    "one less": {"parameters": {"x": 1.5}},
    "code": {"code": {"sha256": "0" * 64, "size": 1, "key": "evil", "unpacked": 1}},
    "configurations": {"configurations": {"c": {"kind": "dict", "value": {}}}},
    "its store": {"artifacts": "s3://evil"},
}


@pytest.mark.parametrize("change", EVIL)
def test_what_was_altered_is_neither_taken_nor_copied_nor_queued(store: Store, at: Home, change: str) -> None:
    task = base(store)
    assert store.tasks.vouched(task.id) == task
    alter(store, task.id, **EVIL[change])
    for use in (
        lambda: store.tasks.vouched(task.id),
        lambda: store.tasks.vouched(task.id, take_unsealed=True),
        lambda: Task.clone(task.id),
        lambda: Task.enqueue(task.id),
        lambda: store.tasks.edit(task.id, lambda old: replace(old, name="renamed")),
        lambda: at.enqueue(store.tasks.get(task.id)),
    ):
        with pytest.raises(BadInput, match=r"altered in Redis|added in Redis") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert at.sent == []  # type: ignore[attr-defined]
    assert store.tasks.base_tasks() == [task.id]


def test_what_its_maker_edits_stays_sealed(store: Store, at: Home) -> None:
    task = Task.create("p", "t", function="m:f", parameters={"General/x": 1})
    task.set_parameter("General/x", 2)
    task.set_parameter("General/new", 3)
    copy = Task.clone(task.id)
    copy.set_parameter("General/x", 5)
    Task.enqueue(copy.id, "gpu")
    (sent,) = at.sent  # type: ignore[attr-defined]
    assert (sent.id, sent.spec.queue, sent.spec.parameters["General/x"]) == (copy.id, "gpu", 5)
    assert sent.status is Status.QUEUED


def test_a_seal_taken_off_or_put_elsewhere(store: Store, at: Home) -> None:
    task, other = base(store), base(store, spec=TaskSpec(objective={"kind": "command", "argv": ["evil"]}))
    store.redis.hset(keys.task(other.id), "seal", str(store.redis.hget(keys.task(task.id), "seal")))
    with pytest.raises(BadInput, match="altered"):
        store.tasks.vouched(other.id)
    store.redis.hdel(keys.task(task.id), "seal")
    for use in (
        lambda: store.tasks.vouched(task.id),
        lambda: Task.clone(task.id),
        lambda: Task.enqueue(task.id),
    ):
        with pytest.raises(Unsealed, match="it isn't signed"):
            use()
    for damaged in ("x", "[]", "{", json.dumps([["x"], "y"]), "[" * 9999):
        store.redis.hset(keys.task(task.id), "seal", damaged)
        with pytest.raises(BadInput, match="altered"):
            store.tasks.vouched(task.id)
    with pytest.raises(BadInput, match="it is that of another task|altered"):
        _swapped(store)


def _swapped(store: Store) -> None:
    """A whole record, with its seal, in the place of another."""
    one, other = base(store), base(store)
    store.redis.delete(keys.task(other.id))
    store.redis.hset(keys.task(other.id), mapping=store.redis.hgetall(keys.task(one.id)))
    store.redis.hset(keys.task(other.id), "id", other.id)
    store.tasks.vouched(other.id)


def test_another_secret(store: Store) -> None:
    task = base(store)
    store.tasks.sealing = Sealing(SECRET + " of others")
    with pytest.raises(BadInput, match="somebody without this OPTUNA_RQ_SECRET"):
        store.tasks.vouched(task.id)


def test_what_a_program_added_under_a_worker_passes(store: Store) -> None:
    """A worker connects parameters of a script; as a base task it has them."""
    task = base(store)
    store.tasks.add_parameters(task.id, 1, {"General/epochs": 10})
    found = store.tasks.vouched(task.id)
    assert found.spec.parameters["General/epochs"] == 10
    assert found.spec.parameters["x"] == 1.5


def test_without_a_secret_all_is_as_before(store: Store, at: Home) -> None:
    store.tasks.sealing = None
    task = base(store)
    assert store.redis.hget(keys.task(task.id), "seal") is None
    alter(store, task.id, **EVIL["objective"])
    assert Task.clone(task.id).id
    Task.enqueue(task.id)
    assert len(at.sent) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("known", "taken"),
    [(None, False), ({"signed": True}, False), ({"signed": False}, True)],
    ids=["a new study", "a signed one", "one of an earlier version"],
)
def test_an_unsigned_base_task(
    store: Store, monkeypatch: pytest.MonkeyPatch, known: dict[str, Any] | None, taken: bool
) -> None:
    monkeypatch.setenv("OPTUNA_RQ_SECRET", SECRET)
    backend = Backend("redis://127.0.0.1:1/0", "", "file:///tmp/x")
    backend.store = store
    task = base(store)
    store.redis.hdel(keys.task(task.id), "seal")
    if known is not None:
        store.studies.save(StudyRecord(name="s", created_at=1.0, metrics=(LOSS,), **known))

    def take() -> TaskRecord:
        return backend.base_task(task.id, "s")

    if not taken:
        with pytest.raises(Unsealed):
            take()
        return
    assert take() == task
    store.tasks.vouched(task.id)  # sealed from now on


def test_studies_own_tasks_are_sealed_where_they_are_launched(store: Store) -> None:
    task = record()
    store.tasks.create(task)
    assert store.redis.hget(keys.task(task.id), "seal") is None


def test_a_base_task_that_redis_has_lost_is_sealed_again(store: Store) -> None:
    task = base(store)
    store.redis.flushall()
    write_tasks(store, [TaskCopy(record=task)])
    assert store.tasks.vouched(task.id) == task
