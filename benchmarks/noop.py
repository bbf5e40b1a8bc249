"""No-op jobs: a study through `controller start`, and bare RQ with as many forking workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis
import rq
from rq.serializers import JSONSerializer

from benchmarks.rows import Sample, read_stamps, sample
from worker.embedded.finder import find_redis_server

SLOTS = 2
BIN = Path(sys.executable).parent

# Both jobs do the same: note when they began and ended. The slot is the process that supervises them.
OBJECTIVE = """
import os, time
def train(task, x):
    start = time.time()
    with open("stamps", "a") as file:
        file.write(f"{os.getppid()} {start!r} {time.time()!r}\\n")
    return x
"""
JOB = """
import os, time
def job(x):
    start = time.time()
    with open("stamps", "a") as file:
        file.write(f"{os.getppid()} {start!r} {time.time()!r}\\n")
    return x
"""
SWEEP = """
[study]
name = "noop"
metric = {{ name = "loss", goal = "minimize" }}
[objective]
function = "objective:train"
[parameters]
x = {{ type = "float", low = -1.0, high = 1.0 }}
[sampler]
type = "random"
seed = 1
[budget]
max_trials = {jobs}
"""


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A server as both sides get it: a unix socket and an append-only file."""
    socket = folder / "redis.sock"
    process = subprocess.Popen(
        [
            str(find_redis_server()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder),
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client = redis.Redis(unix_socket_path=str(socket))
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(20)


def bare_rq(jobs: int) -> Sample:
    """RQ's own forking workers on a queue that was filled before, JSON serializer."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        folder = Path(name)
        (folder / "job.py").write_text(JOB)
        queue = rq.Queue("default", connection=redis.Redis.from_url(url), serializer=JSONSerializer)
        for number in range(jobs):
            queue.enqueue_call("job.job", args=(number / jobs,), result_ttl=0)
        command = [
            str(BIN / "rq"), "worker", "default", "--url", url, "--burst", "--quiet",
            "--serializer", "rq.serializers.JSONSerializer", "--path", str(folder),
        ]  # fmt: skip
        workers = [
            subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(SLOTS)
        ]
        for worker in workers:
            worker.wait(300)
        return sample(read_stamps((folder / "stamps").read_text().splitlines()))


def sqlite(jobs: int) -> Sample:
    """A study with the default storage."""
    return _study(jobs, "sqlite:///{folder}/optuna.db")


def journal(jobs: int) -> Sample:
    """A study with Optuna's journal file."""
    return _study(jobs, "journal://{folder}/optuna.log")


def _study(jobs: int, storage: str) -> Sample:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        folder = Path(name)
        (folder / "objective.py").write_text(OBJECTIVE)
        (folder / "sweep.toml").write_text(SWEEP.format(jobs=jobs))
        environment = {**os.environ, "REDIS_URL": url, "OPTUNA_STORAGE": storage.format(folder=folder)}
        environment.pop("ARTIFACT_STORE", None)
        process = subprocess.Popen(
            [str(BIN / "controller"), "start", "sweep.toml", "--workers", str(SLOTS), "--format", "json"],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            code = process.wait(300)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            raise
        stamps = read_stamps((folder / "stamps").read_text().splitlines())
        if code != 0 or len(stamps) != jobs:
            raise RuntimeError(f"the study ended with code {code} after {len(stamps)} of {jobs} trials")
        return sample(stamps)
