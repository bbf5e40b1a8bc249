"""RQ as it is narrowed: what we replace still exists in RQ, and nothing else of a job's record is read."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import zlib
from typing import Any

import fakeredis
import pytest
from rq import Queue
from rq.job import Job
from rq.worker import SimpleWorker

from worker.protocol.errors import ForbiddenJob
from worker.protocol.transport import ENTRY, MAX_JOB_BYTES, TaskJob, TaskQueue
from worker.slot.slot import Slot

TASK = "0" * 32

REPLACED: dict[type, tuple[type, tuple[str, ...]]] = {
    TaskJob: (
        Job,
        (
            "refresh", "func", "success_callback", "failure_callback", "stopped_callback", "send_webhooks",
            "redis_job_namespace_prefix",
        ),
    ),
    TaskQueue: (
        Queue,
        ("job_class", "dequeue_any", "lmove", "lpop", "redis_queue_namespace_prefix", "redis_queues_keys"),
    ),
    Slot: (
        SimpleWorker,
        (
            "job_class", "queue_class", "log_result_lifespan", "max_connection_wait_time",
            "redis_worker_namespace_prefix", "redis_workers_keys", "subscribe", "unsubscribe", "_set_ip_address",
            "procline", "dequeue_timeout", "heartbeat", "run_maintenance_tasks", "check_for_suspension",
            "set_state", "_install_signal_handlers", "request_stop", "dequeue_job_and_maintain_ttl", "execute_job",
        ),
    ),
}  # fmt: skip
"""Class → RQ's class, and what of it is replaced."""
RENAMED = {"send_webhooks"}
"""Of newer versions of RQ only."""


@pytest.mark.parametrize(
    ("ours", "name"), [(ours, name) for ours, (_, names) in REPLACED.items() for name in names]
)
def test_what_is_replaced_exists_in_rq(ours: type, name: str) -> None:
    """Else a new RQ has renamed it, and runs what we had replaced."""
    theirs = REPLACED[ours][0]
    assert name in vars(ours)
    if name in RENAMED and not hasattr(theirs, name):
        return
    assert hasattr(theirs, name)
    old, new = getattr(theirs, name), getattr(ours, name)
    if not (inspect.isroutine(old) and inspect.isroutine(new)):
        return
    # What RQ's takes, ours has to take by the same names.
    calls = inspect.signature(old).parameters.values()
    positional = [each.name for each in calls if each.kind is each.POSITIONAL_OR_KEYWORD]
    needed = [each.name for each in calls if each.default is each.empty and each.name in positional]
    for names in (needed, positional):
        inspect.signature(new).bind(**dict.fromkeys(names))


def test_nothing_of_rqs_is_replaced_unseen() -> None:
    for ours, (theirs, names) in REPLACED.items():
        found = {name for name in vars(ours) if hasattr(theirs, name) and not name.startswith("__")}
        assert found - {"connection"} <= set(names), f"{ours.__name__}: list it in REPLACED"


def job(data: Any, **fields: Any) -> TaskJob:
    """A job as a slot reads it, of a record with these fields."""
    connection = fakeredis.FakeRedis()
    connection.hset("rq:job:x", mapping={"data": data, **fields})
    return TaskJob.fetch("x", connection=connection, serializer=json)


def data_of(*parts: Any) -> bytes:
    return zlib.compress(json.dumps(parts).encode())


GOOD = data_of(ENTRY, None, [TASK, 1], {})


@pytest.mark.parametrize(
    "field",
    [
        "created_at", "enqueued_at", "timeout", "result_ttl", "status", "dependency_ids", "meta", "webhooks", "group_id",
        "success_callback_name", "failure_callback_name", "stopped_callback_name", "retry_intervals",
        "rate_limit_key", "rate_limit_concurrency",
    ],
)  # fmt: skip
def test_no_other_field_is_read(field: str) -> None:
    forged = job(GOOD, **{field: b"\xff\x80not what RQ expects"})
    assert forged.verify() == (TASK, 1, None)
    assert (forged.success_callback, forged.failure_callback, forged.stopped_callback) == (None, None, None)
    assert not forged.dependency_ids
    assert not forged.group_id
    assert getattr(forged, "rate_limit_key", None) is None


