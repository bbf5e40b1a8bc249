"""Redis' access rules as `controller acl` prints them: what is needed is allowed, all else is refused."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import alive, descendants, run, started, wait_for
from tests.redisserver import RedisServer, need_server
from worker.protocol import Store
from worker.protocol.connection import connect

OBJECTIVES = """
import os, time
from pathlib import Path

def train(task, x, depth=3):
    mine = task.trial_number
    task.connect({"depth": 3})
    for step in range(3):
        task.report_scalar("loss", "", 99.0 if mine == 1 else x, step)
        time.sleep(0.05)
    while mine == 1:  # until it is pruned
        task.report_scalar("loss", "", 99.0, step := step + 1)
        time.sleep(0.05)
    Path(f"part-{mine}").write_text("weights")
    task.save_checkpoint(f"part-{mine}", 2)
    if mine == 2:
        raise ValueError("no such luck")
    if mine == 3 and task.attempt == 1:
        Path("hangs").write_text(str(os.getpid()))
        time.sleep(300)
    if mine == 4:
        Path("waits").touch()
        while not Path("go").exists():
            time.sleep(0.02)
    print("trained")
    task.upload_artifact("model", {"x": x})

def endless(task, x):
    step = 0
    while True:
        task.report_scalar("loss", "", x, step := step + 1)
        time.sleep(0.05)
"""

PASSWORDS = {"controller": "the controller's w0rd", "worker": "a worker's w0rd"}
QUEUE, OTHER = "lab-1", "lab-2"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """With the rules that the command prints in its configuration, and an administrator beside."""
    need_server()
    folder = tmp_path_factory.mktemp("rules")
    (folder / "word").write_text(PASSWORDS["worker"] + "\n")
    done = run(
        "controller", "acl", "--queue", QUEUE, "--queue", OTHER, cwd=folder,
        OPTUNA_RQ_CONTROLLER_PASSWORD=PASSWORDS["controller"],
        OPTUNA_RQ_WORKER_PASSWORD_FILE=str(folder / "word"),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert not any(word in done.stdout for word in PASSWORDS.values())
    with RedisServer(password="the administrator's", config=done.stdout.splitlines()) as server:
        yield server


def url_of(server: RedisServer, user: str) -> str:
    return server.url(user=user, password=PASSWORDS[user])


def client_of(server: RedisServer, user: str) -> redis.Redis:
    return redis.Redis.from_url(url_of(server, user))


def denied(server: RedisServer) -> list[str]:
    """What was refused since the last call, as Redis' own log has it."""
    with server.client() as client:
        found = [
            f"{entry['username']}: {entry['reason']} {entry['object']}: {entry['client-info']}"
            for entry in client.acl_log()
        ]
        client.acl_log_reset()
    return found


def test_a_whole_study_as_two_users(server: RedisServer, tmp_path: Path) -> None:
    with server.client() as client:
        client.flushall()
    assert denied(server) == []
    head = {"REDIS_URL": url_of(server, "controller")}
    node = {"REDIS_URL": url_of(server, "worker")}
    with folder_of(tmp_path, OBJECTIVES) as cli:
        sweep = cli.sweep(
            objective={"function": "obj:train"},
            pruner={"type": "threshold", "upper": 50.0},
            queue={"name": QUEUE},
            budget={"max_trials": 6, "max_concurrent": 2, "lease": "2s"},
        )
        command = ("worker", "--queue", QUEUE, "--queue", OTHER)
        log = tmp_path / "workers.log"
        head_log = tmp_path / "head.log"
        with (
            started(*command, "--name", "one", cwd=tmp_path, log=log, **node) as one,
            started(*command, "--name", "two", cwd=tmp_path, log=log, **node) as two,
            started("controller", "start", sweep, cwd=tmp_path, log=head_log, **head) as controller,
        ):
            hanging = wait_for(
                lambda: (tmp_path / "hangs").exists() and (tmp_path / "hangs").read_text(), "it"
            )
            victim = one if int(hanging) in descendants(one.pid) else two
            victim.send_signal(signal.SIGKILL)
            wait_for(lambda: not alive(int(hanging)), "the end of the lost worker's program")
            with started(*command, cwd=tmp_path, log=log, **node):
                wait_for((tmp_path / "waits").exists, "the trial that waits")
                look(cli, head)
                (tmp_path / "go").touch()
                assert controller.wait(60) == 0, head_log.read_text()
        rows = cli.json("tasks", **head)
        assert [row["status"] for row in rows] == [
            "completed", "stopped", "failed", "completed", "completed", "completed",
        ], [row["reason"] for row in rows]  # fmt: skip
        assert str(rows[1]["reason"]).startswith("pruned: ")
        assert rows[3]["attempt"] == 2
        tidy_up(cli, head, rows)
        said = log.read_text() + head_log.read_text()
        assert "Traceback" not in said
        assert "refuse" not in said
        end_a_study(cli, head, node)
    assert denied(server) == []


