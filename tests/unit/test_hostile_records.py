"""What somebody may have written into Redis with the workers' user, as the head node reads it."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import fakeredis
import pytest

from controller.loop.backend import Backend
from controller.loop.fleet import MOST_SLOTS, Fleet
from controller.loop.job import Job
from controller.loop.monitor import Monitor
from controller.loop.recovery import reconcile
from controller.results.ranking import Ranking
from controller.results.status import describe_study
from controller.results.tasks import describe
from controller.search.artifact_links import link_text
from controller.search.trial_snapshot import take_snapshot
from tests.fakes import ACCURACY, LOSS, record
from worker.artifacts import ArtifactMeta
from worker.protocol import (
    Reason,
    Status,
    StopRequest,
    Store,
    StudyRecord,
    Summary,
    TaskRecord,
    TaskSpec,
    keys,
)
from worker.protocol.connection import connect
from worker.protocol.copies import TaskCopy, read_tasks, write_tasks
from worker.protocol.errors import RecordError
from worker.protocol.events import Event
from worker.protocol.host import place
from worker.protocol.worker_registry import MAX_SLOTS

HOSTILE_TEXT = "\x1b[2J=cmd()<script>\u202e\n\x00'\"" + "x" * 100


@pytest.fixture
def store() -> Store:
    made = Store(fakeredis.FakeRedis(decode_responses=True))
    made.studies.save(StudyRecord(name="s", created_at=1.0, metrics=(LOSS,)))
    return made


def task_in(store: Store, **changes: Any) -> TaskRecord:
    made = record(**changes)
    store.tasks.create(made)
    return made


# Task records

BAD_FIELDS = [
    {"id": "0" * 32}, {"id": ""}, {"id": "../../etc"}, {"v": "x"}, {"v": "²"}, {"v": ""}, {"trial": "-2"}, {"trial": "1e3"},
    {"trial": str(2**64)}, {"trial": "9" * 5000}, {"status": "done"}, {"status": "COMPLETED\n"}, {"attempt": "-1"},
    {"attempt": "x"}, {"attempt": str(10**30)}, {"created_at": "nan"}, {"created_at": "inf"}, {"created_at": "-1"},
    {"created_at": "1e300"}, {"started_at": "1e15"}, {"queued_at": "nan"}, {"ended_at": "-inf"}, {"compute_s": "nan"},
    {"compute_s": "-5"}, {"compute_s": "inf"}, {"iterations": "-1"}, {"iterations": "nan"}, {"handed_back": "-1"},
    {"reason_class": "hacked"}, {"stop": "{"}, {"stop": "[" * 100_000}, {"stop": "[1, 2, 3]"}, {"spec": "{"},
    {"spec": "[" * 100_000}, {"spec": '{"objective": 5}'}, {"reason": "x" * (2 << 20)}, {"error": "x" * (2 << 20)},
    {"name": "x" * (2 << 20)}, {"worker": "x" * (2 << 20)},
]  # fmt: skip


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=lambda fields: repr(fields)[:40])
def test_a_record_that_can_not_be_hides_no_other(store: Store, fields: dict[str, str]) -> None:
    bad, good = task_in(store), task_in(store, trial=1)
    store.redis.hset(keys.task(bad.id), mapping=fields)
    with pytest.raises(RecordError) as caught:
        store.tasks.get(bad.id)
    assert len(str(caught.value)) < 1000
    found = store.tasks.get_many([bad.id, good.id])
    assert found == [None, good]
    looked = store.tasks.look([bad.id, good.id])
    assert [one[0] for one in looked] == [None, good]


def test_texts_of_any_kind_are_data(store: Store) -> None:
    task = task_in(store)
    store.redis.hset(
        keys.task(task.id),
        mapping=dict.fromkeys(("name", "project", "reason", "error", "worker", "parent"), HOSTILE_TEXT),
    )
    about = describe(store, store.tasks.get(task.id))
    assert about["name"] == about["reason"] == HOSTILE_TEXT
    json.dumps(about)


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "t"}, {"study": ""}, {"trial": "7"}, {"trial": "-1"}, {"created_at": "9.0"},
        {"spec": TaskSpec(objective={"kind": "command", "argv": ["evil"]}, metrics=(LOSS,)).encode()},
        {"spec": TaskSpec(objective={"kind": "function", "target": "m:f"}, parameters={"x": 99}).encode()},
    ],
)  # fmt: skip
def test_a_running_job_is_what_was_launched(store: Store, changes: dict[str, str]) -> None:
    """Another study, trial, objective or value in Redis is not what its controller tells and launches."""
    task = task_in(store, status=Status.IN_PROGRESS)
    job = Job.adopt(task, {"x": 1.5}, Backend("redis://127.0.0.1:1/0", "", "file:///tmp/x"))
    store.redis.hset(keys.task(task.id), mapping={**changes, "status": "completed"})
    (read, _, _) = store.tasks.look([task.id])[0]
    assert read is not None
    job.update(read)
    seen = job.record
    assert (seen.id, seen.study, seen.trial, seen.created_at) == (task.id, "s", 0, 5.0)
    assert (seen.spec.objective, seen.spec.parameters, seen.spec.metrics) == (
        task.spec.objective, task.spec.parameters, task.spec.metrics,
    )  # fmt: skip
    assert seen.status is Status.COMPLETED


def test_what_a_program_adds_is_seen(store: Store) -> None:
    task = task_in(store, status=Status.IN_PROGRESS)
    job = Job.adopt(task, {}, Backend("redis://127.0.0.1:1/0", "", "file:///tmp/x"))
    store.tasks.add_parameters(task.id, 1, {"General/epochs": 10})
    job.update(store.tasks.get(task.id))
    assert job.record.spec.parameters == {**task.spec.parameters, "General/epochs": 10}
    assert job.record.spec.connected == ("General/epochs",)


def test_a_controller_that_starts_takes_trials_from_its_own_list(store: Store) -> None:
    one, other = task_in(store, trial=0), task_in(store, trial=1)
    for task_id, fields in ((one.id, {"trial": 1, "study": "t"}), (other.id, {"trial": 0})):
        store.redis.hset(keys.task(task_id), mapping=fields)
    foreign = task_in(store, study="t", trial=5)
    store.redis.hset(keys.task(foreign.id), "study", "s")
    store.redis.zadd(keys.study_status("s", Status.CREATED), {foreign.id: 5})
    backend = Backend("redis://127.0.0.1:1/0", "", "file:///tmp/x")
    backend.store = store
    left = reconcile(backend, None, "s")
    assert {(job.task_id(), job.trial, job.record.study) for job in left.running} == {
        (one.id, 0, "s"), (other.id, 1, "s"),
    }  # fmt: skip


# Scalars

GOOD = Summary.of("loss", "").add(1.0, 3)
BAD_SUMMARIES = [
    "", "x", "null", "5", "[]", "{}", "[" * 100_000, '["loss", "", 1, 1, 1, 1, 3]', '["loss", "", "x", 1, 1, 1, 3, 1]',
    '["loss", "", 1, 1, 1, 1e400, 3, 1]', '["loss", "", 1, 1, 1, -1, 3, 1]', '["loss", "", 1, 1, 1, 1, 99999999999999999999, 1]',
    '["loss", "", [], 1, 1, 1, 3, 1]', '["other", "", 1, 1, 1, 1, 3, 1]', '["lo", "ss", 1, 1, 1, 1, 3, 1]', "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_SUMMARIES, ids=lambda text: text[:30])
def test_summaries_that_can_not_be_are_passed_over(store: Store, text: str) -> None:
    task = task_in(store)
    store.redis.hset(
        keys.scalars(task.id), mapping={"loss": text, "b": json.dumps(replace(GOOD, title="b").to_list())}
    )
    assert set(store.reports.scalars([task.id])[0]) == {"b"}
    assert set(store.tasks.look([task.id])[0][1]) == {"b"}
    assert set(next(iter(read_tasks(store, [task.id]))).scalars) == {"b"}
    assert set(describe(store, task)["metrics"]) == {"b"}


def test_a_flood_of_metrics_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.protocol import reports

    monkeypatch.setattr(reports, "MAX_METRICS", 50)
    task = task_in(store)
    mapping = {f"m{n:04}": json.dumps(replace(GOOD, title=f"m{n:04}").to_list()) for n in range(500)}
    store.redis.hset(keys.scalars(task.id), mapping=mapping)
    assert len(store.reports.scalars([task.id])[0]) == 50


@pytest.mark.parametrize(
    "text", ["", "x", "5", "[1]", '[1, [["loss", 1, 2]]]', '[1, [["loss", "x", 2, 3]]]', '[1, [["loss", 1, 2, 1e400]]]',
             '[1, 5]', "[" * 100_000, '[[], [["loss", 1, 2, 3]]]', '[1, [["loss", 99999999999999999999, 2, 3]]]']
)  # fmt: skip
def test_points_that_can_not_be_are_passed_over(store: Store, text: str) -> None:
    task = task_in(store)
    store.redis.rpush(keys.series(task.id), text, '[2, [["loss", 1, "nan", 3.0], ["loss", 2, 0.5, 4.0]]]')
    assert [point[0] for point in store.reports.series(task.id)["loss"]] == [1, 2]


# Events

BAD_EVENTS: list[dict[str, Any]] = [
    {"k": "hack"}, {"k": "report"}, {"k": "report", "d": "{}"}, {"k": "report", "d": "[]"}, {"k": "report", "d": "5"},
    {"k": "report", "d": '{"points": 5}'}, {"k": "report", "d": '{"points": [5]}'}, {"k": "report", "d": '{"points": [[0, 1, 2]]}'},
    {"k": "report", "d": '{"points": [[-1, 1, 2, 0]]}'}, {"k": "report", "d": '{"points": [[0, "x", 2, 0]]}'},
    {"k": "report", "d": '{"points": [[0, 1e400, 2, 0]]}'}, {"k": "report", "d": '{"points": [[0, 1, [], 0]]}'},
    {"k": "report", "d": '{"points": [[0, 99999999999999999999, 2, 0]]}'}, {"k": "report", "d": '{"points": [[99, 1, 2, 0]]}'},
    {"k": "report", "d": "[" * 100_000}, {"k": "report", "d": '{"points": [' + "[0,1,2,0]," * 600_000 + "[0,1,2,0]]}"},
    {"k": "started", "d": '{"at": "nan"}'}, {"k": "started", "d": '{"at": "x"}'}, {"k": "started", "d": '{"at": -5}'},
    {"k": "started", "d": '{"worker": 5}'}, {"k": "started", "d": '{"worker": "' + "x" * 1000 + '"}'},
    {"k": "ended", "a": "x"}, {"k": "ended", "a": "-1"}, {"k": "ended", "s": str(10**30)}, {"k": "ended", "d": "{"},
    {"k": "control", "d": '"stop"'},
]  # fmt: skip


@pytest.mark.parametrize("fields", BAD_EVENTS, ids=lambda fields: repr(fields)[:60])
def test_events_that_can_not_be_are_passed_over(store: Store, fields: dict[str, Any]) -> None:
    entry = {"t": "1" * 32, "a": "1", "s": "1", **fields}
    with pytest.raises(RecordError) as caught:
        Event.decode(entry)
    assert len(str(caught.value)) < 1000
    monitor = Monitor(store, "s")
    store.redis.xadd(keys.events("s"), entry)
    store.redis.xadd(keys.events("s"), {"foreign": "fields"})
    store.redis.xadd(
        keys.events("s"), {"k": "report", "t": "2" * 32, "a": "1", "s": "1", "d": '{"points": [[0, 1, "nan", 0], [0, 2, 0.5, 1]]}'}
    )  # fmt: skip
    changes = monitor.read(0)
    assert set(changes.points) == {"2" * 32}
    assert not changes.started
    assert not changes.ended


def test_a_forged_control_event_orders_nothing(store: Store) -> None:
    """It wakes the controller, which reads the request where workers can't write."""
    for request in ("stop", "pause", "resume"):
        store.redis.xadd(
            keys.events("s"),
            {"k": "control", "t": "", "a": "0", "s": "0", "d": json.dumps({"request": request})},
        )
        store.redis.set(keys.study_finish("s"), request)
        assert Monitor(store, "s").read(0).request
        assert store.studies.take_request("s") == "finish"
    store.studies.request("s", "finish")
    assert store.redis.get(keys.study_request("s")) is None
    store.studies.request("s", "stop")
    assert store.studies.pending_request("s") == store.studies.take_request("s") == "stop"
    assert store.studies.take_request("s") == ""


