"""SIGTERM that reaches a worker with all its processes at once, as Slurm and some containers send it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Bench, alive, descendants, serving, started, wait_for
from worker.protocol import Reason, Status

pytestmark = pytest.mark.real_start

OBJECTIVES = """
import subprocess, sys, time
from pathlib import Path

def slow(task):
    try:
        for i in range(1200):
            task.report_scalar("loss", "", 1.0, i)
            time.sleep(0.05)
    finally:
        time.sleep(0.3)
        Path("cleaned-up").write_text(task.id)

def needs_helper(task):
    helper = subprocess.Popen(["sleep", "60"])
    task.report_scalar("loss", "", 1.0, 0)
    try:
        code = helper.wait()
        raise RuntimeError(f"the helper ended with {code}")
    except BaseException as error:
        raise RuntimeError("no helper") from error

def deaf(task):
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    task.report_scalar("loss", "", 1.0, 0)
    time.sleep(60)
"""

SCRIPT = """
import time
from worker import Task
task = Task.init()
for i in range(1200):
    task.report_scalar("loss", "", 1.0, i)
    time.sleep(0.05)
"""


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Bench:
    bench = Bench(redis_url, tmp_path)
    bench.module("fn.py", OBJECTIVES)
    bench.module("script.py", SCRIPT)
    return bench


COMMAND = {
    "kind": "command",
    "argv": [sys.executable, "-c", "import time; print('loss=1', flush=True); time.sleep(60)"],
}


@pytest.mark.parametrize(
    "objective",
    ["fn:slow", "fn:needs_helper", "fn:deaf", {"kind": "script", "path": "script.py"}, COMMAND],
    ids=["function", "helper", "deaf", "script", "command"],
)
def test_what_runs_is_handed_back(bench: Bench, objective: Any) -> None:
    with serving(bench, "--drain", "1") as worker:
        task = bench.submit(objective)
        bench.reported(task)
        everything = [worker.pid, *descendants(worker.pid)]
        # The program first: its end may be seen before the slot knows why.
        for pid in reversed(everything):
            os.kill(pid, signal.SIGTERM)
        assert worker.wait(20) == 0
    wait_for(lambda: not any(alive(pid) for pid in everything), "the end of all processes")
    record = bench.store.tasks.get(task)
    assert (record.status, record.attempt, record.handed_back) == (Status.QUEUED, 2, 1), record
    if objective == "fn:slow":
        assert (bench.folder / "cleaned-up").read_text() == task


@pytest.mark.parametrize(
    ("objective", "status", "reason"),
    [("fn:slow", Status.STOPPED, Reason.USER), (COMMAND, Status.FAILED, Reason.OBJECTIVE_ERROR)],
    ids=["function", "command"],
)
def test_a_program_that_is_terminated_alone_has_ended(
    bench: Bench, objective: Any, status: Status, reason: Reason
) -> None:
    with serving(bench) as worker:
        task = bench.submit(objective)
        bench.reported(task)
        # A program leads its session; what forks those of functions does not.
        programs = [pid for pid in descendants(worker.pid) if os.getsid(pid) == pid]
        os.kill(programs[-1], signal.SIGTERM)
        record = bench.ended(task)
    assert (record.status, record.reason_class) == (status, reason)


def test_two_signals_to_the_worker_hand_back_now(bench: Bench) -> None:
    with serving(bench, "--drain", "60") as worker:
        task = bench.submit("fn:deaf", grace_s=60)
        bench.reported(task)
        worker.send_signal(signal.SIGTERM)
        wait_for(
            lambda: bench.store.workers.list()[0]["state"] == "draining", "the first signal's effect", 10.0
        )
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
    assert bench.store.tasks.get(task).handed_back == 1


@pytest.mark.parametrize("after_s", [0.004, 0.01, 0.02, 0.04])
def test_a_signal_while_the_worker_starts_is_not_lost(bench: Bench, after_s: float) -> None:
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url) as worker:
        wait_for(lambda: bench.store.workers.list(), "the worker's registration")
        time.sleep(after_s)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) in (0, -signal.SIGTERM)
