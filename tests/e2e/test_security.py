"""Attacks on a worker: forged, altered and repeated jobs, poisoned records, objectives that it may not run."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import pytest
import redis

from tests.e2e.cli import folder_of
from tests.e2e.harness import (
    Bench,
    alive,
    descendants,
    environment,
    run,
    started,
    wait_for,
)
from tests.e2e.test_distributed import everything_in
from tests.postgresql import PostgreSQL
from tests.redisserver import RedisServer, need_server
from tests.s3server import S3Server
from worker.protocol import Reason, Status, TaskRecord, keys
from worker.protocol.connection import connect
from worker.protocol.record import job_id
from worker.protocol.redis_time import RedisTime
from worker.protocol.signature import MAX_AGE_S, MAX_AHEAD_S, Signer
from worker.protocol.transport import ENTRY, MAX_JOB_BYTES, TaskQueue

SECRET = "one secret for all sides"
OTHER_SECRET = "another of the same length"

FUNCTIONS = """
import os, subprocess, sys, time
from pathlib import Path

def value(task):
    with open("runs", "a") as file:
        file.write(f"{task.id} {task.attempt}\\n")
    return 1.5
def slow(task):
    time.sleep(2)
    return value(task)
def evil(task): Path("was-run").touch()
"""


class Nowhere:
    """Where tasks are put that a test pushes itself."""

    def enqueue_attempt(self, task_id: str, attempt: int) -> None:
        pass


class Attacked(Bench):
    """A bench with a controller's signatures, and with somebody who reaches Redis and has no secret."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        super().__init__(redis_url, folder)
        self._queue = Nowhere()  # type: ignore[assignment]
        self.redis = redis.Redis.from_url(redis_url)
        self.signer = Signer(SECRET, RedisTime(self.store.redis).now)
        self.queue = TaskQueue("default", connection=connect(redis_url, text=False))
        self.log = folder / "worker.log"

    def made(self, objective: Any = "fn:value", **changes: Any) -> TaskRecord:
        """A task that is queued, and on no queue."""
        return self.store.tasks.get(self.submit(objective, **changes))

    def push(self, task_id: str, attempt: int = 1, token: str | None = None) -> None:
        self.queue.enqueue_attempt(task_id, attempt, token=token)

    def forge(self, **fields: Any) -> str:
        """A job with these fields, on the queue; returns its id."""
        identifier = f"forged-{time.monotonic_ns()}"
        self.redis.hset(f"rq:job:{identifier}", mapping=fields)
        self.redis.rpush("rq:queue:default", identifier)
        return identifier

    def refused(self, why: str, about: str = "") -> str:
        """The line of the worker's log that says so."""

        def look() -> str:
            lines = self.log.read_text().splitlines()
            return next((line for line in lines if "refused: " in line and why in line and about in line), "")

        return wait_for(look, f"a refusal of {about}: {why}", 20.0)

    def runs(self) -> list[str]:
        path = self.folder / "runs"
        return path.read_text().splitlines() if path.exists() else []

    def works(self, token: bool = False) -> None:
        """A task of a proper controller is run."""
        record = self.made()
        self.push(record.id, token=self.signer.sign(record) if token else None)
        assert self.ended(record.id, 30.0).status is Status.COMPLETED


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    need_server()
    with RedisServer() as server:
        yield server


@pytest.fixture
def bench(server: RedisServer, tmp_path: Path) -> Attacked:
    with server.client() as client:
        client.flushall()
    made = Attacked(server.url(), tmp_path)
    made.module("fn.py", FUNCTIONS)
    return made


