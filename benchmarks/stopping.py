"""From the report after which a trial is given up to the end of what it ran."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import redis
import rq
from rq.command import send_stop_job_command
from rq.serializers import JSONSerializer

from benchmarks.rows import Row
from benchmarks.studies import BIN, STAMP, redis_server, study, sweep

# The program works on, in short steps, until it is told; the stamp is from its last straw to its end.
OBJECTIVE = (
    STAMP
    + """
def train(task, x):
    time.sleep(0.1)
    for step in range(3):
        task.report_scalar("loss", "", 0.0, step)
        time.sleep(0.05)
    straw = time.time()
    task.report_scalar("loss", "", 1000.0, 3)
    step = 3
    try:
        while time.time() < straw + 60:
            time.sleep(0.002)
            step += 1
            task.report_scalar("loss", "", 1000.0, step)
    finally:
        stamp(straw)
"""
)
# No option of the command: the period is for those who write an optimizer of their own.
DRIVER = """
import functools, sys
from controller.commands import start
start.StartOptions = functools.partial(start.StartOptions, pool_period_min={period})
from controller.commands.main import main
main()
"""
JOB = """
import os, time
def job():
    with open("pids", "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(60)
"""


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    trials = 4 if quick else 20
    found: dict[str, list[float]] = {"0.02": [], "5": [], "rq": []}
    for number in range(runs):
        for period in ("0.02", "5"):
            say(f"run {number + 1} of {runs}: pruning, with a poll every {period} min")
            files = {
                "objective.py": OBJECTIVE,
                "sweep.toml": sweep(trials, '[pruner]\ntype = "threshold"\nupper = 100.0'),
                "driver.py": DRIVER.format(period=period),
            }
            with study(files, program=[sys.executable, "driver.py"]) as run:
                found[period] += [(end - start) * 1000 for _, start, end in run.stamps]
        say(f"run {number + 1} of {runs}: RQ's stop command")
        found["rq"] += _rq(trials)
    usual, rare, theirs = (statistics.median(found[name]) for name in ("0.02", "5", "rq"))
    return [
        Row(
            name=f"last straw → the program gone, p50, ms (reference: the limit; RQ's stop: {theirs:.3g})",
            ours=usual,
            reference=100.0,
            sense="<=",
            aim=1.0,
        ),
        Row(
            name="the same with a poll every 5 min (reference: every 0.02 min)",
            ours=rare,
            reference=usual,
            sense="<=",
            aim=1.2,
        ),
    ]


def _rq(jobs: int) -> list[float]:
    """Milliseconds from RQ's stop command to the end of the job's process, without a grace period."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        folder = Path(name)
        (folder / "job.py").write_text(JOB)
        (folder / "pids").touch()
        connection = redis.Redis.from_url(url)
        queue = rq.Queue("default", connection=connection, serializer=JSONSerializer)
        worker = subprocess.Popen(
            [
                str(BIN / "rq"), "worker", "default", "--url", url, "--quiet",
                "--serializer", "rq.serializers.JSONSerializer", "--path", name,
            ],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        taken = []
        try:
            for number in range(jobs):
                job = queue.enqueue("job.job")
                while len(pids := (folder / "pids").read_text().split()) <= number:
                    time.sleep(0.01)
                time.sleep(0.2)  # it raises until the worker has written what it runs
                begun = time.time()
                send_stop_job_command(connection, job.id, serializer=JSONSerializer)
                while psutil.pid_exists(int(pids[-1])):
                    time.sleep(0.0005)
                taken.append((time.time() - begun) * 1000)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
        return taken
