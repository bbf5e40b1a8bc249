"""The README's distributed set-up: Redis with a password, S3, a controller here, workers there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.e2e.harness import assert_nothing_left, run, run_json, started, wait_for
from tests.redisserver import RedisServer
from tests.s3server import S3Server

OBJECTIVE = """
import json, os, time
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
"""


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A folder each for the head node, two compute nodes and somebody who asks."""
    found = {name: tmp_path / name for name in ("head", "node-1", "node-2", "desk")}
    for path in found.values():
        path.mkdir()
    (found["head"] / "sweep.toml").write_text(SWEEP)
    for node in ("node-1", "node-2"):
        (found[node] / "far_objective.py").write_text(OBJECTIVE)
    return found


def test_controller_here_workers_there(places: dict[str, Path], s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket("sweeps")
    with RedisServer(password="a-word") as server:
        env = {"REDIS_URL": server.url(), "ARTIFACT_STORE": "s3://sweeps/team", **s3_server.env()}
        asked = {"REDIS_URL": server.url()}
        log = places["head"] / "log"
        # The head node has neither the objective nor a worker: it says so, and waits for one.
        with started("controller", "start", cwd=places["head"], log=log, **env) as controller:
            wait_for(
                lambda: controller.poll() is not None or "no worker serves queue" in log.read_text(),
                "the hint",
            )
            assert "can't be checked on this machine" in log.read_text()
            with (
                started("worker", "--name", "one", cwd=places["node-1"], log=places["node-1"] / "log", **env),
                started("worker", "--name", "two", cwd=places["node-2"], log=places["node-2"] / "log", **env),
            ):
                assert controller.wait(60) == 0, log.read_text()
        assert "Top 5 of study far" in log.read_text()

        # From a third place, with everything else gone.
        top = run_json("controller", "top", "-k", "5", cwd=places["desk"], **asked)
        values = [entry["metrics"]["accuracy/validation"]["value"] for entry in top]
        assert len(values) == 5
        assert values == sorted(values, reverse=True)
        assert top[0]["metrics"]["accuracy/validation"]["max_value"] == values[0]
        tasks = run_json("controller", "tasks", cwd=places["desk"], **asked)
        assert len(tasks) == 8
        assert {task["worker"] for task in tasks} == {"one/0", "two/0"}
        best = top[0]["task_id"]
        where = "node-1" if next(t for t in tasks if t["task_id"] == best)["worker"] == "one/0" else "node-2"
        assert (
            f"trained in {places[where]}"
            in run("controller", "logs", best, cwd=places["desk"], **asked).stdout
        )
        listed = run_json("controller", "artifacts", "list", cwd=places["desk"], **asked)
        assert len(listed) == 16
        assert all(artifact["url"].startswith("s3://sweeps/team/far/") for artifact in listed)
        for name, target in (("model", "best.bin"), ("settings", "best.json")):
            got = run(
                "controller",
                "artifacts",
                "get",
                best[:12],
                name,
                target,
                cwd=places["desk"],
                **asked,
                **s3_server.env(),
            )
            assert got.returncode == 0, got.stderr
        assert (places["desk"] / "best.bin").read_bytes() == b"weights of " + best.encode()
        settings = json.loads((places["desk"] / "best.json").read_text())
        assert repr(settings["lr"]) == top[0]["hyper_parameters"]["General/lr"]
        assert len([path for path in bucket.rglob("*") if path.is_file()]) == 16

        # Bytes that have changed on the way are told, not returned.
        stored = next(path for path in bucket.rglob("model-*") if best in str(path))
        key = stored.relative_to(bucket).as_posix()
        s3_server.client().put_object(Bucket="sweeps", Key=key, Body=b"something else")
        damaged = run(
            "controller",
            "artifacts",
            "get",
            best,
            "model",
            "damaged.bin",
            cwd=places["desk"],
            **asked,
            **s3_server.env(),
        )
        assert (damaged.returncode, "damaged" in damaged.stderr) == (1, True), damaged.stderr
        assert sorted(path.name for path in places["desk"].iterdir()) == ["best.bin", "best.json"]
        unknown = run("controller", "artifacts", "get", best, "nothing", cwd=places["desk"], **asked)
        assert (unknown.returncode, "there are: model, settings" in unknown.stderr) == (2, True)
    assert_nothing_left(places["head"].parent)


def test_an_objective_that_no_worker_has(places: dict[str, Path], redis_url: str) -> None:
    for node in ("node-1", "node-2"):
        (places[node] / "far_objective.py").unlink()
    env = {"REDIS_URL": redis_url}
    with started("worker", "--name", "one", cwd=places["node-1"], **env):
        done = run("controller", "start", cwd=places["head"], **env)
    assert done.returncode == 2
    assert "no module 'far_objective'" in done.stderr
    assert "(checked on worker one/0)" in done.stderr
    assert run("controller", "top", cwd=places["desk"], **env).returncode == 2  # no study was made
    assert_nothing_left(places["head"].parent)


@pytest.mark.parametrize(
    ("store", "changes", "message"),
    [
        ("s3://no-such-bucket/x", {}, "bucket 'no-such-bucket' does not exist"),
        ("s3://sweeps/x", {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "the credentials are refused"),
        ("s3://sweeps/x", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, "no S3 server answers"),
        (
            "s3://sweeps/x",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
            "no credentials found",
        ),
    ],
)
def test_a_bucket_that_can_not_be_used_is_found_at_start(
    places: dict[str, Path],
    s3_server: S3Server,
    redis_url: str,
    store: str,
    changes: dict[str, str],
    message: str,
) -> None:
    s3_server.make_bucket("sweeps")
    (places["head"] / "far_objective.py").write_text(OBJECTIVE)
    env = {"REDIS_URL": redis_url, "ARTIFACT_STORE": store, **s3_server.env(), **changes}
    begun = time.monotonic()
    done = run("controller", "start", cwd=places["head"], **env)
    assert time.monotonic() - begun < 30
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "wrong-secret" not in done.stderr
    assert_nothing_left(places["head"].parent)