@contextmanager
def working(bench: Attacked, *options: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that must neither write a traceback nor lose a slot."""
    with started("worker", *options, cwd=bench.folder, log=bench.log, REDIS_URL=bench.url, **env) as process:
        wait_for(lambda: bench.store.workers.list("default"), "the worker")
        slots = wait_for(lambda: descendants(process.pid), "the slot")[:1]
        yield process
        assert all(alive(slot) for slot in slots), bench.log.read_text()
        assert process.poll() is None
    said = bench.log.read_text()
    assert "Traceback" not in said, said
    assert "ended with code" not in said, said
    assert not (bench.folder / "was-run").exists()


# Forged jobs


class Evil:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


RQ_FIELDS = (
    "data", "created_at", "origin", "worker_name", "description", "enqueued_at", "started_at", "ended_at",
    "last_heartbeat", "group_id", "result", "timeout", "result_ttl", "failure_ttl", "status",
    "success_callback_name", "success_callback_timeout", "failure_callback_name", "failure_callback_timeout",
    "stopped_callback_name", "stopped_callback_timeout", "webhooks", "dependency_ids", "dependency_id",
    "allow_dependency_failures", "enqueue_at_front", "ttl", "meta", "number_of_retries", "retries_left",
    "retry_intervals", "enqueue_at_front_on_retry", "repeats_left", "repeat_intervals", "exc_info",
    "rate_limit_key", "rate_limit_concurrency",
)  # fmt: skip
RQ_3_FIELDS = {"rate_limit_key", "rate_limit_concurrency"}


def data_of(*parts: Any) -> bytes:
    return zlib.compress(json.dumps(parts).encode())


def bomb() -> bytes:
    """Half a gigabyte in some 500 KB."""
    packer = zlib.compressobj(1)
    return b"".join([*(packer.compress(b"[" * (1 << 20)) for _ in range(512)), packer.flush()])


def peak_mb(pid: int) -> float:
    """The most memory that a process has had."""
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def test_rq_reads_no_field_that_is_not_attacked_here() -> None:
    import inspect
    import re

    from rq.job import Job

    source = inspect.getsource(Job.restore)
    read = set(re.findall(r"obj(?:\.get\(|\[)'(\w+)'", source)) | set(re.findall(r"'(\w+)' in obj", source))
    assert read in (set(RQ_FIELDS), set(RQ_FIELDS) - RQ_3_FIELDS)


def test_forged_jobs_run_nothing(bench: Attacked) -> None:
    mark = bench.folder / "was-run"
    touch = f"touch {mark}"
    evil = pickle.dumps(Evil(mark))
    called: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            called.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST

    hooks = http.server.HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=hooks.serve_forever, daemon=True).start()
    record = bench.made()
    good = data_of(ENTRY, None, [record.id, 1], {})
    with working(bench) as worker:
        slot = descendants(worker.pid)[0]
        bench.forge(data=data_of("os.system", None, [touch], {}))
        bench.refused("it names 'os.system'; this worker runs nothing but worker.slot.run_attempt")
        bench.forge(data=data_of("subprocess.check_output", None, [["touch", str(mark)]], {}))
        bench.forge(data=data_of("fn.evil", None, [None], {}))
        bench.forge(data=data_of("system", "os", [touch], {}))
        bench.forge(data=data_of(ENTRY, "os", [record.id, 1], {}))
        bench.refused("it names 'fn.evil'")
        for args in (
            5, None, "ab", {"a": 1, "b": 2}, [], [record.id], [record.id, "1"], [record.id, True], [record.id, 0],
            [record.id, -1], [record.id, 10**30], [record.id, 1.0], [record.id, 1, 5], [record.id, 1, None, None],
            ["../" + "0" * 29, 1], ["x; touch y", 1], [record.id + "\n", 1], [record.id.upper() + "é", 1], [[], 1],
        ):  # fmt: skip
            identifier = bench.forge(data=data_of(ENTRY, None, args, {}))
            bench.refused("malformed arguments", identifier)
        identifier = bench.forge(data=data_of(ENTRY, None, [record.id, 1], {"token": "x"}))
        bench.refused("malformed arguments", identifier)
        # What is no JSON, as a pickle is none.
        for data in (
            evil, zlib.compress(evil), b"", b"\x00", b"[" * 4000, b"null", b"[1, 2]", b'"words"', zlib.compress(b"{}"),
        ):  # fmt: skip
            bench.refused("it can't be read", bench.forge(data=data))
        for data in (b"x" * (MAX_JOB_BYTES + 1), b"x" * 30_000_000, bomb()):
            bench.refused(f"it is longer than {MAX_JOB_BYTES} bytes", bench.forge(data=data))
        assert peak_mb(slot) < 400
        # A job of ours with something in every other field that RQ would read: nobody reads it.
        hook = [{"url": f"http://127.0.0.1:{hooks.server_port}/x", "events": ["succeeded", "failed"]}]
        special: dict[str, Any] = {
            "webhooks": json.dumps(hook), "success_callback_name": "os.getcwd", "failure_callback_name": "fn.evil",
            "stopped_callback_name": "fn.evil", "dependency_ids": json.dumps(["a", "b"]), "repeats_left": "5",
            "repeat_intervals": "[0]", "retries_left": "5", "group_id": "g", "timeout": "1", "status": "stopped",
            "rate_limit_key": "r", "rate_limit_concurrency": "1",
        }  # fmt: skip
        for field in RQ_FIELDS[1:]:
            for value in (evil, zlib.compress(evil), special.get(field, b"\xff")):
                bench.forge(**{"data": good, field: value})
        bench.forge(data=good, **special)
        assert bench.ended(record.id).status is Status.COMPLETED
        # Things on the queue that are no jobs, or whose jobs are none.
        for name in (
            b"\xff\xfe",
            b"",
            b"nothing",
            b"a:b:c",
            b"a b",
            "ü".encode(),
            b"x" * 100_000,
            b"\x1b[2J\nfake line",
        ):
            bench.redis.rpush("rq:queue:default", name)
        bench.redis.set("rq:job:text", "x")
        bench.redis.rpush("rq:queue:default", "text")
        bench.redis.hset("rq:job:hollow", "status", "queued")
        bench.redis.rpush("rq:queue:default", "hollow")
        # RQ's own machinery, which would run callbacks and put jobs on queues.
        job = bench.forge(data=good, failure_callback_name="fn.evil", status="started")
        for registry in ("wip", "failed", "scheduled", "deferred", "finished"):
            bench.redis.zadd(f"rq:{registry}:default", {job: 1, f"{job}:x": 1})
        bench.redis.sadd("rq:groups", "g")
        bench.redis.sadd("rq:group:g", job)
        bench.redis.zadd("rq:rl-keys", {"r": 1})
        bench.redis.zadd("rq:rl:r:allowed", {job: 1})
        bench.redis.zadd("rq:rl:r:rate_limited", {job: 1})
        (name,) = [
            key.removeprefix("rq:worker:") for key in map(bytes.decode, bench.redis.keys("rq:worker:*"))
        ]
        for command in ("shutdown", "kill-horse", "stop-job", "stop-execution"):
            message = {"command": command, "job_id": job, "execution_id": job}
            assert bench.redis.publish(f"rq:pubsub:{name}", json.dumps(message)) == 0, "somebody listens"
        bench.works()
        # A worker does its maintenance when it starts.
        with working(bench):
            bench.works()
        wait_for(lambda: not bench.redis.lrange("rq:queue:default", 0, -1), "an empty queue")
    assert called == []
    hooks.shutdown()
    assert len(bench.runs()) == 3
    said = bench.log.read_text()
    assert "\nfake line" not in said
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) < 1200


def test_several_queues_and_burst_take_the_same_care(bench: Attacked) -> None:
    """Jobs come by another command there."""
    record = bench.made()
    bench.redis.rpush("rq:queue:default", b"\xff\xfe", "a b")
    bench.forge(data=data_of("os.system", None, [f"touch {bench.folder}/was-run"], {}))
    bench.push(record.id)
    for queues in (["-q", "default"], ["-q", "other", "-q", "default"]):
        done = run("worker", "--burst", *queues, cwd=bench.folder, REDIS_URL=bench.url)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        bench.redis.rpush("rq:queue:default", b"\xff\xfe", "a b")
    assert bench.store.tasks.get(record.id).status is Status.COMPLETED
    assert not (bench.folder / "was-run").exists()


# Poisoned records


GOOD_SPEC = {"objective": {"kind": "function", "target": "fn:value"}, "lease_s": 2.0}
BAD_FIELDS: list[dict[str, Any]] = [
    {"spec": text}
    for text in (
        "", "{", "null", "[]", "5", '"text"', '{"unknown": 1}', '{"unknown\\n\\u001b[2J' + "x" * 5000 + '": 1}',
        "[" * 100_000, '{"metrics": 5}', '{"metrics": [5]}', '{"metrics": {"a": 1}}', '{"tags": 5}', '{"objective": "x"}',
        '{"objective": []}', '{"parameters": []}', '{"lease_s": "2"}', '{"lease_s": NaN}', '{"lease_s": 1e300}',
        '{"lease_s": -1}', '{"grace_s": null}', '{"code": 5}', '{"queue": 5}', '{"artifacts": {}}', "1" * 5000,
    )
] + [
    {"spec": b"\xff\xfe"}, {"attempt": "x"}, {"attempt": ""}, {"status": "running"}, {"status": ""}, {"v": "99"},
    {"v": "x"}, {"v": ""}, {"created_at": "x"}, {"id": "0" * 32}, {"id": "x\ny"}, {"trial": "x"}, {"stop": "{"},
    {"compute_s": "x"}, {"reason_class": "x"}, {"iterations": "x"}, {"status": b"\xff"},
]  # fmt: skip
BAD_OBJECTIVES: list[dict[str, Any]] = [
    {}, {"kind": "function"}, {"kind": "function", "target": 5}, {"kind": "command"}, {"kind": "command", "argv": []},
    {"kind": "command", "argv": "touch was-run"}, {"kind": "command", "argv": ["echo", 5]},
    {"kind": "command", "argv": ["echo", "a\0b"]}, {"kind": "script"}, {"kind": "script", "path": 5},
    {"kind": "script", "path": "x", "args": "abc"}, {"kind": "pickle", "target": "fn:evil"}, {"kind": ["function"]},
    {"kind": "function", "target": "fn:value", "env": ["A"]}, {"kind": "function", "target": "fn:value", "env": {"A": 1}},
    {"kind": "function", "target": "fn:value", "env": {"A=B": "1"}}, {"kind": "function", "target": "fn:value", "env": {"": "1"}},
    {"kind": "function", "target": "fn:value", "env": {"A": "a\0b"}}, {"kind": "optuna"},
]  # fmt: skip


def test_poisoned_records_are_refused_one_by_one(bench: Attacked) -> None:
    with working(bench):
        for fields in BAD_FIELDS:
            record = bench.made()
            bench.redis.hset(keys.task(record.id), mapping=fields)
            bench.push(record.id)
            line = bench.refused("", record.id)
            assert len(line) < 700
        for objective in BAD_OBJECTIVES:
            record = bench.made(objective)
            bench.push(record.id)
            task = bench.ended(record.id, 20.0)
            assert (task.status, task.reason_class) == (Status.FAILED, Reason.LAUNCH_ERROR), (objective, task)
        record = bench.made()
        bench.redis.hset(
            keys.task(record.id), "spec", json.dumps({**GOOD_SPEC, "parameters": {"a": "x" * (17 << 20)}})
        )
        bench.push(record.id)
        assert "field 'spec' is too long" in bench.refused("", record.id)
        # Keys of a wrong type, and things left of an attempt before.
        record = bench.made()
        bench.redis.delete(keys.task(record.id))
        bench.redis.set(keys.task(record.id), "x")
        bench.push(record.id)
        record = bench.made()
        bench.redis.hset(keys.task(record.id), "attempt", 2)
        meta = {"checkpoint": {"iteration": 1, "at": 1e12, "summaries": {}}}
        bench.redis.hset(keys.artifacts(record.id), "checkpoint/1", json.dumps(meta))
        bench.redis.rpush(keys.series(record.id), b"\xff", "5", "[")
        bench.push(record.id, 2)
        bench.works()
        wait_for(lambda: not bench.redis.lrange("rq:queue:default", 0, -1), "an empty queue")
    assert len(bench.runs()) == 1


# Signatures


def test_jobs_that_are_not_signed_for_what_they_are(bench: Attacked) -> None:
    good = bench.signer

    def altered(**changes: Any) -> None:
        """Sign, alter the record, push."""
        record = bench.made()
        token = good.sign(record)
        spec = replace(record.spec, **changes)
        bench.redis.hset(keys.task(record.id), "spec", spec.encode())
        bench.push(record.id, token=token)
        assert "altered since" in bench.refused("", record.id)

    with working(bench, "--slots", "2", OPTUNA_RQ_SECRET=SECRET):
        record = bench.made("fn:evil")
        bench.push(record.id)
        assert "it is not signed" in bench.refused("", record.id)
        record = bench.made("fn:evil")
        bench.push(record.id, token=Signer(OTHER_SECRET, good._now).sign(record))
        assert "OPTUNA_RQ_SECRET has to be the same" in bench.refused("", record.id)
        for token in ("", "x", "a.b.c", "0" * 3000, "\x00\x1b[2J", good.sign(record)[:-3]):
            record = bench.made("fn:evil")
            bench.push(record.id, token=token)
            bench.refused("", record.id)
        altered(objective={"kind": "function", "target": "fn:evil"})
        altered(objective={"kind": "command", "argv": ["touch", "was-run"]})
        altered(objective={"kind": "function", "target": "fn:value", "env": {"PYTHONPATH": "/tmp"}})
        altered(parameters={"a": 1})
        altered(code={"sha256": "0" * 64, "size": 1, "key": "x", "unpacked": 1})
        altered(queue="other")
        altered(artifacts="file:///tmp/elsewhere")
        # A signature for one task or attempt is good for no other.
        one, other = bench.made(), bench.made()
        token = good.sign(one)
        bench.push(other.id, token=token)
        assert "another task or attempt" in bench.refused("", other.id)
        bench.redis.hset(keys.task(one.id), "attempt", 2)
        bench.push(one.id, 2, token=token)
        assert "another task or attempt" in bench.refused("", job_id(one.id, 2))
        # The record itself put elsewhere, with its signature.
        bench.redis.hset(keys.task(one.id), "attempt", 1)
        bench.redis.delete(keys.task(other.id))
        bench.redis.hset(keys.task(other.id), mapping=bench.redis.hgetall(keys.task(one.id)))
        bench.push(other.id, token=token)
        bench.refused("it is that of another task", other.id)
        # Too old, and from the future.
        for off_s, why in ((-MAX_AGE_S - 60, "it was signed 24 h ago"), (MAX_AHEAD_S + 60, "in the future")):
            record = bench.made("fn:evil")
            bench.push(record.id, token=Signer(SECRET, lambda off_s=off_s: good._now() + off_s).sign(record))  # type: ignore[misc]
            bench.refused(why, record.id)
        assert bench.runs() == []
        # Each once, whichever slot gets it: put back as it was, and pushed again and again.
        record = bench.made()
        token = good.sign(record)
        before = bench.redis.hgetall(keys.task(record.id))
        bench.push(record.id, token=token)
        bench.ended(record.id)
        for _ in range(6):
            wait_for(lambda: not bench.redis.exists(keys.lease(record.id)), "the end")
            bench.redis.delete(keys.task(record.id))
            bench.redis.hset(keys.task(record.id), mapping=before)
            bench.push(record.id, token=token)
            wait_for(lambda: not bench.redis.llen("rq:queue:default"), "an empty queue")
        bench.refused("it has been run already, and was put on the queue once more", record.id)
        assert len(bench.runs()) == 1
        bench.works(token=True)
    assert len(bench.runs()) == 2


def test_a_signed_job_runs_once_in_the_fleet(bench: Attacked) -> None:
    """Put back as it was, and taken by another worker."""
    record = bench.made()
    token = bench.signer.sign(record)
    before = bench.redis.hgetall(keys.task(record.id))
    bench.push(record.id, token=token)
    with working(bench, "--name", "first", OPTUNA_RQ_SECRET=SECRET):
        bench.ended(record.id)
    left_ms = bench.redis.pttl(f"orq:used:{token.partition('.')[0]}")
    assert MAX_AGE_S * 1000 < left_ms <= (MAX_AGE_S + MAX_AHEAD_S) * 1000
    for number, name in enumerate(("second", "third"), 1):
        bench.redis.delete(keys.task(record.id))
        bench.redis.hset(keys.task(record.id), mapping=before)
        bench.push(record.id, token=token)
        with working(bench, "--name", name, OPTUNA_RQ_SECRET=SECRET):
            why = "it has been run already, by first/0, and was put on the queue once more"
            wait_for(lambda number=number, why=why: bench.log.read_text().count(why) == number, why)  # type: ignore[misc]
    assert len(bench.runs()) == 1
    # A further attempt has a signature of its own.
    bench.redis.hset(keys.task(record.id), "attempt", 2)
    again = bench.store.tasks.get(record.id)
    bench.push(record.id, 2, token=bench.signer.sign(again))
    with working(bench, "--name", "fourth", OPTUNA_RQ_SECRET=SECRET):
        bench.ended(record.id)
    assert len(bench.runs()) == 2


def test_a_signed_job_where_no_secret_is_known(bench: Attacked) -> None:
    with working(bench):
        record = bench.made("fn:evil")
        bench.push(record.id, token=bench.signer.sign(record))
        bench.refused("it is signed, and this worker has no OPTUNA_RQ_SECRET", record.id)
        bench.works()


def test_a_start_that_is_tried_again_is_no_repetition(bench: Attacked) -> None:
    """The record changes just while its job is taken up."""
    with working(bench, "--slots", "2", OPTUNA_RQ_SECRET=SECRET):
        stop = threading.Event()
        records = [bench.made() for _ in range(10)]

        def disturb() -> None:
            with redis.Redis.from_url(bench.url) as client:
                while not stop.is_set():
                    for record in records:
                        client.hset(keys.task(record.id), "name", "renamed")

        threads = [threading.Thread(target=disturb) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for record in records:
                bench.push(record.id, token=bench.signer.sign(record))
            for record in records:
                assert bench.ended(record.id).status is Status.COMPLETED
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert "refused" not in bench.log.read_text()


# Studies whose jobs are signed

OBJECTIVES = """
import os, time
from pathlib import Path

def train(task, x):
    task.report_scalar("loss", "", x, 0)
    if task.trial_number == 1 and task.attempt == 1:
        Path("hangs").write_text(str(os.getpid()))
        time.sleep(300)
def quick(task, x):
    task.report_scalar("loss", "", x, 0)
def evil(task, x):
    Path("was-run").touch()
"""

DRIVER = """
from controller import Objective, OptimizerOptuna, UniformParameterRange
from worker import Task

task = Task.init("P", "driver")
base = Task.create("P", "base", function="obj:quick", parameters={"x": 0.5})
by_hand = Task.clone(base, name="by hand")
Task.enqueue(by_hand, queue_name="lab")
found = OptimizerOptuna(
    base.id, [UniformParameterRange("General/x", 0.0, 1.0)], Objective("loss", "", "min"), "lab",
    num_concurrent_workers=1, total_max_jobs=3,
)
found.start()
by_hand.wait_for_status()
print("driven", len(found.get_top_experiments(10)), by_hand.status)
"""


def test_a_signed_study_with_all_that_belongs_to_it(bench: Attacked) -> None:
    """A second attempt, an objective that is only on the worker, a driver that is a task itself."""
    url, secret = {"REDIS_URL": bench.url}, {"OPTUNA_RQ_SECRET": SECRET}
    head, node = bench.folder / "head", bench.folder / "node"
    for folder in (head, node):
        folder.mkdir()
    (node / "obj.py").write_text(OBJECTIVES)
    (node / "driver.py").write_text(DRIVER)
    with folder_of(head, "") as cli:
        budget = {"max_trials": 4, "max_concurrent": 2, "lease": "2s"}
        sweep = cli.sweep(objective={"function": "obj:train"}, queue={"name": "lab"}, budget=budget)
        (head / "obj.py").unlink()
        (head / "secret").write_text(SECRET + "\n")
        log, head_log = node / "worker.log", head / "head.log"
        with (
            started("worker", "-q", "lab", "-n", "2", "--share-redis", cwd=node, log=log, **url, **secret),
            started(
                "controller", "start", sweep, cwd=head, log=head_log, **url,
                OPTUNA_RQ_SECRET_FILE=str(head / "secret"),
            ) as controller,
        ):  # fmt: skip
            hangs = node / "hangs"
            program = int(wait_for(lambda: hangs.exists() and hangs.read_text(), "the trial that hangs"))
            # Its slot, which runs it, is lost.
            parent = psutil.Process(program)
            while "worker.slot" not in " ".join(parent.cmdline()):
                parent = parent.parent()  # type: ignore[assignment]
            parent.kill()
            assert controller.wait(60) == 0, head_log.read_text()
            rows = cli.json("tasks", **url)
            assert [row["status"] for row in rows] == ["completed"] * 4
            assert rows[1]["attempt"] == 2
            assert "a worker is asked" in head_log.read_text()
            # Jobs put on a queue by a program that was put there itself.
            done = subprocess.run(
                [sys.executable, "-c", "from worker import Task; "
                 "Task.enqueue(Task.create('P', 'd', script='driver.py'), queue_name='lab')"],
                cwd=node, env=environment(**url, **secret), capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            store = bench.store
            (driver,) = [i for i in store.tasks.base_tasks() if store.tasks.get(i).name == "d"]
            assert bench.ended(driver, 60).status is Status.COMPLETED, bench.output(driver)
            assert "driven 3 completed" in bench.output(driver)
        said = log.read_text()
        assert "refused" not in said
        assert "Traceback" not in said
        assert SECRET not in said + head_log.read_text() + everything_in(bench.redis)


@pytest.mark.parametrize("started_again", [False, True])
def test_a_controller_signs_nothing_that_was_altered(bench: Attacked, started_again: bool) -> None:
    """Somebody who reaches Redis without the secret changes what waits there, and has it signed again."""
    secret = {"REDIS_URL": bench.url, "OPTUNA_RQ_SECRET": SECRET}
    evil = [
        {"kind": "function", "target": "obj:evil"},
        {"kind": "command", "argv": ["touch", "was-run"]},
        {"kind": "function", "target": "obj:train", "env": {"PYTHONSTARTUP": "/tmp/evil.py"}},
    ]
    with folder_of(bench.folder, OBJECTIVES) as cli, contextlib.ExitStack() as stack:
        sweep = cli.sweep(
            objective={"function": "obj:quick"}, budget={"max_trials": 8, "max_concurrent": 5, "lease": "1s"}
        )
        log = bench.folder / "head.log"
        start = ("controller", "start", sweep)
        controller = stack.enter_context(started(*start, cwd=bench.folder, log=log, **secret))
        store = bench.store
        # Nobody works yet: as many wait as may run at once.
        waiting = wait_for(
            lambda: len(ids := store.studies.tasks("s", Status.QUEUED)) == 5 and ids, "tasks that wait"
        )
        if started_again:
            controller.kill()
            controller.wait(10)
        for number, task_id in enumerate(waiting):
            record = store.tasks.get(task_id)
            spec = replace(record.spec, objective=evil[number % 3])
            bench.redis.hset(keys.task(task_id), mapping={"spec": spec.encode(), "status": "queued"})
            bench.redis.zadd(keys.study_status("s", Status.QUEUED), {task_id: record.trial})
            bench.queue.withdraw(task_id, record.attempt)
        if started_again:
            controller = stack.enter_context(started(*start, cwd=bench.folder, log=log, **secret))
        ended = [bench.ended(task_id, 30.0) for task_id in waiting]
        for task in ended:
            assert (task.status, task.reason_class) == (Status.FAILED, Reason.LAUNCH_ERROR), task
            assert task.reason.startswith("what it runs was altered in Redis")
        # Parameters that somebody has added are left out; the others are run as they were.
        fresh = wait_for(
            lambda: [i for i in store.studies.tasks("s", Status.QUEUED) if i not in waiting], "another"
        )[0]
        spec = store.tasks.get(fresh).spec
        added = replace(spec, parameters={**spec.parameters, "more": "x"})
        bench.redis.hset(keys.task(fresh), "spec", added.encode())
        bench.queue.withdraw(fresh, 1)
        stack.enter_context(started("worker", cwd=bench.folder, log=bench.log, **secret))
        assert controller.wait(60) in (0, 1), log.read_text()
        assert store.tasks.get(fresh).status is Status.COMPLETED
        assert store.tasks.get(fresh).spec.parameters == spec.parameters
        assert not (bench.folder / "was-run").exists()
        assert "Traceback" not in log.read_text() + bench.log.read_text()


@pytest.mark.parametrize(
    ("output", "wrong"), [("rich", {}), ("json", {"OPTUNA_RQ_SECRET": OTHER_SECRET})], ids=["none", "another"]
)
def test_a_worker_without_the_right_secret_is_told_of(
    bench: Attacked, output: str, wrong: dict[str, str]
) -> None:
    url = {"REDIS_URL": bench.url}
    with folder_of(bench.folder, OBJECTIVES) as cli:
        sweep = cli.sweep(budget={"max_trials": 3, "lease": "1s"})
        head_log, log = bench.folder / "head.log", bench.folder / "right.log"
        with (
            started("worker", "--name", "wrong", cwd=bench.folder, log=bench.log, **url, **wrong) as worker,
            started(
                "controller", "start", sweep, "--format", output, cwd=bench.folder, log=head_log,
                OPTUNA_RQ_SECRET=SECRET, **url,
            ) as controller,
        ):  # fmt: skip
            wait_for(lambda: "worker wrong refuses jobs" in head_log.read_text(), "the note", 30.0)
            assert controller.poll() is None
            with started("worker", cwd=bench.folder, log=log, **url, OPTUNA_RQ_SECRET=SECRET):
                worker.terminate()
                assert controller.wait(60) == 0, head_log.read_text()
        notes = [line for line in head_log.read_text().splitlines() if "refuses jobs" in line]
        assert len(notes) == 1, notes
        if output == "json":
            assert json.loads(notes[0])["event"] == "note"
        assert "OPTUNA_RQ_SECRET" in notes[0]
        assert [row["status"] for row in cli.json("tasks", **url)] == ["completed"] * 3
        said = bench.log.read_text()
        assert "refused" in said
        assert "Traceback" not in said
        assert not any(secret in said + head_log.read_text() for secret in (SECRET, OTHER_SECRET))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"OPTUNA_RQ_SECRET": "fifteen letters"}, "OPTUNA_RQ_SECRET: 15 characters are too few"),
        ({"OPTUNA_RQ_SECRET": SECRET, "OPTUNA_RQ_SECRET_FILE": "x"}, "are both set; set one of them"),
        ({"OPTUNA_RQ_SECRET_FILE": "nothing"}, "nothing can't be read: No such file"),
        ({"OPTUNA_RQ_SECRET_FILE": "empty"}, "empty is empty"),
        ({"OPTUNA_RQ_SECRET_FILE": "."}, "can't be read: Is a directory"),
        ({"OPTUNA_STORAGE_FILE": "empty"}, "OPTUNA_STORAGE_FILE: empty is empty"),
        ({"REDIS_URL": "", "REDIS_URL_FILE": "nothing"}, "REDIS_URL_FILE: nothing can't be read"),
    ],
)
def test_secrets_that_can_not_be(bench: Attacked, env: dict[str, str], message: str) -> None:
    (bench.folder / "empty").touch()
    with folder_of(bench.folder, OBJECTIVES) as cli:
        sweep = cli.sweep()
        for argv in (["worker", "--burst"], ["controller", "start", sweep]):
            done = run(*argv, cwd=bench.folder, **{"REDIS_URL": bench.url, **env})
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), (argv, done.stderr)
            assert message in done.stderr
            assert env.get("OPTUNA_RQ_SECRET", "?" * 9) not in done.stderr
        assert not bench.store.studies.names()


# Objectives that a worker may run

TRAIN = """
import os
from os import system
from pathlib import Path

def objective(task, x=1.0): return x
def environment(task):
    print(sorted(os.environ))
    return 1.0
class Evil:
    def __call__(self, task): Path("was-run").touch()
"""
ALLOWED: list[dict[str, Any]] = [
    {"kind": "function", "target": "train:objective"},
    {"kind": "function", "target": "train:objective", "env": {"OMP_NUM_THREADS": "1"}},
    {"kind": "script", "path": "train.py"},
    {"kind": "script", "module": "train.main"},
    {"kind": "command", "argv": ["./train.sh"]},
]
NOT_ALLOWED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "function", "target": "os:system"}, "'os.system'"),
    ({"kind": "function", "target": "subprocess:call"}, "'subprocess.call'"),
    ({"kind": "function", "target": "train2:objective"}, "'train2.objective'"),
    ({"kind": "function", "target": "xtrain:objective"}, "'xtrain.objective'"),
    ({"kind": "function", "target": "train:os.system"}, "'os' is the module 'os'"),
    ({"kind": "optuna", "target": "evil:objective", "storage": "sqlite:///x.db", "sampler": {}, "pruner": {}}, "'evil.objective'"),
    ({"kind": "script", "path": "evil.py"}, "'evil.py'"),
    ({"kind": "script", "path": "train.d/../evil.py"}, "'evil.py'"),
    ({"kind": "script", "path": "train.link"}, "'evil.py'"),
    ({"kind": "script", "path": "{outside}/train.py"}, "/train.py'"),
    ({"kind": "script", "path": "nothing.py", "at": "{outside}/train.py"}, "/train.py'"),
    ({"kind": "script", "module": "evil"}, "'evil'"),
    ({"kind": "script", "target": "train:objective", "module": "evil"}, "'evil'"),
    ({"kind": "script", "target": "train:objective", "path": "evil.py"}, "'evil.py'"),
    ({"kind": "command", "argv": ["touch", "was-run"]}, "'touch'"),
    ({"kind": "command", "argv": ["/bin/sh", "-c", "touch was-run"]}, "sh'"),
    ({"kind": "command", "argv": ["touch", "was-run"], "target": "train:objective"}, "'touch'"),
    ({"kind": "command", "argv": ["train.d/../evil.sh"]}, "'evil.sh'"),
    ({"kind": "command", "argv": ["{x}"]}, "'touch'"),
    *(
        ({"kind": "function", "target": "train:objective", "env": {name: "/tmp"}}, name)
        for name in ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "PATH")
    ),
    ({"kind": "command", "argv": ["./train.sh"], "env": {"BASH_ENV": "evil.sh"}}, "BASH_ENV"),
]  # fmt: skip


@pytest.mark.parametrize("how", ["option", "environment"])
def test_only_objectives_that_are_allowed(
    bench: Attacked, tmp_path_factory: pytest.TempPathFactory, how: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    folder = bench.folder
    for name in ("train", "train2", "xtrain", "evil"):
        bench.module(f"{name}.py", TRAIN)
    (folder / "evil.py").write_text("from pathlib import Path\nPath('was-run').touch()\n")
    (outside / "train.py").write_text("from pathlib import Path\nPath('was-run').touch()\n")
    (folder / "train.link").symlink_to("evil.py")
    (folder / "train.d").mkdir()
    for name, text in (("train.sh", "echo loss=1"), ("evil.sh", "touch was-run")):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    options = ["--allow", "train.*"] if how == "option" else []
    env = {} if how == "option" else {"OPTUNA_RQ_ALLOW": " other.* , train.* "}
    allowed = [o for o in ALLOWED if o.get("module") != "train.main"]  # train is no package here
    with working(bench, *options, **env):
        tasks = []
        for objective, message in NOT_ALLOWED if how == "option" else NOT_ALLOWED[:1]:
            text = json.dumps(objective).replace("{outside}", str(outside))
            record = bench.made(json.loads(text), parameters={"x": "touch"} if "{x}" in text else {})
            bench.push(record.id)
            tasks.append((record.id, message))
        for task_id, message in tasks:
            task = bench.ended(task_id)
            assert (task.status, task.reason_class) == (Status.FAILED, Reason.LAUNCH_ERROR), (message, task)
            assert message in task.reason
            assert "\n" not in task.reason
            assert not task.error
        for objective in allowed:
            record = bench.made(objective)
            bench.push(record.id)
            task = bench.ended(record.id)
            assert task.reason_class is not Reason.LAUNCH_ERROR, task


# Who is let in


def own_address() -> str:
    """An address of this machine that is no loopback."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family is socket.AF_INET and not address.address.startswith("127."):
                return address.address
    pytest.skip("this machine has no address but its loopback")


def open_server(*config: str, password: str | None = None) -> RedisServer:
    """One that other machines reach."""
    need_server()
    server = RedisServer(config=config, password=password)
    server.host = own_address()
    return server


def test_a_redis_that_everybody_can_use_is_refused(tmp_path: Path) -> None:
    with open_server("protected-mode no") as server:
        url = {"REDIS_URL": server.url()}
        for more in ({}, {"OPTUNA_RQ_INSECURE": "0"}, {"OPTUNA_RQ_SECRET": ""}):
            done = run("worker", "--burst", cwd=tmp_path, **url, **more)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert "asks for no password, and jobs aren't signed" in done.stderr
        for argv, more in (
            (["--insecure"], {}),
            ([], {"OPTUNA_RQ_INSECURE": "1"}),
            ([], {"OPTUNA_RQ_SECRET": SECRET}),
        ):
            done = run("worker", "--burst", *argv, cwd=tmp_path, **url, **more)
            assert done.returncode == 0, done.stderr
    with open_server(password="a p@ss/w:rd") as server:
        assert run("worker", "--burst", cwd=tmp_path, REDIS_URL=server.url()).returncode == 0
        done = run(
            "worker", "--burst", cwd=tmp_path, REDIS_URL=f"redis://:wrong@{server.host}:{server.port}/0"
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "wrong or missing password" in done.stderr


# Secrets stay where they are

CURIOUS = """
import os, time
from pathlib import Path

def train(task, x):
    task.report_scalar("loss", "", x, 0)
    print("ENVIRONMENT", sorted(f"{k}={v}" for k, v in os.environ.items()))
    task.upload_artifact("model", {"x": x})
    if task.trial_number == 1:
        raise ValueError("no such luck")
    Path("looks").touch()
    while not Path("go").exists():
        time.sleep(0.02)
"""


@pytest.mark.real_start  # command lines are looked at
def test_secrets_appear_nowhere(tmp_path: Path, s3_server: S3Server, postgresql: PostgreSQL) -> None:
    """Of Redis, of the database, of jobs, of the bucket."""
    need_server()
    s3_server.make_bucket("secrets")
    word = "r3dis p@ss/w:rd%41"
    database = postgresql.database()
    with RedisServer(password=word) as server, folder_of(tmp_path, CURIOUS) as cli:
        secrets = {"REDIS_URL": server.url(), "OPTUNA_STORAGE": database, "OPTUNA_RQ_SECRET": SECRET}
        (tmp_path / "secret").mkdir()
        for name, value in secrets.items():
            (tmp_path / "secret" / name).write_text(value + "\n")
        given = {f"{name}_FILE": str(tmp_path / "secret" / name) for name in secrets}
        env = {**given, **s3_server.env(), "ARTIFACT_STORE": "s3://secrets/here"}
        sweep = cli.sweep(objective={"function": "obj:train"}, budget={"max_trials": 3})
        logs = [tmp_path / "worker.log", tmp_path / "head.log"]
        told = ""
        with (
            started(
                "worker", "--slots", "2", "--log-level", "debug", cwd=tmp_path, log=logs[0], **env
            ) as worker,
            started(
                "controller", "start", sweep, "--format", "json", cwd=tmp_path, log=logs[1], **env
            ) as controller,
        ):
            wait_for((tmp_path / "looks").exists, "a trial that runs", 90.0)
            for pid in [worker.pid, controller.pid, *descendants(worker.pid), *descendants(controller.pid)]:
                with contextlib.suppress(psutil.Error):  # one that has just ended
                    told += f"{pid}: {' '.join(psutil.Process(pid).cmdline())}\n"
            assert told.count("\n") >= 5
            (tmp_path / "go").touch()
            assert controller.wait(60) == 0, logs[1].read_text()
        rows = cli.json("tasks", **env)
        assert [row["status"] for row in rows] == ["completed", "failed", "completed"]
        for arguments in (
            ["status"],
            ["top", "--all-hyper-parameters"],
            ["show", rows[1]["task"]],
        ):
            for shown in (arguments, [*arguments, "--format", "json"]):
                done = cli(*shown, **env)
                assert done.returncode == 0, done.stderr
                told += done.stdout + done.stderr
        assert cli("export", "s", "--to", "copy", **env).returncode == 0
        told += "".join(log.read_text() for log in logs)
        told += exported(tmp_path / "copy") + everything_in(server.client())
        output = [cli("logs", str(row["task"]), **env).stdout for row in rows]
        told += "".join(output)
    assert "ENVIRONMENT" in output[0]
    for name in secrets:  # neither the secret nor where it lies
        assert name not in output[0]
    assert "AWS_ACCESS_KEY_ID" in output[0]  # these the program needs for its artifacts
    assert "obj:train" in told
    hidden = {SECRET, word, quote(word, safe=""), password_of(database)}
    for secret in hidden:
        assert secret not in told, secret
    assert s3_server.secret_key not in told.replace("AWS_SECRET_ACCESS_KEY=" + s3_server.secret_key, "")


def exported(path: Path) -> str:
    """All that is in a file of `controller export`, as text."""
    data = path.read_bytes()
    with contextlib.suppress(OSError):
        data = gzip.decompress(data)
    return data.decode("utf-8", "replace")


def password_of(url: str) -> str:
    found = urlsplit(url).password
    assert found
    return found


@pytest.mark.parametrize(
    ("option", "url"),
    [
        ("--redis", "redis://:pa55word@127.0.0.1:1/0"),
        ("--redis", "rediss://user:pa55word@127.0.0.1:1/0"),
        ("--redis", "redis://127.0.0.1:1/0?password=pa55word"),
        ("--storage", "postgresql://u:pa55word@127.0.0.1:1/db"),
    ],
)
def test_no_secret_in_an_argument(tmp_path: Path, option: str, url: str) -> None:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        cli.sweep()
        for argv in (["worker"], ["controller", "start", "sweep.yaml"], ["controller", "status"]):
            if argv[-1] == "status" and option == "--storage":
                continue
            done = run(*argv, option, url, cwd=tmp_path)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), (argv, done.stderr)
            assert "pa55word" not in done.stderr
            assert "a password in an argument is seen by everybody on this machine" in done.stderr
        assert not (tmp_path / ".optuna-rq").exists()


def test_an_artifact_store_has_no_password_in_its_url(tmp_path: Path) -> None:
    for argv in (["worker"], ["controller", "start", "sweep.yaml"]):
        with folder_of(tmp_path, OBJECTIVES) as cli:
            cli.sweep()
            done = run(
                *argv,
                "--artifacts",
                "s3://AKIA:pa55word@bucket/x",
                cwd=tmp_path,
                REDIS_URL="redis://127.0.0.1:1/0",
            )
        assert done.returncode == 2, done.stderr
        assert "pa55word" not in done.stdout + done.stderr


def test_one_name_is_one_worker_also_when_they_start_at_once(bench: Attacked) -> None:
    logs = [bench.folder / f"{number}.log" for number in range(4)]
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                started("worker", "--name", "twin", cwd=bench.folder, log=log, REDIS_URL=bench.url)
            )
            for log in logs
        ]
        wait_for(lambda: sum(worker.poll() is not None for worker in workers) >= 3, "the end of three")
        wait_for(lambda: bench.store.workers.list("default"), "the fourth")
        codes = [worker.poll() for worker in workers]
        assert sorted(codes, key=str) == [2, 2, 2, None]
        for code, log in zip(codes, logs, strict=True):
            if code == 2:
                assert log.read_text().count("\n") == 1, log.read_text()
                assert (
                    "a worker named 'twin' is running already; give this one another --name"
                    in log.read_text()
                )