@pytest.mark.parametrize(
    "entry", ["os.system", "worker.slot", "worker.slot.run_attempt.x", "", "run_attempt"]
)
def test_only_one_name_runs(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaskJob, "entry", staticmethod(lambda *args: args))
    assert job(GOOD).func(TASK, 1) == (TASK, 1)
    with pytest.raises(ForbiddenJob, match="runs nothing but"):
        job(data_of(entry, None, [TASK, 1], {})).func  # noqa: B018 - a property that refuses


def test_a_process_that_was_handed_no_entry_runs_nothing() -> None:
    with pytest.raises(ForbiddenJob, match="runs no jobs"):
        job(GOOD).func  # noqa: B018 - a property that refuses


def test_data_is_unpacked_no_further_than_allowed() -> None:
    bomb = zlib.compress(b"[" * 50_000_000)
    forged = job(bomb)
    assert len(forged.data) == MAX_JOB_BYTES + 1
    with pytest.raises(ForbiddenJob, match=f"longer than {MAX_JOB_BYTES} bytes"):
        forged.verify()


KEYS = """
import fakeredis, json
from rq import suspension, worker_registration
from worker.protocol.transport import TaskJob, TaskQueue
from worker.slot.slot import Slot, keep_rq_keys
keep_rq_keys()
redis = fakeredis.FakeRedis()
queue = TaskQueue("q", connection=redis)
queue.enqueue_attempt("0" * 32, 1)
class Registered:
    name, queues, connection = "w", [queue], redis
    redis_workers_keys = Slot.redis_workers_keys
    key = Slot.redis_worker_namespace_prefix + "w"
    queue_names = lambda self: ["q"]
worker_registration.register(Registered())
suspension.suspend(redis)
print(json.dumps(sorted(key.decode() for key in redis.keys("*"))))
"""


def test_the_keys_stay_where_acl_rules_expect_them() -> None:
    """RQ 3 would move them by its environment variable."""
    done = subprocess.run(
        [sys.executable, "-c", KEYS],
        env={**os.environ, "RQ_KEY_PREFIX": "moved"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [
        f"rq:job:{TASK}-1",
        "rq:queue:q",
        "rq:queues",
        "rq:suspended",
        "rq:workers",
        "rq:workers:q",
    ]


@pytest.mark.parametrize("token", [None, "a.b.c"])
def test_jobs_are_as_rq_makes_them(token: str | None) -> None:
    """What reads RQ's records, such as a dashboard, finds all that it looks for."""
    connection = fakeredis.FakeRedis()
    queue = TaskQueue(connection=connection)
    args = (TASK, 2) if token is None else (TASK, 2, token)
    about = {"timeout": -1, "result_ttl": 0, "failure_ttl": 60, "description": f"attempt 2 of task {TASK}"}
    theirs = queue.enqueue_call(func=ENTRY, args=args, job_id=f"{TASK}-2", **about)
    expected, listed = connection.hgetall(theirs.key), connection.lrange(queue.key, 0, -1)
    queues = connection.smembers(queue.redis_queues_keys)
    connection.flushall()
    queue.enqueue_attempt(TASK, 1)  # the fields of one job must not show in the next
    queue.enqueue_attempt(TASK, 2, token=token)
    found = connection.hgetall(theirs.key)
    for name in (b"created_at", b"enqueued_at"):
        assert len(expected.pop(name)) == len(found.pop(name))
    assert found == expected
    assert connection.lrange(queue.key, 0, -1) == [f"{TASK}-1".encode(), *listed]
    assert connection.smembers(queue.redis_queues_keys) == queues
    assert TaskJob.fetch(f"{TASK}-2", connection=connection, serializer=queue.serializer).verify() == (
        TASK,
        2,
        token,
    )
