"""Hosts whose clocks differ by an hour, and clocks that are set while a study runs: nothing changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from worker.protocol import Store
from worker.protocol.connection import connect

pytestmark = pytest.mark.slow

OBJECTIVES = """
import time

def steps(task, x):
    for i in range(6):
        task.report_scalar("loss", "", x + i, i)
        time.sleep(0.1)
"""

OFF = """
import os, time
_true, _ahead, _from = time.time, float(os.environ["AHEAD_S"]), float(os.environ.get("SET_AT", "0"))
time.time = lambda: _true() + (_ahead if time.monotonic() >= _from else 0.0)
"""
"""A machine whose clock is off, or is set so at a moment of the monotonic clock."""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        (tmp_path / "off").mkdir()
        (tmp_path / "off" / "sitecustomize.py").write_text(OFF)
        yield found


@pytest.mark.real_start
@pytest.mark.parametrize(("head_s", "set_after_s"), [(3600, None), (0, 1.5)])
def test_clocks_that_are_off_change_nothing(
    cli: Cli, redis_url: str, head_s: int, set_after_s: float | None
) -> None:
    env = {"REDIS_URL": redis_url, "PYTHONPATH": str(cli.folder / "off")}
    env["ARTIFACT_STORE"] = f"file://{cli.folder}/artifacts"
    if set_after_s is not None:
        env["SET_AT"] = str(time.monotonic() + set_after_s)
    budget = {"max_trials": 8, "time_per_trial": "30s", "total_compute": "2m", "wall_clock": "5m", "lease": 2}
    head = {**env, "OPTUNA_STORAGE": f"sqlite:///{cli.folder}/optuna.db", "AHEAD_S": str(head_s)}
    file = cli.sweep(objective={"function": "obj:steps"}, budget=budget)
    store = Store(connect(redis_url))
    with ExitStack() as stack:
        for name, ahead_s in (("ahead", 3600), ("behind", -3600)):
            worker_env = {**env, "AHEAD_S": str(ahead_s)}
            stack.enter_context(
                started(
                    "worker", "--name", name, cwd=cli.folder, log=cli.folder / f"log-{name}", **worker_env
                )
            )
        wait_for(lambda: len(store.workers.list("default")) == 2, "the workers")
        done = cli.start(file, workers=0, **head)
    assert done.returncode == 0, done.stdout + done.stderr
    found = cli.json("tasks", **head)
    assert [row["status"] for row in found] == ["completed"] * 8
    assert [row["attempt"] for row in found] == [1] * 8
    records = store.tasks.get_many([row["task_id"] for row in found])
    assert {record.worker.partition("/")[0] for record in records if record} == {"ahead", "behind"}
    now = store.clock.now()
    for record in records:
        assert record is not None
        assert record.started_at is not None
        assert record.ended_at is not None
        assert record.created_at <= record.started_at <= record.ended_at <= now
        assert now - record.created_at < 120
    spent = cli.json("status", "s", **head)["budget"]
    assert 8 * 0.5 / 60 < spent["compute_time"]["used"] < 1.0
    assert spent["wall_clock"]["used"] < 1.0


@pytest.mark.real_start
def test_a_worker_whose_clock_is_off_pauses_for_as_long_as_it_is_told(cli: Cli, redis_url: str) -> None:
    store = Store(connect(redis_url))
    env = {"REDIS_URL": redis_url, "PYTHONPATH": str(cli.folder / "off"), "AHEAD_S": "3600"}
    with started("worker", "--name", "ahead", cwd=cli.folder, log=cli.folder / "log", **env):
        wait_for(lambda: store.workers.list("default"), "the worker")
        store.workers.pause("ahead", store.clock.now() + 8.0, "for a test")
        said = cli.folder / "log"
        wait_for(lambda: "takes no jobs for" in said.read_text(), "the pause")
        begun = time.monotonic()
        wait_for(lambda: "takes jobs again" in said.read_text(), "its end", 20.0)
        assert time.monotonic() - begun < 12.0
