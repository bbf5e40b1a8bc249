"""The README's distributed set-up: Redis with a password, S3, a controller here, workers there."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.harness import BIN, DEADLINE_S, assert_nothing_left, descendants, run_with, wait_for
from tests.redisserver import RedisServer
from tests.s3server import S3Server

OBJECTIVE = """
import os, time
def train(task, lr, layers):
    for epoch in range(5):
        accuracy = 1 - abs(lr - 0.01) - 0.01 * layers - 0.1 / (epoch + 1)
        task.report_scalar("accuracy", "validation", accuracy, iteration=epoch)
        time.sleep(0.02)
    print("trained in", os.getcwd())
    with open(f"model-{task.id}.bin", "wb") as file:
        file.write(b"weights of " + task.id.encode())
    task.upload_artifact("model", f"model-{task.id}.bin")
    task.upload_artifact("settings", {"lr": lr, "layers": layers})
"""

SWEEP = """
[study]
name = "far"
metric = { name = "accuracy/validation", goal = "maximize" }
[objective]
function = "far_objective:train"
[parameters]
lr = { type = "float", low = 1e-4, high = 0.1, log = true }
layers = { type = "int", low = 1, high = 4 }
[sampler]
seed = 1
[budget]
max_trials = 8
max_failures = 2
"""

PASSWORD = "a p@ss/w:rd%41"
METRIC = "accuracy/validation"
HINT = re.compile(r"no worker serves queue 'default' yet; on a compute node: (.+)")


class Place:
    """A machine's stand-in: a folder, a home and an environment of its own, in which commands are called.

    Attributes:
        folder: the current folder of all commands.
        env: what they find in their environment beside PATH, HOME and LANG; nothing is inherited.
    """

    def __init__(self, root: Path, name: str, **env: str) -> None:
        self.name = name
        self.folder = root / name
        self.folder.mkdir()
        self._log = root / f"log of {name}"
        home = root / f"home of {name}"
        home.mkdir()
        self.env = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", **env}

    @property
    def log(self) -> str:
        """What the commands that were started here have said so far."""
        return self._log.read_text() if self._log.exists() else ""

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def run(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return run_with([str(BIN / argv[0]), *argv[1:]], cwd=self.folder, env={**self.env, **env})

    def ask(self, *argv: str, **env: str) -> str:
        """What `controller` answers; it must succeed without a complaint."""
        done = self.run("controller", *argv, **env)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def ask_json(self, *argv: str) -> Any:
        return json.loads(self.ask(*argv, "--format", "json"))

    @contextmanager
    def started(self, command: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command line in the background; it and all that it has started is killed at the end."""
        with open(self._log, "ab") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec env {command}"],
                cwd=self.folder,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            for victim in [process.pid, *descendants(process.pid)]:
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            process.wait(10)


@contextmanager
def redis_with_password() -> Iterator[RedisServer]:
    with RedisServer(password=PASSWORD) as server:
        yield server


def everything_in(server: redis.Redis) -> str:
    """All keys and values."""
    found: list[object] = []
    for key in server.scan_iter():
        kind = server.type(key)
        found.append(key)
        if kind == b"string":
            found.append(server.get(key))
        elif kind == b"hash":
            found.append(server.hgetall(key))
        elif kind == b"list":
            found.append(server.lrange(key, 0, -1))
        elif kind == b"set":
            found.append(server.smembers(key))
        elif kind == b"zset":
            found.append(server.zrange(key, 0, -1))
        elif kind == b"stream":
            found.append(server.xrange(key))
        elif kind != b"none":  # not one that has expired just now
            raise AssertionError(f"a key of type {kind!r}")
    return repr(found)


def left_of_studies(client: redis.Redis) -> list[bytes]:
    """Keys of studies, tasks and jobs."""
    return [key for key in client.scan_iter() if key.startswith((b"orq:stud", b"orq:task:", b"rq:job:"))]