# Workers

BAD_NAMES = [
    "",
    "..",
    "a b",
    "\x1b[2J",
    "a\nb",
    "x" * 300,
    "a:b",
    "a/b",
    "<b>",
    "=cmd()",
    "\u202eabc",
    "a\x00b",
    "___",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_workers_with_names_that_no_worker_has_are_not_there(store: Store, name: str) -> None:
    store.workers.register("good", {"queues": "default", "slots": 2}, 60)
    store.redis.sadd(keys.WORKERS, name)
    store.redis.hset(keys.worker(name), mapping={"queues": "default", "slots": "1000"})
    assert [worker["name"] for worker in store.workers.list("default")] == ["good"]


@pytest.mark.parametrize("slots", ["x", "-5", "1e9", "nan", "", "²", "9" * 5000, "1000000000", "0x10"])
def test_forged_slots_launch_no_flood(store: Store, slots: str) -> None:
    store.workers.register("good", {"queues": "default", "slots": 2}, 60)
    store.redis.sadd(keys.WORKERS, "evil")
    store.redis.hset(
        keys.worker("evil"), mapping={"queues": "default", "slots": slots, "paused_until": "x", "pid": "y"}
    )
    fleet = Fleet(store, "default")
    fleet.look(1.0)
    assert fleet.slots in (2, 2 + MAX_SLOTS)
    describe_study(store, "s")
    assert store.workers.paused_until("evil") == 0.0


def test_what_a_registration_says_is_cut(store: Store) -> None:
    flood = {f"slot:{n}": "1" * 32 for n in range(3000)} | {
        "refused": "x" * 1_000_000,
        "slot:x": "1",
        "paused": HOSTILE_TEXT,
    }
    store.workers.register("w", {"queues": "default", "slots": 2, "paused_until": "1e300", **flood}, 60)
    (found,) = store.workers.list("default")
    assert len(json.dumps(found)) < 200_000
    assert describe_study(store, "s")["workers"][0]["state"] == ""


# Artifacts and logs


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, "5", '{"v": 1}', '{"v": 1, "name": "' + "x" * 100_000 + '"}', "x" * (17 << 20)]
)  # fmt: skip
def test_descriptions_that_can_not_be_are_not_shown(store: Store, text: str) -> None:
    with pytest.raises(RecordError) as caught:
        ArtifactMeta.from_json(text)
    assert len(str(caught.value)) < 300
    task = task_in(store)
    store.redis.hset(keys.artifacts(task.id), "model", text)
    assert describe(store, task)["artifacts"] == {}


