"""A node on which everything fails at once does not eat the study."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import Bench, started, wait_for
from worker.protocol import Status, Store
from worker.protocol.connection import connect

OBJECTIVES = """
import os, time

def needs_a_library(task, x):
    if os.environ.get("BROKEN"):
        raise ImportError(f"libcuda.so.1 (x={x})")
    time.sleep(0.5)
    return x

def broken(task, x):
    raise ValueError(f"no such luck with {x}")

def quick(task):
    return 1.0
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def test_a_worker_on_which_everything_fails(cli: Cli, redis_url: str) -> None:
    store = Store(connect(redis_url, patience_s=5))
    file = cli.sweep(objective={"function": "obj:needs_a_library"}, budget={"max_trials": 14})
    log, env = cli.folder / "log", {"REDIS_URL": redis_url}
    with (
        started("worker", "--name", "good", cwd=cli.folder, **env),
        started("worker", "--name", "bad", cwd=cli.folder, BROKEN="1", **env),
    ):
        wait_for(lambda: len(store.workers.list("default")) == 2, "both workers")
        with started("controller", "start", file, cwd=cli.folder, log=log, **env) as process:
            wait_for(lambda: "worker bad takes no jobs for 60 s" in log.read_text(), "the pause")
            status = cli.json("status", **env)
            assert process.wait(60) == 0, log.read_text()
        shown = {row["worker"]: row for row in status["workers"]}
        assert shown["good"]["state"] in ("running", "idle")  # the latter between two trials
        assert shown["good"]["reason"] == ""
        assert shown["bad"]["state"].startswith("paused for ")
        assert (
            "3 different configurations failed here at once: objective_error: ImportError: lib"
            in (shown["bad"]["reason"])
        )
        assert "paused for" in cli("status", **env).stdout
    rows = cli.json("tasks", **env)
    failed = [row for row in rows if row["status"] == "failed"]
    # One after it was held until something was known of the other, and one may have been on its way to it.
    assert 3 <= len(failed) <= 5
    assert {row["worker"] for row in failed} == {"bad/0"}
    assert {row["worker"] for row in rows if row["status"] == "completed"} == {"good/0"}


def test_an_objective_that_fails_everywhere_fails_the_study(cli: Cli) -> None:
    file = cli.sweep(objective={"function": "obj:broken"}, budget={"max_trials": 50, "max_failures": 8})
    done = cli.start(file)
    assert done.returncode == 1
    assert "takes no jobs" not in done.stdout
    assert "8 failed" in done.stdout
    # A summary of the reasons, for people and for programs.
    assert "ValueError: no such luck with" in done.stdout
    events = cli("start", file, "--format", "json").stdout.splitlines()
    assert "no such luck with" in events[-1]


def test_it_takes_jobs_again_afterwards(redis_url: str, tmp_path: Path) -> None:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", OBJECTIVES)
    with started("worker", "--name", "w", cwd=tmp_path, REDIS_URL=redis_url):
        wait_for(lambda: bench.store.workers.list("default"), "the worker")
        bench.ended(bench.submit("obj:quick"))
        until = time.time() + 4.0
        bench.store.workers.pause("w", until, "a test")
        time.sleep(2.0)  # it may be in the middle of waiting for a job
        task = bench.submit("obj:quick")
        record = bench.ended(task)
        assert record.status is Status.COMPLETED
        assert record.started_at is not None
        assert record.started_at >= until
