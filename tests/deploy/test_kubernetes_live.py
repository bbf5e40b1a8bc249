"""What the manifests count on, with real processes: a controller that is evicted, and KEDA's look at Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.deploy.commands import DEPLOY, OURS
from tests.deploy.manifests import KUBERNETES, container, named, workloads
from tests.e2e.harness import BIN, run, run_json, started, wait_for
from tests.redisserver import RedisServer
from tests.servers import free_port

TRAIN = """
import os, time

def train(task, x):
    i = 0
    while not os.path.exists("free"):
        task.report_scalar("loss", "", x, iteration=i)
        i += 1
        time.sleep(0.05)
    return x
"""
SWEEP = """
[study]
name = "first"
metric = { name = "loss", goal = "minimize" }
[objective]
function = "train:train"
[parameters]
x = { type = "float", low = 0.0, high = 1.0 }
[budget]
max_trials = 2
"""


def controllers_argv() -> list[str]:
    """The controller's command line in its pod, on a free port."""
    return [
        str(BIN / word) if word in OURS else word.replace(":9109", f":{free_port()}")
        for word in container(workloads()["controller"])["args"]
    ]


def test_a_trial_goes_on_while_one_controller_is_evicted_and_another_takes_over(
    tmp_path: Path, redis_url: str
) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    env = {
        "REDIS_URL": redis_url,
        "OPTUNA_STORAGE": f"sqlite:///{tmp_path}/optuna.db",
        "ARTIFACT_STORE": f"file://{tmp_path}/artifacts",
    }
    grace_s = workloads()["controller"]["spec"]["terminationGracePeriodSeconds"]
    logs = [tmp_path / name for name in ("first.log", "second.log")]

    def tasks() -> list[tuple[str, int]]:
        return [(t["status"], t["attempt"]) for t in run_json("controller", "tasks", cwd=tmp_path, **env)]

    with (
        started("worker", cwd=tmp_path, log=tmp_path / "worker.log", REDIS_URL=redis_url),
        started(*controllers_argv(), cwd=tmp_path, log=logs[0], **env) as first,
    ):
        wait_for(lambda: redis.Redis.from_url(redis_url).exists("orq:study:first"), "the study")
        wait_for(lambda: tasks()[:1] == [("in_progress", 1)], "a running trial")
        with started(*controllers_argv(), cwd=tmp_path, log=logs[1], **env) as second:
            wait_for(lambda: "standing by" in logs[1].read_text(), "the second controller")
            holder = lease(redis_url)
            # As the kubelet does it: SIGTERM, and the grace period.
            first.terminate()
            assert first.wait(grace_s) == 130
            wait_for(lambda: lease(redis_url) not in ("", holder), "the second one's lease")
            assert tasks() == [("in_progress", 1)]
            (tmp_path / "free").touch()
            assert second.wait(60) == 0, logs[1].read_text()
    assert tasks() == [("completed", 1), ("completed", 1)]


def test_the_examples_code_comes_to_workers_that_have_nothing(tmp_path: Path, redis_url: str) -> None:
    """From a folder as a ConfigMap is mounted: links to links into a folder with a date."""
    example = KUBERNETES / "overlays/example"
    study, node = tmp_path / "study", tmp_path / "node"
    dated = study / "..2026_11_21_12_00_00.1"
    dated.mkdir(parents=True)
    node.mkdir()
    (study / "..data").symlink_to(dated.name)
    for name, text in named("ConfigMap", "study")["data"].items():
        assert text == (example / name).read_text()
        (dated / name).write_text(text)
        (study / name).symlink_to(f"..data/{name}")
    env = {
        "REDIS_URL": redis_url,
        "ARTIFACT_STORE": f"file://{tmp_path}/artifacts",
        "OPTUNA_RQ_SECRET": "s" * 64,
        "OPTUNA_RQ_ALLOW": named("ConfigMap", "settings")["data"]["OPTUNA_RQ_ALLOW"],
    }
    with started("worker", cwd=node, log=tmp_path / "worker.log", **env):
        done = run("controller", "start", cwd=study, OPTUNA_STORAGE=f"sqlite:///{tmp_path}/optuna.db", **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_json("controller", "status", cwd=study, **env)["tasks"]["completed"] == 20
    assert not list(node.iterdir())


def lease(redis_url: str) -> str:
    """Who acts on the study."""
    return str(redis.Redis.from_url(redis_url, decode_responses=True).get("orq:study:first:lock") or "")


LENGTH = """
if redis.call('type', KEYS[1]).ok == 'zset' then return redis.call('zcard', KEYS[1]) end
return redis.call('llen', KEYS[1])
"""
"""As KEDA's Redis scaler counts: by the key's type, in a script."""


def test_keda_counts_as_its_user_and_can_do_nothing_else() -> None:
    rules = (DEPLOY / "docker/redis-users.conf").read_text().splitlines()
    (rule,) = [line.removeprefix("user ") for line in rules if line.startswith("user keda ")]
    lists = [t["metadata"]["listName"] for t in named("ScaledJob", "worker")["spec"]["triggers"]]
    with RedisServer() as server, server.client() as admin:
        admin.rpush("rq:queue:default", "a", "b")
        admin.zadd("orq:study:first:status:in_progress", {"t": 1, "u": 2, "v": 3})
        admin.execute_command("ACL", "SETUSER", *rule.replace("@keda@", "PASSWORD").split())
        keda = redis.Redis(port=server.port, username="keda", password="PASSWORD")
        assert [keda.eval(LENGTH, 1, name) for name in lists] == [2, 2, 3]
        for refused in (("LPOP", "rq:queue:default"), ("ZCARD", "orq:studies"), ("CONFIG", "GET", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                keda.execute_command(*refused)
        with pytest.raises(redis.exceptions.ResponseError):
            keda.eval("return redis.call('del', KEYS[1])", 1, "rq:queue:default")