@pytest.mark.parametrize("dropped", ["x", "-5", "nan", str(10**30)])
def test_a_log_that_says_it_was_cut(store: Store, dropped: str) -> None:
    task = task_in(store)
    store.logs.append(task.id, 1, b"text")
    store.redis.hset(keys.task(task.id), "log_dropped", dropped)
    assert store.logs.read(task.id) == ("text", 4)
    assert next(iter(read_tasks(store, [task.id]))).log == b"text"


def test_a_flood_of_output_is_read_in_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.protocol import logs

    monkeypatch.setattr(logs, "MOST_READ", 1000)
    task = task_in(store)
    store.redis.set(keys.log(task.id), "x" * 5000 + "end")
    assert len(store.logs.read(task.id)[0]) == len(store.logs.raw(task.id)) == 1000
    assert store.logs.raw(task.id).endswith(b"end")


@pytest.mark.parametrize("pid", ["²", "9" * 5000, "-1", "x", "1\n"])
def test_a_forged_process_id(store: Store, pid: str) -> None:
    store.workers.register("w", {"queues": "default", "slots": 2, "place": place(), "pid": pid}, 60)
    fleet = Fleet(store, "default")
    fleet.look(1.0)
    assert fleet.slots in (0, 2)


def test_a_forged_end_is_an_end(store: Store) -> None:
    """A worker can spoil results; it can't do more."""
    task = task_in(store, status=Status.IN_PROGRESS)
    store.redis.hset(
        keys.task(task.id),
        mapping={"status": "failed", "reason_class": "out_of_memory", "reason": HOSTILE_TEXT},
    )
    found = store.tasks.get(task.id)
    assert (found.status, found.reason_class, found.reason) == (
        Status.FAILED,
        Reason.OUT_OF_MEMORY,
        HOSTILE_TEXT,
    )


