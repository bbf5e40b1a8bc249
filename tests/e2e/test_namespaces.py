"""A study over hosts that are really apart: one worker's link is cut for longer than its lease, and healed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import optuna
import pytest
import yaml
from botocore.config import Config

from tests.e2e.harness import BIN, run_json, started, wait_for
from tests.netns import Network, network
from tests.redisserver import server_binary
from worker.protocol import FINISHED, Status, Store, TaskRecord
from worker.protocol.connection import connect

pytestmark = pytest.mark.slow

ITERATIONS, TRIALS, LEASE_S = 40, 8, 3
SECRET = "a secret that signs the jobs"
KEYS = ("access-key-of-the-test", "secret-key-of-the-test")
OBJECTIVE = f"""
import time

def train(task, x):
    for i in range({ITERATIONS}):
        task.report_scalar("loss", "", x + 1 / (i + 1), i)
        time.sleep(0.1)
    task.upload_artifact("result", {{"x": x}})
"""


@pytest.fixture
def hosts() -> Iterator[Network]:
    yield from network("orqtest", ("head", "hub", "one", "two"))


@contextmanager
def on_host(net: Network, host: str, *argv: str, folder: Path, **env: str) -> Iterator[Any]:
    """A process of a host, in a folder of its own, with its output in ``log``."""
    folder.mkdir(exist_ok=True)
    line = net.inside(host, *argv)
    with started(line[0], *line[1:], cwd=folder, log=folder / "log", **env) as process:
        yield process


@contextmanager
def servers(net: Network, folder: Path) -> Iterator[dict[str, str]]:
    """Redis and an S3 server on the hub; gives the environment that finds them."""
    redis_folder, s3_folder = folder / "redis", folder / "s3"
    redis_folder.mkdir()
    s3_folder.mkdir()
    address = net.address("hub")
    (redis_folder / "redis.conf").write_text(
        f'bind {address}\nrequirepass pw\ndir "{redis_folder}"\nsave ""\nappendonly yes\n'
    )
    rclone = shutil.which("rclone") or str(Path(sys.executable).parent / "rclone")
    s3 = ("serve", "s3", "--addr", f"{address}:9000", "--auth-key", ",".join(KEYS),
          "--vfs-cache-mode", "off", "--config", "/dev/null", str(s3_folder))  # fmt: skip
    env = {
        "REDIS_URL": f"redis://:pw@{address}:6379/0",
        "OPTUNA_RQ_SECRET": SECRET,
        "ARTIFACT_STORE": "s3://study/runs",
        "AWS_ACCESS_KEY_ID": KEYS[0],
        "AWS_SECRET_ACCESS_KEY": KEYS[1],
        "AWS_ENDPOINT_URL_S3": f"http://{address}:9000",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server = (str(server_binary()), str(redis_folder / "redis.conf"))
    with (
        on_host(net, "hub", *server, folder=redis_folder),
        on_host(net, "hub", rclone, *s3, folder=folder / "rclone"),
    ):
        wait_for(lambda: answers(env["REDIS_URL"]), "Redis")
        wait_for(lambda: bucket_made(env), "the S3 server")
        yield env


def answers(url: str) -> bool:
    try:
        return bool(connect(url, patience_s=0, timeout_s=2.0).ping())
    except Exception:
        return False


def bucket_made(env: dict[str, str]) -> bool:
    client = boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=KEYS[0],
        aws_secret_access_key=KEYS[1],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, connect_timeout=2),
    )
    try:
        client.create_bucket(Bucket="study")
    except Exception:
        return False
    return True


@pytest.mark.timeout(240)
def test_a_link_that_is_cut_for_longer_than_a_lease(hosts: Network, tmp_path: Path) -> None:
    head = tmp_path / "head"
    head.mkdir()
    (head / "train.py").write_text(OBJECTIVE)
    sweep = {
        "study": {"name": "apart", "metric": {"name": "loss", "goal": "minimize"}},
        "objective": {"function": "train:train"},
        "code": {"path": "."},
        "parameters": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "sampler": {"type": "random", "seed": 1},
        "budget": {"max_trials": TRIALS, "max_iterations": ITERATIONS, "lease": LEASE_S},
    }
    (head / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    with servers(hosts, tmp_path) as env:
        store = Store(connect(env["REDIS_URL"], patience_s=10))
        start = (str(BIN / "controller"), "start", "sweep.yaml")
        worker = (str(BIN / "worker"), "--name")
        with (
            on_host(hosts, "one", *worker, "one", folder=tmp_path / "one", **env),
            on_host(hosts, "two", *worker, "two", folder=tmp_path / "two", **env),
            on_host(hosts, "head", *start, folder=head, **env) as controller,
        ):
            victim = wait_for(lambda: runs_on(store, "one"), "a trial on worker one")
            hosts.cut("one")
            cut_at = time.time()
            wait_for(
                lambda: store.tasks.get(victim.id).attempt == 2, "another attempt of what was cut off", 60
            )
            assert time.time() - cut_at > LEASE_S / 2  # its worker was heard of until then
            wait_for(lambda: store.tasks.get(victim.id).worker.startswith("two/"), "the second attempt", 60)
            hosts.heal("one")
            healed_at = time.time()
            wait_for(lambda: runs_on(store, "one", healed_at), "the healed worker at work again", 60)
            code = controller.wait(120)
        assert code == 0, (head / "log").read_text()
        check(store, victim, head, tmp_path, env)


def runs_on(store: Store, worker: str, since: float = 0.0) -> TaskRecord | None:
    """A task that the worker runs and has reported of, begun since a moment."""
    for record in store.tasks.get_many(store.studies.tasks("apart", Status.IN_PROGRESS)):
        runs = record and record.worker.startswith(f"{worker}/") and record.iterations > 5
        if record and runs and (record.started_at or 0.0) > since:
            return record
    return None


def check(store: Store, victim: TaskRecord, head: Path, folder: Path, env: dict[str, str]) -> None:
    """The invariants: each trial once, with all its iterations; budgets exact; the dead change nothing."""
    records = [record for record in store.tasks.get_many(store.studies.tasks("apart")) if record]
    assert [record.trial for record in records] == list(range(TRIALS))
    assert {(record.status, record.iterations) for record in records} == {(Status.COMPLETED, ITERATIONS)}
    assert {record.id: record.attempt for record in records if record.attempt > 1} == {victim.id: 2}
    assert store.tasks.get(victim.id).worker.startswith("two/")
    assert "attempt 1 is over" in (folder / "one" / "log").read_text()
    for status in Status:
        assert status in FINISHED or store.studies.tasks("apart", status) == []
    budget = store.studies.get("apart").budget
    assert (budget["jobs"]["used"], budget["iterations"]["used"]) == (TRIALS, TRIALS * ITERATIONS)
    trials = optuna.load_study(study_name="apart", storage=f"sqlite:///{head}/.optuna-rq/optuna.db").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * TRIALS
    for trial in trials:
        assert trial.value == pytest.approx(trial.params["x"] + 1 / ITERATIONS)
        assert sorted(trial.intermediate_values) == list(range(ITERATIONS))
    listed = run_json("controller", "artifacts", "list", cwd=head, **env)
    assert sorted(a["name"] for a in listed if a["task_id"]) == ["result"] * TRIALS
    for worker in ("one", "two"):
        said = (folder / worker / "log").read_text()
        assert "Traceback" not in said, said
        left = subprocess.run(["ls", "-A", str(folder / worker)], capture_output=True, text=True, check=True)
        assert left.stdout.split() == ["log"]  # the code came through the bucket, and went with the worker
