"""No-op jobs: a study through `controller start`, and bare RQ with as many forking workers."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import redis
import rq
from rq.serializers import JSONSerializer

from benchmarks.rows import Sample, environment, read_stamps, sample
from benchmarks.studies import BIN, redis_server, study, sweep

SLOTS = 2

# Both jobs do the same: note when they began and ended. Their parent is one process per slot.
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
            subprocess.Popen(
                command,
                cwd=folder,
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(SLOTS)
        ]
        for worker in workers:
            worker.wait(300)
        return sample(read_stamps((folder / "stamps").read_text().splitlines()))


def sqlite(jobs: int, *, reuse: bool = False) -> Sample:
    """A study with the default storage.

    Args:
        reuse: keep a process for the next trials; otherwise each has one of its own.
    """
    return _study(jobs, "sqlite:///{folder}/optuna.db", reuse=reuse)


def journal(jobs: int) -> Sample:
    """A study with Optuna's journal file."""
    return _study(jobs, "journal://{folder}/optuna.log")


def _study(jobs: int, storage: str, *, reuse: bool = False) -> Sample:
    text = sweep(jobs, "seed = 1", objective="reuse = true" if reuse else "")
    files = {"objective.py": OBJECTIVE, "sweep.toml": text}
    with study(files, storage=storage, workers=SLOTS) as run:
        if len(run.stamps) != jobs:
            raise RuntimeError(f"the study ended after {len(run.stamps)} of {jobs} trials")
        return sample(run.stamps)