# Keys of another type


def test_a_key_of_another_type_hides_no_other(store: Store) -> None:
    bad, good = task_in(store), task_in(store, trial=1)
    for of in (keys.task, keys.scalars, keys.artifacts):
        store.redis.delete(of(bad.id))
        store.redis.set(of(bad.id), "spoiled")
    assert store.tasks.get_many([bad.id, good.id]) == [None, good]
    assert store.tasks.look([bad.id, good.id]) == [(None, {}, {}), (good, {}, {})]
    assert store.reports.scalars([bad.id, good.id]) == [{}, {}]
    assert store.artifacts.of_tasks([bad.id, good.id]) == [{}, {}]
    write_tasks(store, [TaskCopy(record=bad)])  # as a controller does with what is lost
    assert store.tasks.get(bad.id) == bad


def test_events_of_another_type(redis_url: str) -> None:
    store = Store(connect(redis_url, patience_s=0))
    monitor = Monitor(store, "s")
    store.redis.set(keys.events("s"), "spoiled")
    assert not monitor.read(0)
    store.studies.request("s", "pause")
    assert monitor.read(0).request == "pause"


def test_tasks_of_others_in_a_studys_lists(store: Store) -> None:
    own, foreign = task_in(store), task_in(store, study="t")
    store.redis.zadd(keys.study_status("s", Status.CREATED), {foreign.id: 3, "\x1b[2J": 4})
    store.redis.zadd(keys.rank("s"), {foreign.id: -9.0, "\x1b[2J": -8.0, own.id: 1.0, "0" * 32: 2.0})
    assert store.studies.tasks("s", Status.CREATED) == [own.id]
    for top_k in (1, 2, 10):
        assert [best.id for best in Ranking(store, "s", (LOSS,)).records(top_k)] == [own.id]
    assert Ranking(store, "s", (LOSS,)).records(0) == []
    store.redis.zadd(keys.rank("s", index=1), {foreign.id: -9.0, own.id: 1.0})
    two = Ranking(store, "s", (LOSS, ACCURACY)).best(None)
    assert [best.id for best in two.records] == [own.id]


