"""A Redis that comes back without its data, whole or in part: the study is written again from Optuna's storage."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from tests.redisserver import RedisServer
from worker.protocol import keys
from worker.protocol.connection import connect
from worker.protocol.status import Status
from worker.protocol.store import Store

OBJECTIVES = """
import os, time

def steps(task, x):
    open(f"runs-{task.trial_number}", "a").write(f"{task.attempt}\\n")
    for i in range(4):
        task.report_scalar("loss", "", x + 3 - i, i)
        time.sleep(0.1)
    task.upload_artifact("settings", {"x": x})
    # From the third on, they run until they may end.
    while task.trial_number >= 2 and not os.path.exists("free"):
        time.sleep(0.05)
"""

TRIALS = 8


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


@contextmanager
def own_redis() -> Iterator[tuple[RedisServer, Store]]:
    with RedisServer(appendonly=True) as server:
        yield server, Store(connect(server.url(), patience_s=5))


def sweep(cli: Cli) -> str:
    return cli.sweep(
        objective={"function": "obj:steps"},
        budget={"max_trials": TRIALS, "max_iterations": 4, "max_concurrent": 2, "lease": "2s"},
    )


def two_told_two_running(cli: Cli) -> bool:
    if not (cli.folder / "runs-3").exists():
        return False
    return [trial.state.name for trial in cli.trials()[:4]] == ["COMPLETE"] * 2 + ["RUNNING"] * 2


@contextmanager
def under_way(cli: Cli, log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A controller with two workers, at the moment when two trials are told and two run."""
    with started(
        "controller", "start", sweep(cli), "--workers", "2", cwd=cli.folder, log=log, **env
    ) as process:
        wait_for(lambda: two_told_two_running(cli), "two told trials and two running ones")
        yield process


def check(cli: Cli, store: Store, env: dict[str, str]) -> None:
    """Everything is there, once, as if nothing had happened."""
    trials = cli.trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * TRIALS
    rows: list[dict[str, Any]] = cli.json("tasks", **env)
    assert {row["trial"]: row["loss"] for row in rows} == {trial.number: trial.value for trial in trials}
    assert {row["status"] for row in rows} == {"completed"}
    status = cli.json("status", **env)
    assert status["state"] == "completed"
    assert status["budget"]["iterations"]["used"] == 4 * TRIALS
    assert status["budget"]["compute_time"]["used"] * 60 >= 0.4 * TRIALS
    best = sorted(trials, key=lambda trial: trial.value)[:3]
    top = cli.json("top", "-k", "3", "--only-completed", **env)
    found = {row["task"]: row["trial"] for row in rows}
    assert [found[row["task_id"]] for row in top] == [trial.number for trial in best]
    assert [row["metrics"]["loss"]["max_value"] for row in top] == [trial.value + 3 for trial in best]
    # Each task's artifacts are listed, and come back as they were saved.
    listed = cli.json("artifacts", "list", **env)
    assert {row["task_id"] for row in listed} == set(found)
    assert {row["name"] for row in listed} == {"settings"}
    fetched = cli("artifacts", "get", str(top[0]["task_id"]), "settings", "--to", "got", "--force", **env)
    assert fetched.returncode == 0, fetched.stderr
    assert str(best[0].params["x"]) in next((cli.folder / "got").iterdir()).read_text()


def attempts(cli: Cli, number: int) -> list[str]:
    return (cli.folder / f"runs-{number}").read_text().split()


def test_while_the_study_runs(cli: Cli) -> None:
    log = cli.folder / "log"
    with own_redis() as (server, store):
        env = {"REDIS_URL": server.url()}
        with under_way(cli, log, env) as p:
            ended = [store.tasks.get(task_id) for task_id in store.studies.tasks("s", Status.COMPLETED)]
            with server.client() as client:
                client.flushall()
            wait_for(lambda: "Redis has lost the study" in log.read_text(), "the notice")
            (cli.folder / "free").touch()
            assert p.wait(60) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
        check(cli, store, env)
        # What had ended was not run again; what ran was, in an attempt that follows.
        for record in ended:
            assert attempts(cli, record.trial) == ["1"]
            now = store.tasks.get(record.id)
            assert (now.compute_s, now.worker, now.ended_at) == (
                record.compute_s,
                record.worker,
                record.ended_at,
            )
        assert attempts(cli, 2) == attempts(cli, 3) == ["1", "2"]
        assert store.tasks.get(cli_task(store, 2)).spent_attempts == 1


def cli_task(store: Store, number: int) -> str:
    (found,) = store.redis.zrangebyscore(keys.study_tasks("s"), number, number)
    return str(found)


def test_while_nobody_acts_on_it(cli: Cli) -> None:
    log = cli.folder / "log"
    with own_redis() as (server, store):
        env = {"REDIS_URL": server.url()}
        with under_way(cli, log, env) as p:
            p.kill()
            p.wait(10)
        with server.client() as client:
            client.flushall()
        (cli.folder / "free").touch()
        done = cli.start(**env)
        assert done.returncode == 0, done.stderr
        assert "Redis had lost 2 ended task(s)" in done.stdout
        check(cli, store, env)
        assert [len(attempts(cli, number)) for number in range(TRIALS)] == [1, 1, 2, 2, 1, 1, 1, 1]
        # A study whose budget is used up stays so.
        with server.client() as client:
            client.flushall()
        assert cli.start(**env).returncode == 0
        check(cli, store, env)
        assert len(cli.trials()) == TRIALS


def test_single_records(cli: Cli) -> None:
    log = cli.folder / "log"
    with own_redis() as (server, store):
        env = {"REDIS_URL": server.url()}
        with under_way(cli, log, env) as p:
            store.redis.delete(keys.task(cli_task(store, 2)))
            wait_for(lambda: attempts(cli, 2) == ["1", "2"], "its next attempt")
            (cli.folder / "free").touch()
            assert p.wait(60) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
        check(cli, store, env)
