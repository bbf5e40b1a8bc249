"""A stranger with the workers' Redis user, and nothing else, against the head node of a running study."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import run, started, wait_for
from tests.redisserver import RedisServer, need_server
from worker.protocol.record import new_task_id

WORDS = {"controller": "the controller's w0rd", "worker": "a worker's w0rd"}

OBJECTIVES = """
import time
from pathlib import Path

def train(task, x):
    task.report_scalar("loss", "", x, 0)
    task.upload_artifact("model", {"x": x})
    print("trained", flush=True)
    Path(f"runs-{task.trial_number}").touch()
    while task.trial_number < 2 and not Path("go").exists():
        time.sleep(0.02)
    return x
"""
ESCAPES = "\x1b[2J\x1b]0;pwned\x07\x9b2J\u202e"
TEXT = f"{ESCAPES}\nstudy s completed: forged line\r=cmd()<script>alert(1)</script>\x00"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    need_server()
    done = run(
        "controller", "acl", cwd=tmp_path,
        OPTUNA_RQ_CONTROLLER_PASSWORD=WORDS["controller"], OPTUNA_RQ_WORKER_PASSWORD=WORDS["worker"],
    )  # fmt: skip
    with RedisServer(password="the administrator's", config=done.stdout.splitlines()) as made:
        yield made


class Stranger:
    """Somebody who has the workers' password."""

    def __init__(self, url: str, folder: Path) -> None:
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.folder = folder

    def forge_artifacts(self, task_id: str, victim: str) -> list[str]:
        """List the head node's files and another study's as artifacts of a task; returns their names."""
        (name, text) = next(iter(self.redis.hgetall(f"orq:task:{task_id}:artifacts").items()))
        good = json.loads(text)
        forged = {
            "etc": {"store": "file:///", "key": f"{self.folder}/precious/file".lstrip("/")},
            "there": {"store": f"file://{self.folder}", "key": "precious/file"},
            "dots": {"key": "s/../../../precious/file"},
            "theirs": {"key": victim, "artifact_id": victim.rpartition("/")[2]},
            "bucket": {
                "store": "s3://others/s",
                "artifact_id": (new := str(uuid.uuid4())),
                "key": f"s/{new}",
            },
            TEXT: {
                "filename": f"../../{TEXT}",
                "url": TEXT,
                "mimetype": TEXT,
                "size": 2**62,
                "key": "s/../x",
            },
        }
        for name, changes in forged.items():
            text = json.dumps({**good, "name": name, **changes})
            self.redis.hset(f"orq:task:{task_id}:artifacts", name, text)
        self.redis.hset(f"orq:task:{task_id}:artifacts", mapping={"broken": "{", "deep": "[" * 50_000})
        return list(forged)

    def disturb(self, running: str, ended: str, foreign: str) -> None:
        """Everything else that is written by workers."""
        client = self.redis
        for number, text in enumerate((TEXT, "[" * 50_000, "", "x" * 100_000)):
            client.hset(f"orq:task:{running}:scalars", f"odd {number} {text[:500]}", text)
            client.rpush(f"orq:task:{running}:series", text)
            client.xadd("orq:study:s:events", {"k": "report", "t": running, "a": "1", "s": "99", "d": text})
            client.xadd(
                "orq:study:s:events",
                {"k": "started", "t": text[:100], "a": "1", "s": "1", "d": '{"at": "x"}'},
            )
        title = json.dumps([TEXT, "", 1.0, 1.0, 1.0, 1, 1, 1])
        client.hset(f"orq:task:{ended}:scalars", TEXT, title)
        client.append(f"orq:task:{ended}:log", TEXT)
        client.hset(
            f"orq:task:{ended}",
            mapping={"reason_class": "user", "reason": TEXT, "error": TEXT, "worker": TEXT},
        )
        client.xadd(
            "orq:study:s:events", {"k": "control", "t": "", "a": "0", "s": "0", "d": '{"request": "stop"}'}
        )
        client.zadd("orq:study:s:status:completed", {foreign: 5, new_task_id(): 6, TEXT: 7})
        client.zadd("orq:study:s:rank", {foreign: -99.0, TEXT: -98.0, new_task_id(): -97.0})
        client.hset(f"orq:task:{running}", mapping={"spec": "{", "trial": "x", "compute_s": "nan"})
        client.sadd("orq:workers", TEXT, "flood", "odd")
        client.hset(f"orq:worker:{TEXT}", mapping={"queues": "default", "slots": "5"})
        client.hset(
            "orq:worker:odd", mapping={"queues": "default", "slots": "x", "paused_until": "y", "pid": "z"}
        )
        client.hset(
            "orq:worker:flood",
            mapping={
                "queues": "default",
                "slots": "1",
                "host": TEXT,
                "state": TEXT,
                "refused": TEXT,
                "place": TEXT,
            },
        )
        for command in (
            ("SET", "orq:study:s:request", "stop"),
            ("HSET", "orq:study:s", "artifacts", "file:///"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def sweep_of(cli: Cli, name: str, budget: dict[str, Any], **sections: Any) -> str:
    about = {"name": name, "metric": {"name": "loss", "goal": "minimize"}}
    return cli.sweep(study=about, objective={"function": "obj:train"}, budget=budget, **sections)


def plain(text: str) -> str:
    """Checks that nothing in it controls a terminal."""
    assert all(letter.isprintable() or letter in "\n\t\r" for letter in text), repr(text)
    assert "Traceback" not in text, text
    return text


def test_a_stranger_with_the_workers_password(server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    precious = tmp_path / "precious" / "file"
    precious.write_text("the head node's own")
    head = {"REDIS_URL": server.url(user="controller", password=WORDS["controller"])}
    node = {"REDIS_URL": server.url(user="worker", password=WORDS["worker"])}
    log = tmp_path / "head.log"
    with folder_of(tmp_path, OBJECTIVES) as cli:
        (tmp_path / "go").touch()
        with started("worker", cwd=tmp_path, log=tmp_path / "w.log", **node):
            assert cli("start", sweep_of(cli, "t", {"max_trials": 1}), **head).returncode == 0
        (other,) = cli.json("artifacts", "list", "t", **head)
        (tmp_path / "go").unlink()
        for left in tmp_path.glob("runs-*"):
            left.unlink()
        sweep = sweep_of(cli, "s", {"max_trials": 4, "max_concurrent": 2}, artifacts={"keep_top": 1})
        with (
            started("worker", "--slots", "2", cwd=tmp_path, log=tmp_path / "w.log", **node),
            started("controller", "start", sweep, cwd=tmp_path, log=log, **head) as controller,
        ):
            wait_for(lambda: all((tmp_path / f"runs-{n}").exists() for n in (0, 1)), "two that run")
            stranger = Stranger(node["REDIS_URL"], tmp_path)
            rows = cli.json("tasks", "s", **head)
            names = stranger.forge_artifacts(rows[0]["task"], other["key"])
            stranger.disturb(rows[0]["task"], rows[1]["task"], other["task_id"])
            (tmp_path / "go").touch()
            assert controller.wait(60) == 0, log.read_text()
        plain(log.read_text())
        ended = cli.json("tasks", "s", **head)
        assert [row["status"] for row in ended] == ["completed"] * 4
        task = look(cli, head, rows)
        stranger.forge_artifacts(task, other["key"])
        take_away(cli, head, task, names)
        assert precious.read_text() == "the head node's own"
        (still,) = cli.json("artifacts", "list", "t", **head)
        assert (tmp_path / ".optuna-rq" / "artifacts" / still["key"]).exists()


def look(cli: Cli, head: dict[str, str], rows: list[dict[str, Any]]) -> str:
    """Ask everything that can be asked, in every format; returns a task that has artifacts."""
    asked: list[tuple[str, ...]] = [
        ("status", "s"),
        ("top", "s", "--all-metrics", "-k", "9"),
        ("tasks", "s"),
        ("artifacts", "list", "s"),
    ]
    for question in asked:
        for form in ("table", "csv", "json"):
            done = cli(*question, "--format", form, **head)
            assert done.returncode == 0, done.stderr
            text = plain(done.stdout + done.stderr)
            if form == "json":
                json.loads(done.stdout)
            if form == "csv":
                for row in csv.reader(io.StringIO(text)):
                    assert not any(value.startswith(("=", "+", "@", "\t", "\r")) for value in row), row
    for row in rows:
        for question in (("show", row["task"]), ("logs", row["task"])):
            done = cli(*question, **head)
            assert done.returncode == 0, done.stderr
            plain(done.stdout + done.stderr)
    done = cli("export", "s", "--to", "copy.orq", **head)
    assert done.returncode == 0, done.stderr
    done = cli("import", "copy.orq", "--name", "copy", **head)
    assert done.returncode == 0, done.stderr
    assert cli("delete", "copy", "--artifacts", "--yes", **head).returncode in (0, 1)
    (listed, *_) = [one for one in cli.json("artifacts", "list", "s", **head) if one["name"] == "model"]
    return str(listed["task_id"])


def take_away(cli: Cli, head: dict[str, str], task: str, names: list[str]) -> None:
    """Every command that reads or deletes bytes."""
    for name in names:
        if "\x00" not in name:
            done = cli("artifacts", "get", task, name, "--to", "got", **head)
            assert done.returncode == 1, (name, done.stdout)
            plain(done.stdout + done.stderr)
    for command in (
        ("artifacts", "get", task, "--to", "got"),
        ("artifacts", "gc", "s", "--keep-top", "1", "--older-than", "0.000001s", "--yes"),
        ("artifacts", "rm", task, "--yes"),
        ("artifacts", "rm", "--study", "s", "--yes"),
        ("delete", "s", "--artifacts", "--yes"),
    ):
        done = cli(*command, **head)
        assert done.returncode in (0, 1), (command, done.stderr)
        plain(done.stdout + done.stderr)
    got = sorted(
        path.relative_to(cli.folder).as_posix() for path in (cli.folder / "got").rglob("*") if path.is_file()
    )
    assert all("precious" not in path and "model" in path for path in got), got
