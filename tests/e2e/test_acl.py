"""Redis' access rules as `controller acl` prints them: what is needed is allowed, all else is refused."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import alive, descendants, environment, run, started, wait_for
from tests.redisserver import RedisServer, need_server
from tests.servers import free_port
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

BY_HAND = """
import sys
from worker import Task

if len(sys.argv) > 1:
    Task.enqueue(Task.clone(sys.argv[1], name="again"), queue_name="lab-1")
else:
    task = Task.init("by hand", "first")
    task.connect({"depth": 3})
    for step in range(2):
        task.get_logger().report_scalar("loss", "", 1.0, step)
    task.upload_artifact("model", {"a": 1})
    print("task", task.id)
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
        metrics = ("--metrics-port", str(free_port()))
        with (
            started(*command, "--name", "one", cwd=tmp_path, log=log, **node) as one,
            started(*command, "--name", "two", cwd=tmp_path, log=log, **node) as two,
            started("controller", "start", sweep, *metrics, cwd=tmp_path, log=head_log, **head) as controller,
        ):
            hangs = tmp_path / "hangs"
            hanging = wait_for(lambda: hangs.exists() and hangs.read_text(), "the trial that hangs")
            victim = one if int(hanging) in descendants(one.pid) else two
            victim.send_signal(signal.SIGKILL)
            wait_for(lambda: not alive(int(hanging)), "the end of the lost worker's program")
            with started(*command, cwd=tmp_path, log=log, **node):
                wait_for((tmp_path / "waits").exists, "the trial that waits")
                look(cli, head)
                scraped = urllib.request.urlopen(f"http://127.0.0.1:{metrics[1]}/metrics", timeout=20).read()
                assert b"optuna_rq" in scraped
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
        drive_by_hand(cli, head, node)
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
    alive = cli.json("status", **head)["workers"][-1]["worker"]
    tried = json.dumps(rows[0]["hyper_parameters"])
    for line in (
        ("budget", "s", "--max-failures", "9"), ("budget", "s", "--reset"), ("budget", "s"), ("events", "s"),
        ("worker", "pause", alive, "--reason", "a look"), ("worker", "resume", alive), ("enqueue", "s", tried),
    ):  # fmt: skip
        done = cli(*line, **head)
        assert done.returncode == 0, done.stderr
    listed = cli.json("artifacts", "list", **head)
    assert {one["name"] for one in listed} >= {"model"}