def look(cli: Cli, head: dict[str, str]) -> None:
    """All that can be asked while a study runs, and `pause`, `resume`."""
    assert cli.json("status", **head)["study"] == "s"
    assert cli.json("top", "--all-metrics", **head)
    rows = cli.json("tasks", **head)
    cli.json("tasks", "--base", **head)
    assert cli.json("show", rows[0]["task"], **head)["hyper_parameters"]
    assert "trained" in cli("logs", rows[0]["task"], **head).stdout
    for request in ("pause", "resume"):
        done = cli(request, **head)
        assert done.returncode == 0, done.stderr
        shown = "paused" if request == "pause" else "running"
        wait_for(lambda shown=shown: cli.json("status", **head)["state"] == shown, shown)  # type: ignore[misc]
    listed = cli.json("artifacts", "list", **head)
    assert {one["name"] for one in listed} >= {"model"}


def tidy_up(cli: Cli, head: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """What can be done with a study that has ended."""

    def done(*arguments: str) -> str:
        answer = cli(*arguments, **head)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    done("artifacts", "get", str(rows[0]["task"]), "model", "model.json")
    done("artifacts", "rm", str(rows[0]["task"]), "model", "--yes")
    done("artifacts", "gc", "--yes")
    done("export", "s", "--to", "copy.orq")
    done("rewind", "s", "--trial", "3", "--yes")
    assert len(cli.json("tasks", **head)) == 4
    done("delete", "s", "--artifacts", "--trials", "--yes")
    done("import", "copy.orq")
    assert len(cli.json("tasks", **head)) == 6
    done("delete", "s", "--yes")


def end_a_study(cli: Cli, head: dict[str, str], node: dict[str, str]) -> None:
    """By `controller stop`, with what was to run next; objectives that are only on a worker."""
    far = cli.folder / "far"
    far.mkdir()
    (far / "only_here.py").write_text((cli.folder / "obj.py").read_text())
    sweep = cli.sweep(
        study={"name": "t", "metric": {"name": "loss", "goal": "minimize"}},
        objective={"function": "only_here:endless"},
        queue={"name": OTHER},
        budget={"max_trials": 9, "lease": "2s"},
    )
    log = cli.folder / "far.log"
    with (
        started("controller", "start", sweep, cwd=cli.folder, log=log, **head) as controller,
        started("worker", "--queue", OTHER, "--slots", "2", cwd=far, log=log, **node) as worker,
    ):
        wait_for(lambda: "t" in Store(connect(head["REDIS_URL"])).studies(), "the study")
        wait_for(lambda: cli.json("status", **head)["tasks"].get("in_progress", 0) >= 2, "trials")
        (first, *_) = [row for row in cli.json("tasks", **head) if row["status"] == "in_progress"]
        assert cli("stop", "--task", str(first["task"]), **head).returncode == 0
        assert cli("stop", **head).returncode == 0
        controller.wait(60)
        worker.terminate()
        assert worker.wait(20) == 0
    assert "Traceback" not in log.read_text(), log.read_text()
    assert cli.json("status", **head)["state"] == "stopped"