def test_a_fleet_has_an_end(store: Store) -> None:
    for number in range(30):
        store.workers.register(
            f"w{number}", {"queues": "default", "slots": 10**8, "refused": f"job x: {number}"}, 60
        )
    fleet = Fleet(store, "default")
    fleet.look(1.0)
    assert fleet.slots == MOST_SLOTS
    assert len(fleet.new_refusals()) == 30
    assert fleet.new_refusals() == []


@pytest.mark.parametrize("letter", ["x", "\x1b", "模", "🙂"])
def test_what_a_database_keeps_fits(store: Store, letter: str) -> None:
    """The smallest text column of Optuna's databases holds 65,535 bytes."""
    text = letter * 500_000
    stop = StopRequest(reason_class=Reason.USER, reason=text)
    spoiled = record(name=text, reason=text, worker=text, project=text, parent=text, error=text, stop=stop)
    meta = {"a": json.dumps({"x": text})}
    assert len(take_snapshot(spoiled, {"loss": GOOD}, meta, 1.0).encode()) < 65_535
    good = {
        "artifact_id": str(uuid.uuid4()), "name": "m", "filename": "f" * 255, "mimetype": "text/plain", "encoding": None,
        "size": 1, "sha256": "0" * 64, "url": "u", "store": "s", "key": "k", "kind": "file", "created_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    assert ArtifactMeta.from_json(json.dumps({"v": 1, **good}))
    for field in ("filename", "mimetype", "encoding"):
        with pytest.raises(RecordError):
            ArtifactMeta.from_json(json.dumps({"v": 1, **good, field: letter * 1025}))
        longest = ArtifactMeta.from_json(json.dumps({"v": 1, **good, field: letter * 1024}))
        assert len(link_text(longest).encode()) < 65_535 / 3


def test_a_flood_of_artifacts_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.protocol import task_artifacts

    monkeypatch.setattr(task_artifacts, "MAX_ARTIFACTS", 10)
    task = task_in(store)
    store.redis.hset(keys.artifacts(task.id), mapping={f"a{n}": "{}" for n in range(100)})
    assert len(store.artifacts.of_task(task.id)) == len(store.artifacts.of_tasks([task.id])[0]) == 10
    assert len(store.tasks.look([task.id])[0][2]) == 10