def tidy_up(cli: Cli, head: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """What can be done with a study that has ended."""

    def done(*arguments: str) -> str:
        answer = cli(*arguments, **head)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    done("tag", str(rows[0]["task"]), "+good")
    done("note", str(rows[0]["task"]), "look again")
    assert [row["trial"] for row in cli.json("tasks", "--where", '"good" in tags', **head)] == [0]
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
        wait_for(lambda: "t" in Store(connect(head["REDIS_URL"])).studies.names(), "the study")
        wait_for(lambda: cli.json("status", **head)["tasks"].get("in_progress", 0) >= 2, "trials")
        (first, *_) = [row for row in cli.json("tasks", **head) if row["status"] == "in_progress"]
        assert cli("stop", "--task", str(first["task"]), **head).returncode == 0
        assert cli("stop", **head).returncode == 0
        controller.wait(60)
        worker.terminate()
        assert worker.wait(20) == 0
    assert "Traceback" not in log.read_text(), log.read_text()
    assert cli.json("status", **head)["state"] == "stopped"


def drive_by_hand(cli: Cli, head: dict[str, str], node: dict[str, str]) -> None:
    """A user's own script, its clone, and workers that end when the queues are empty."""
    (cli.folder / "by_hand.py").write_text(BY_HAND)

    def script(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "by_hand.py", *arguments],
            cwd=cli.folder, env=environment(**head), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = script().split()[-1]
    script(first)
    for queues in (("--queue", QUEUE), ("--queue", QUEUE, "--queue", OTHER)):
        done = run("worker", "--burst", *queues, cwd=cli.folder, **node)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    tasks = cli.json("tasks", "--base", **head)
    found = {task["name"]: task["status"] for task in tasks}
    assert found == {"first": "completed", "again": "completed", "t": "created"}  # t: the study's


FORBIDDEN = [
    "EVAL 'return 1' 0", "EVALSHA ffff 0", "SCRIPT LOAD x", "SCRIPT FLUSH", "FUNCTION LIST", "FCALL f 0",
    "CONFIG GET *", "CONFIG SET maxmemory 1", "FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "KEYS *", "SCAN 0",
    "RANDOMKEY", "DBSIZE", "DEBUG SLEEP 0", "MONITOR", "CLIENT LIST", "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 1", "ACL LIST", "ACL WHOAMI", "ACL GETUSER default", "ACL SETUSER worker allkeys",
    "SHUTDOWN NOSAVE", "REPLICAOF NO ONE", "MODULE LIST", "MODULE LOAD x", "SAVE", "BGSAVE", "BGREWRITEAOF",
    "SLOWLOG GET", "LATENCY LATEST", "MEMORY USAGE orq:studies", "MIGRATE h 1 orq:studies 0 1", "SYNC",
    "PSYNC x 0", "RENAME orq:studies orq:task:a", "COPY orq:studies orq:task:a", "DUMP orq:task:a",
    "RESTORE orq:task:a 0 x", "SORT orq:task:a", "OBJECT ENCODING orq:task:a", "MOVE orq:task:a 1",
    "PUBSUB CHANNELS", "PSUBSCRIBE *", "FAILOVER", "CLUSTER INFO", "COMMAND COUNT", "LASTSAVE",
    # Keys and channels of others, queues that were not named, RQ's own machinery.
    "GET else", "SET else 1", "DEL else", "HGETALL session:1", "LLEN rq:queue:default",
    "RPUSH rq:queue:default x", "RPUSH rq:queue:lab-1x x", "SADD rq:groups x", "ZADD rq:wip:lab-1 1 x",
    "ZADD rq:scheduled:lab-1 1 x", "DEL rq:failed:lab-1", "HSET rq:scheduler:1 a b",
]  # fmt: skip
FORBIDDEN_CONTROLLER = [
    "SUBSCRIBE orq:control:one", "PUBLISH else x", "PUBLISH rq:pubsub:one x", "BLMOVE rq:queue:lab-1 orq:task:a LEFT LEFT 1",
    "SADD rq:workers x", "SET rq:suspended 1", "HSET rq:worker:one a b",
]  # fmt: skip
FORBIDDEN_WORKER = [
    "PUBLISH orq:control:one x", "SUBSCRIBE rq:pubsub:one", "UNLINK orq:task:a", "ZREM orq:studies s",
    "DEL orq:studies", "HGETALL orq:study:s", "HSET orq:study:s state stopped", "DEL orq:study:s:lock",
    "SET orq:study:s:lock x", "ZADD orq:study:s:tasks 1 x", "HSET orq:study:s:artifacts a b",
    "SET orq:study:s:request stop", "GET orq:study:s:request", "SADD orq:study:s:removed x", "XADD orq:study:s:log * kind note",
    "XREVRANGE orq:study:s:log + -", "HSET orq:study:s:edits max_trials 1", "HGETALL orq:study:s:edits",
    "RPUSH orq:study:s:given x", "LRANGE orq:study:s:given 0 -1", "LREM orq:study:s:given 1 x", "DEL orq:base_tasks", "XREAD STREAMS orq:study:s:events 0",
    "XTRIM orq:study:s:events MAXLEN 0", "SADD rq:queues x", "ZRANGE orq:study:s:rank 0 -1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("user", "command"),
    [(user, command) for user in PASSWORDS for command in FORBIDDEN]
    + [("controller", command) for command in FORBIDDEN_CONTROLLER]
    + [("worker", command) for command in FORBIDDEN_WORKER],
)
def test_all_else_is_refused(server: RedisServer, user: str, command: str) -> None:
    client = client_of(server, user)
    client.ping()
    with pytest.raises(redis.ResponseError) as caught:
        client.execute_command(*shlex.split(command))
    if command.startswith(("DEBUG", "MODULE LOAD")) and "not allowed" in str(caught.value):
        return  # refused to everybody
    if "unknown command" in str(caught.value).lower():
        assert command.split()[0] in ("FUNCTION", "FCALL"), caught.value  # younger than the oldest Redis
    else:
        assert isinstance(caught.value, redis.exceptions.NoPermissionError), caught.value
    assert server.client().ping()


def test_users_without_a_password_are_off(tmp_path: Path) -> None:
    need_server()
    done = run("controller", "acl", cwd=tmp_path, OPTUNA_RQ_WORKER_PASSWORD="a worker's w0rd")
    assert done.returncode == 0
    assert done.stderr == ("controller: OPTUNA_RQ_CONTROLLER_PASSWORD is not set: user controller is off\n")
    with RedisServer(config=done.stdout.splitlines()) as server:
        client_of(server, "worker").ping()
        with pytest.raises(redis.AuthenticationError):
            client_of(server, "controller").ping()


def test_rules_as_commands(tmp_path: Path, redis_url: str) -> None:
    done = run(
        "controller", "acl", "--format", "commands", cwd=tmp_path,
        OPTUNA_RQ_CONTROLLER_PASSWORD="c-word", OPTUNA_RQ_WORKER_PASSWORD="w-word",
    )  # fmt: skip
    with redis.Redis.from_url(redis_url) as client:
        for line in done.stdout.splitlines():
            assert client.execute_command(*line.split()) in (b"OK", "OK")
        try:
            assert {"controller", "worker"} <= set(client.acl_users())
        finally:
            client.acl_deluser("controller", "worker")


@pytest.mark.parametrize(
    ("queues", "message"),
    [(("a b",), "queue name 'a b'"), (("*",), "queue name '*'"), (("",), "queue name ''")],
)
def test_queues_that_can_not_be(tmp_path: Path, queues: tuple[str, ...], message: str) -> None:
    done = run("controller", "acl", *(f"--queue={queue}" for queue in queues), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


@pytest.mark.parametrize(
    ("user", "queue"), [("worker", "lab-3"), ("worker", "default"), ("controller", QUEUE)]
)
def test_a_worker_that_may_not_serve_its_queue(
    server: RedisServer, tmp_path: Path, user: str, queue: str
) -> None:
    done = run("worker", "--queue", queue, cwd=tmp_path, REDIS_URL=url_of(server, user))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"queue '{queue}'" in done.stderr
    assert "`controller acl` prints the rules" in done.stderr
    assert PASSWORDS[user] not in done.stderr


def test_a_controller_that_may_not_use_its_queue(server: RedisServer, tmp_path: Path) -> None:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        for user, queue in (("controller", "lab-3"), ("worker", QUEUE)):
            sweep = cli.sweep(objective={"function": "obj:train"}, queue={"name": queue})
            done = cli("start", sweep, REDIS_URL=url_of(server, user))
            assert done.returncode == 2, done.stderr
            assert "Traceback" not in done.stderr
            assert "`controller acl` prints the rules" in done.stderr.splitlines()[-1]
        done = cli("status", REDIS_URL=url_of(server, "worker"))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