def test_controller_here_workers_there(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket("sweeps")
    keys = s3_server.env()
    with ExitStack() as stack:
        server = stack.enter_context(redis_with_password())
        url = {"REDIS_URL": server.url()}
        head = Place(tmp_path, "head", **url, **keys, ARTIFACT_STORE="s3://sweeps/team")
        # One worker is told of the store, the other learns of it from the study.
        nodes = [
            Place(tmp_path, "node 1", **keys, ARTIFACT_STORE="s3://sweeps/team"),
            Place(tmp_path, "node 2", **keys),
        ]
        desk = Place(tmp_path, "desk", **url)
        (head.folder / "sweep.toml").write_text(SWEEP)
        for node in nodes:
            (node.folder / "far_objective.py").write_text(OBJECTIVE)

        # The head node has neither the objective nor a worker: it says so and what to do, and waits.
        controller = stack.enter_context(head.started("controller start sweep.toml"))
        wait_for(lambda: controller.poll() is not None or HINT.search(head.log), "the hint")
        hint = HINT.search(head.log)
        assert hint, head.log
        assert "the objective can't be checked on this machine; a worker is asked" in head.log
        assert controller.poll() is None
        assert desk.run("controller", "status").returncode == 2  # no study before the objective is known

        # What it says to start is what starts a worker, with the password put in.
        shown, *command = shlex.split(hint[1])
        assert shown == f"REDIS_URL=redis://:***@127.0.0.1:{server.port}/0"
        assert command == ["worker", "--queue", "default"]
        workers = [
            stack.enter_context(node.started(f"REDIS_URL={server.url()} {shlex.join(command)} --name {name}"))
            for node, name in zip(nodes, ("one", "two"), strict=True)
        ]
        assert controller.wait(DEADLINE_S) == 0, head.log
        assert "Top 5 of study far" in head.log
        for worker in workers:
            worker.terminate()
        assert [worker.wait(20) for worker in workers] == [0, 0]
        assert_nothing_left(tmp_path)
        assert "far_objective.py" not in head.files()

        # From a third place, with controller and workers gone: first what needs Redis alone.
        top = desk.ask_json("top", "-k", "5")
        tasks = desk.ask_json("tasks")
        assert len(tasks) == 8
        assert {task["status"] for task in tasks} == {"completed"}
        assert {task["worker"] for task in tasks} == {"one/0", "two/0"}
        everything = desk.ask_json("top", "-k", "100")
        assert top == everything[:5]
        for entry in everything:
            lr, layers = (entry["hyper_parameters"][name] for name in ("lr", "layers"))
            assert (type(lr), type(layers)) == (float, int)
            value = 1 - abs(lr - 0.01) - 0.01 * layers - 0.1 / 5
            assert entry == {
                "task_id": entry["task_id"],
                "status": "completed",
                "hyper_parameters": {"lr": lr, "layers": layers},
                "metrics": {
                    METRIC: {
                        "metric": "accuracy",
                        "variant": "validation",
                        "value": pytest.approx(value),
                        "min_value": pytest.approx(value - 0.08),
                        "max_value": pytest.approx(value),
                    }
                },
            }
        values = {entry["task_id"]: entry["metrics"][METRIC]["value"] for entry in everything}
        assert list(values.values()) == sorted(values.values(), reverse=True)
        assert set(values) == {task["task_id"] for task in tasks}
        status = desk.ask_json("status")
        assert (status["study"], status["state"], status["artifacts"]) == (
            "far",
            "completed",
            "s3://sweeps/team",
        )
        assert (status["tasks"]["completed"], status["workers"], status["controller"]) == (8, [], "")
        rows = list(csv.DictReader(io.StringIO(desk.ask("tasks", "--format", "csv"))))
        assert [row["trial"] for row in rows] == [str(number) for number in range(8)]
        assert {row["task"]: float(row[METRIC]) for row in rows} == values
        best = top[0]["task_id"]
        about = desk.ask_json("show", best[:12])
        assert (about["task_id"], about["iterations"], about["attempt"]) == (best, 5, 1)
        assert set(about["artifacts"]) == {"model", "settings"}
        where = nodes[0 if next(t for t in tasks if t["task_id"] == best)["worker"] == "one/0" else 1]
        assert f"trained in {where.folder}\n" in desk.ask("logs", best)
        listed = desk.ask_json("artifacts", "list")
        assert sorted((one["task_id"], one["name"]) for one in listed) == sorted(
            (task_id, name) for task_id in values for name in ("model", "settings")
        )
        assert all(one["url"].startswith("s3://sweeps/team/far/") for one in listed)
        assert desk.files() == []

        # Then the bytes, which need the bucket's key.
        for name, target in (("model", "best.bin"), ("settings", "best.json")):
            assert desk.ask("artifacts", "get", best[:12], name, target, **keys) == f"{target}\n"
        assert (desk.folder / "best.bin").read_bytes() == b"weights of " + best.encode()
        settings = json.loads((desk.folder / "best.json").read_text())
        assert settings["lr"] == top[0]["hyper_parameters"]["lr"]
        assert len([path for path in (bucket / "team").rglob("*") if path.is_file()]) == 16
        refused = desk.run(
            "controller", "artifacts", "get", best, "model", "x", AWS_EC2_METADATA_DISABLED="true"
        )
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "no credentials found; set AWS_ACCESS_KEY_ID" in refused.stderr

        # Bytes that have changed on the way are told, not returned.
        listed = desk.ask_json("artifacts", "list", "--task", best)
        (url,) = [one["url"] for one in listed if one["name"] == "model"]
        s3_server.client().put_object(
            Bucket="sweeps", Key=url.removeprefix("s3://sweeps/"), Body=b"something else"
        )
        damaged = desk.run("controller", "artifacts", "get", best, "model", "damaged.bin", **keys)
        assert (damaged.returncode, "damaged" in damaged.stderr) == (1, True), damaged.stderr
        assert desk.files() == ["best.bin", "best.json"]

        # No secret was written down anywhere.
        written = everything_in(server.client()) + "".join(place.log for place in (head, *nodes, desk))
        assert "far_objective" in written
        for secret in (keys["AWS_SECRET_ACCESS_KEY"], PASSWORD, server.url().split(":")[2].split("@")[0]):
            assert secret not in written


def test_a_worker_that_comes_late(tmp_path: Path, redis_url: str) -> None:
    """The head node has the objective, too, so that trials are waiting on the queue already."""
    head = Place(tmp_path, "head", REDIS_URL=redis_url)
    node = Place(tmp_path, "node", REDIS_URL=redis_url)
    (head.folder / "sweep.toml").write_text(SWEEP)
    for place in (head, node):
        (place.folder / "far_objective.py").write_text(OBJECTIVE)
    with head.started("controller start --set budget.max_trials=2") as controller:
        wait_for(lambda: controller.poll() is not None or HINT.search(head.log), "the hint")
        hint = HINT.search(head.log)
        assert hint, head.log
        assert "a worker is asked" not in head.log
        assert head.ask_json("status")["tasks"]["queued"] >= 1
        with node.started(hint[1]):  # no password, so nothing to put in
            assert controller.wait(DEADLINE_S) == 0, head.log
    assert len(HINT.findall(head.log)) == 1
    # Two folders, one machine: what the worker has stored under the head's folder is found again.
    stored = head.ask_json("artifacts", "list")
    assert {one["store"] for one in stored} == {f"file://{head.folder}/.optuna-rq/artifacts"}
    assert "on each worker's own machine" in head.log
    assert ".optuna-rq" not in node.files()
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, "no module 'far_objective'"),
        ("import not_on_this_node\n", "not_on_this_node"),
        ("def other(): pass\n", "train"),
        ("def train(task, lr): pass\n", "layers"),
    ],
)
def test_an_objective_that_the_workers_can_not_run(
    tmp_path: Path, redis_url: str, module: str | None, message: str
) -> None:
    head = Place(tmp_path, "head", REDIS_URL=redis_url)
    node = Place(tmp_path, "node", REDIS_URL=redis_url)
    (head.folder / "sweep.toml").write_text(SWEEP)
    if module is not None:
        (node.folder / "far_objective.py").write_text(module)
    with node.started("worker --name one") as worker:
        done = head.run("controller", "start")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert message in done.stderr
        assert done.stderr.endswith("(checked on worker one/0)\n")
        assert worker.poll() is None
        # No study was made, and nothing of the check is left.
        assert "no studies" in head.run("controller", "top").stderr
        with redis.Redis.from_url(redis_url) as client:
            wait_for(lambda: not left_of_studies(client), "the end of the check's records")
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("store", "changes", "message"),
    [
        ("s3://no-such-bucket/x", {}, "bucket 'no-such-bucket' does not exist"),
        ("s3://sweeps/x", {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "the credentials are refused"),
        ("s3://sweeps/x", {"AWS_ACCESS_KEY_ID": "wrong-key"}, "the credentials are refused"),
        ("s3://sweeps/x", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, "no S3 server answers"),
        (
            "s3://sweeps/x",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
            "no credentials found",
        ),
    ],
)
def test_a_bucket_that_can_not_be_used_is_found_at_start(
    tmp_path: Path,
    s3_server: S3Server,
    redis_url: str,
    store: str,
    changes: dict[str, str],
    message: str,
) -> None:
    s3_server.make_bucket("sweeps")
    head = Place(
        tmp_path, "head", **{"REDIS_URL": redis_url, "ARTIFACT_STORE": store, **s3_server.env(), **changes}
    )
    (head.folder / "sweep.toml").write_text(SWEEP)
    (head.folder / "far_objective.py").write_text(OBJECTIVE)
    # Also with workers of its own: none may be left running.
    done = head.run("controller", "start", "--workers", "1")
    # A server that is away is nobody's mistake.
    expected = 1 if message == "no S3 server answers" else 2
    assert (done.returncode, message in done.stderr) == (expected, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "wrong-secret" not in done.stderr
    with redis.Redis.from_url(redis_url) as client:
        assert list(client.scan_iter()) == []
    assert_nothing_left(tmp_path)


def test_a_worker_that_the_bucket_refuses(tmp_path: Path, s3_server: S3Server, redis_url: str) -> None:
    """The head's key is good, this worker's isn't: its tasks say so, and it serves on."""
    s3_server.make_bucket("sweeps")
    env = {"REDIS_URL": redis_url, "ARTIFACT_STORE": "s3://sweeps/refused"}
    head = Place(tmp_path, "head", **env, **s3_server.env())
    node = Place(tmp_path, "node", **env, **{**s3_server.env(), "AWS_SECRET_ACCESS_KEY": "wrong-secret"})
    (head.folder / "sweep.toml").write_text(SWEEP)
    (node.folder / "far_objective.py").write_text(OBJECTIVE)
    with node.started("worker --name one") as worker:
        done = head.run("controller", "start")
        assert worker.poll() is None
    assert done.returncode == 1
    failed = head.ask_json("tasks", "--status", "failed")
    assert len(failed) >= 2
    for task in failed:
        assert "ArtifactError" in task["reason"]
        assert "the credentials are refused" in task["reason"]
        assert METRIC in head.ask_json("show", task["task_id"])["metrics"]  # what it reported is kept
    assert head.ask_json("artifacts", "list") == []
    assert "wrong-secret" not in done.stdout + done.stderr + node.log
    assert_nothing_left(tmp_path)


def test_a_worker_told_of_a_store_that_is_none(tmp_path: Path, redis_url: str) -> None:
    node = Place(tmp_path, "node", REDIS_URL=redis_url)
    done = node.run("worker", "--burst", ARTIFACT_STORE="s3:/sweeps")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "two slashes more; use file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX" in done.stderr


def test_a_store_given_as_a_relative_path_is_the_head_nodes(tmp_path: Path, redis_url: str) -> None:
    head = Place(tmp_path, "head", REDIS_URL=redis_url)
    node = Place(tmp_path, "node", REDIS_URL=redis_url)
    (head.folder / "sweep.toml").write_text(SWEEP)
    (node.folder / "far_objective.py").write_text(OBJECTIVE)
    with node.started("worker"):
        done = head.run("controller", "start", "--artifacts", "kept here", "--set", "budget.max_trials=1")
        assert done.returncode == 0, done.stderr
    (artifact,) = [one for one in head.ask_json("artifacts", "list") if one["name"] == "model"]
    assert (head.folder / "kept here" / artifact["key"]).read_bytes().startswith(b"weights of ")
    assert "kept here" not in node.files()
