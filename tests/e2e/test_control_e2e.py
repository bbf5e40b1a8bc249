"""Commands to a running study and its workers: budgets, configurations, pauses; what holds after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.results.workers import describe_workers
from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from worker.protocol import Store
from worker.protocol.connection import connect

OBJECTIVES = """
import pathlib, time

def waits(task, x):
    task.report_scalar("loss", "", x, 0)
    go = pathlib.Path("go")
    while not go.exists() and not pathlib.Path(f"go-{task.id}").exists():
        time.sleep(0.02)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        found.sweep(
            objective={"function": "obj:waits"}, budget={"max_trials": 2, "max_concurrent": 1, "lease": 2}
        )
        yield found


def said(cli: Cli, *arguments: str, code: int = 0, **env: str) -> str:
    done = cli(*arguments, **env)
    assert done.returncode == code, done.stderr
    return (done.stdout if code == 0 else done.stderr).strip()


def go(cli: Cli, task: dict[str, Any]) -> None:
    """Let a task end."""
    (cli.folder / f"go-{task['task_id']}").touch()


def running(cli: Cli, **env: str) -> set[int]:
    return {row["trial"] for row in cli.json("tasks", "--status", "in_progress", **env)}


def test_a_study_is_changed_while_it_runs_and_started_again(cli: Cli, redis_url: str) -> None:
    head = {"REDIS_URL": redis_url}

    log = cli.folder / "head.log"
    with started(
        "controller", "start", "sweep.yaml", "--workers", "1", cwd=cli.folder, log=log, **head
    ) as first:
        wait_for(lambda: "started" in log.read_text(), "trial 0")
        assert "y: unknown parameter; name one of [parameters]" in said(
            cli, "enqueue", "s", "y=1", code=2, **head
        )
        assert '"x" is never 2' in said(cli, "enqueue", "s", "x=2", code=2, **head)
        assert "tries it next" in said(cli, "enqueue", "s", '{"x": 0.125}', **head)
        assert "max_trials 2 → 3; its controller takes" in said(
            cli, "budget", "s", "--max-trials", "3", **head
        )
        shown = cli.json("budget", **head)
        assert shown["edits"][0]["value"] == 3
        wait_for(lambda: cli.json("budget", **head)["budget"]["jobs"]["limit"] == 3, "the edited budget")
        go(cli, cli.json("tasks", **head)[0])
        wait_for(lambda: running(cli, **head) - {0}, "the next trial")
        (row,) = [row for row in cli.json("tasks", **head) if row["status"] == "in_progress"]
        assert row["hyper_parameters"] == {"x": 0.125}
        first.kill()  # without a word
        first.wait()
    # The sweep file still says two trials, as when the budget was edited: the edit holds.
    (cli.folder / "go").touch()
    done = cli.start(workers=1, **head)
    assert done.returncode == 0, done.stderr
    assert "max_trials is 3, still as" in done.stdout
    assert len(cli.json("tasks", **head)) == 3
    kinds = [event["kind"] for event in cli.json("events", "s", **head)]
    assert kinds.count("start") + kinds.count("takeover") == 2
    assert kinds[-1] == "end"
    assert {"enqueue", "budget"} <= set(kinds)
    assert "begins the study" in said(cli, "events", "s", **head)
    assert said(cli, "events", "s", "-n", "1", "--format", "csv", **head).count("\n") == 1


def test_workers_pause_drain_and_go_on(cli: Cli, redis_url: str) -> None:
    head = {"REDIS_URL": redis_url}
    cli.sweep(objective={"function": "obj:waits"}, budget={"max_trials": 9, "max_concurrent": 2, "lease": 9})

    def ask(*arguments: str) -> str:
        done = cli("worker", *arguments, **head)
        assert done.returncode == 0, done.stderr
        return done.stdout

    store = Store(connect(redis_url))

    def rows() -> dict[str, Any]:
        return {row["worker"]: row for row in describe_workers(store)["workers"]}

    def busy(name: str) -> int:
        found: int = rows().get(name, {"busy": -1})["busy"]
        return found

    def tasks(status: str) -> list[dict[str, Any]]:
        return list(cli.json("tasks", "--status", status, **head))

    log = cli.folder / "log"
    with (
        started("worker", "--name", "one", cwd=cli.folder, log=log, **head) as one,
        started("worker", "--name", "two", cwd=cli.folder, log=log, **head),
        started("controller", "start", "sweep.yaml", cwd=cli.folder, log=log, **head) as controller,
    ):
        wait_for(lambda: busy("one") == busy("two") == 1, "both workers at work")
        ask("pause", "one", "--reason", "new disk")
        wait_for(lambda: rows()["one"]["state"] == "paused", "the pause")
        row = rows()["one"]
        assert row["reason"].endswith(": new disk")
        assert row["busy"] == 1  # what runs goes on
        (mine,) = [task for task in tasks("in_progress") if task["worker"].startswith("one/")]
        go(cli, mine)
        wait_for(lambda: busy("one") == 0, "the end of its trial")
        (other,) = tasks("in_progress")
        go(cli, other)
        wait_for(lambda: len(tasks("completed")) == 2 and busy("two") == 1, "the next trial on the other")
        assert busy("one") == 0
        ask("resume", "one")
        wait_for(lambda: busy("one") == 1, "its next trial")
        ask("drain", "one")
        wait_for(lambda: rows()["one"]["state"] == "draining", "the drain")
        assert one.poll() is None
        (mine,) = [task for task in tasks("in_progress") if task["worker"].startswith("one/")]
        go(cli, mine)
        assert one.wait(60) == 0
        assert cli.json("show", mine["task_id"], **head)["status"] == "completed"
        assert "one" not in rows()
        with started("worker", "--name", "one", cwd=cli.folder, log=log, **head):
            wait_for(lambda: busy("one") == 1, "the worker that came back under its name")
            cli("stop", "s", **head)
            assert controller.wait(60) == 0
        events = cli.json("events", "s", **head)
        assert [event["text"].split(":")[0] for event in events if event["kind"] == "worker"] == [
            "worker one takes no new jobs",
            "worker one takes jobs again",
            "worker one takes no new jobs, and ends when what it runs has ended",
        ]
        assert events[-1]["kind"] == "end"


def test_events_that_are_followed(cli: Cli, redis_url: str) -> None:
    head = {"REDIS_URL": redis_url}
    (cli.folder / "go").touch()
    with started("worker", cwd=cli.folder, log=cli.folder / "log", **head):
        assert cli.start(workers=0, **head).returncode == 0
    output = cli.folder / "events"
    with started("controller", "events", "s", "-f", "--format", "json", cwd=cli.folder, log=output, **head):
        wait_for(lambda: '"end"' in output.read_text(), "what has happened")
        assert cli("stop", "s", **head).returncode == 0
        wait_for(lambda: '"stop"' in output.read_text(), "what happens now")
