"""Machines that fail their trials: full disks, no descriptors, a store that is away. No trial is lost by it."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.disks import fill, small_disk
from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import Bench, started, wait_for
from tests.redisserver import RedisServer
from worker.protocol import Reason, Status, Store
from worker.protocol.connection import connect
from worker.trials.storage import open_storage

pytestmark = pytest.mark.slow
"""File systems of their own, that fill up: they need root."""

OBJECTIVES = """
import os, subprocess, sys, time
from pathlib import Path

def writes(task, x):
    while "GATE" in os.environ and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.02)
    with open(Path(os.environ["DATA"]) / f"{os.environ['NODE']}-{task.id}", "wb") as file:
        file.write(bytes(20_000))
    os.remove(file.name)
    time.sleep(0.1)
    return x

def uploads(task, x):
    task.upload_artifact("model", {"x": x})
    return x

def uploads_by_optuna(task, x):
    import optuna
    from worker import artifact_store
    optuna.artifacts.upload_artifact(
        artifact_store=artifact_store(), file_path=__file__, study_or_trial=optuna.create_study(),
    )
    return x

def opens(task):
    kept = []
    while True:
        kept.append(open("/dev/null"))

def needs_a_gpu(task):
    raise RuntimeError("No CUDA GPUs are available")
"""
SCRIPT = """
import os, sys, time
from worker import Task
task = Task.init()
while "GATE" in os.environ and not os.path.exists(os.environ["GATE"]):
    time.sleep(0.02)
x = task.connect({"x": 0.0})["x"]
with open(os.environ["DATA"] + "/model", "wb", buffering=0) as file:
    file.write(bytes(20_000))
os.remove(file.name)
task.report_scalar("loss", "", x, 0)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        (tmp_path / "train.py").write_text(SCRIPT)
        yield found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


class Study:
    """A study whose controller runs, and what it says."""

    def __init__(self, cli: Cli, process: Any, log: Path, url: str) -> None:
        self.cli = cli
        self.process = process
        self._log = log
        self._url = url

    def said(self, text: str, count: int = 1) -> None:
        try:
            wait_for(lambda: self._log.read_text().count(text) >= count, repr(text))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._log.read_text()}") from None

    def status(self) -> Any:
        return self.cli.json("status", REDIS_URL=self._url)

    def paused(self) -> Any:
        """The status of the study once that is shown as paused: the note comes a moment before."""
        return wait_for(lambda: found if (found := self.status())["state"] == "paused" else None, "the pause")

    def ends_without_a_loss(self, trials: int) -> str:
        assert self.process.wait(120) == 0, self._log.read_text()
        rows = self.cli.json("tasks", REDIS_URL=self._url)
        assert [row["status"] for row in rows] == ["completed"] * trials, rows
        assert [trial.state.name for trial in self.cli.trials()] == ["COMPLETE"] * trials
        assert self.status()["budget"]["failures"]["used"] == 0
        text = self._log.read_text()
        assert "Traceback" not in text, text
        return text


@contextmanager
def studied(cli: Cli, url: str, trials: int, **objective: Any) -> Iterator[Study]:
    file = cli.sweep(objective=objective, budget={"max_trials": trials, "max_failures": 2})
    log = cli.folder / "controller.log"
    with started("controller", "start", file, cwd=cli.folder, log=log, REDIS_URL=url) as process:
        yield Study(cli, process, log, url)


@pytest.mark.parametrize(
    "objective", [{"function": "obj:writes"}, {"script": "train.py"}], ids=["function", "script"]
)
def test_one_node_of_two_has_a_full_disk(cli: Cli, redis_url: str, disk: Path, objective: Any) -> None:
    fill(disk)
    room = cli.folder / "room"
    room.mkdir()
    gate = cli.folder / "gate"  # The worker that is well does nothing until the other one has had a trial.
    env = {"REDIS_URL": redis_url}
    with (
        started("worker", "--name", "full", cwd=cli.folder, NODE="full", DATA=str(disk), **env),
        started(
            "worker", "--name", "well", cwd=cli.folder, NODE="well", DATA=str(room), GATE=str(gate), **env
        ),
        studied(cli, redis_url, 20, **objective) as study,
    ):
        study.said("worker full takes no jobs until this is mended: disk_full: ")
        gate.touch()
        shown = {row["worker"]: row for row in study.status()["workers"]}
        assert shown["full"]["state"].startswith("paused")
        assert shown["full"]["reason"].startswith("disk_full: ")
        assert "No space left on device" in shown["full"]["reason"]
        text = study.ends_without_a_loss(20)
    assert "paused: " not in text


def test_the_only_node_is_full_for_a_while(cli: Cli, redis_url: str, disk: Path) -> None:
    env = {"REDIS_URL": redis_url, "DATA": str(disk), "NODE": "n"}
    with (
        started("worker", "--name", "n", "--slots", "4", cwd=cli.folder, **env),
        studied(cli, redis_url, 40, function="obj:writes") as study,
    ):
        study.said(" completed ", 3)
        filler = fill(disk)
        study.said("paused: no worker can run anything: disk_full: ")
        status = study.paused()
        assert f"({disk}/n-" in status["reason"]
        assert status["reason"].endswith("Mend it; the study goes on by itself")
        time.sleep(10.0)  # longer than three attempts would have lasted
        filler.unlink()
        study.said("resumed: a worker takes jobs again")
        study.ends_without_a_loss(40)


def waiting_in(store: Store) -> str:
    """The id of a task that waits for its artifact store; empty for none."""
    running = store.studies.tasks("s", Status.IN_PROGRESS)
    said = ((task, store.logs.read(task)[0]) for task in running)
    return next((task for task, text in said if "trying again for up to 300 s" in text), "")


def test_the_artifact_folder_is_full_for_a_while(cli: Cli, redis_url: str, disk: Path) -> None:
    env = {"REDIS_URL": redis_url, "ARTIFACT_STORE": f"file://{disk}/store"}
    log = cli.folder / "controller.log"
    file = cli.sweep(objective={"function": "obj:uploads"}, budget={"max_trials": 30, "max_failures": 2})
    with (
        started("worker", "--slots", "2", cwd=cli.folder, **env),
        started("controller", "start", file, cwd=cli.folder, log=log, **env) as process,
    ):
        study = Study(cli, process, log, redis_url)
        study.said(" completed ", 3)
        filler = fill(disk)
        store = Store(connect(redis_url))
        waiting = wait_for(lambda: waiting_in(store), "a trial that waits")
        study.said("paused: no worker can run anything: disk_full: ")
        study.paused()
        time.sleep(4.0)  # longer than a lease
        filler.unlink()
        study.said("resumed: a worker takes jobs again")
        study.ends_without_a_loss(30)
    assert store.tasks.get(waiting).attempt == 1
    assert "model" in store.artifacts.of_task(waiting)


def test_redis_disk_is_full_for_a_while(cli: Cli, disk: Path) -> None:
    """Of an append-only file: Redis refuses each write until there is room again."""
    with RedisServer(appendonly=True, directory=disk) as server:
        log = cli.folder / "worker.log"
        with (
            started("worker", "--slots", "2", cwd=cli.folder, log=log, REDIS_URL=server.url()),
            studied(cli, server.url(), 12, function="obj:uploads") as study,
        ):
            study.said(" completed ", 2)
            filler = fill(disk)
            study.said("Redis takes no writes: it can't save to its disk")
            time.sleep(6.0)
            filler.unlink()
            study.said("Redis is back")
            study.ends_without_a_loss(12)
    text = log.read_text()
    assert "Traceback" not in text, text
    assert "refused" not in text, text


@pytest.mark.parametrize(("objective", "storage"), [("uploads", ""), ("writes", "journal")])
def test_one_machine_with_everything_on_one_full_disk(tmp_path: Path, objective: str, storage: str) -> None:
    """Redis, the storage (SQLite, or a journal), the artifacts and what programs write."""
    (tmp_path / "disk").mkdir()
    log = tmp_path / "log"
    with small_disk(tmp_path / "disk", "24m") as disk, folder_of(disk, OBJECTIVES) as cli:
        file = cli.sweep(
            objective={"function": f"obj:{objective}"}, budget={"max_trials": 40, "max_failures": 2}
        )
        own = {"DATA": str(disk), "NODE": "n"}
        if storage:
            own["OPTUNA_STORAGE"] = f"journal://{disk}/study.log"
        with started("controller", "start", file, "--workers", "2", cwd=disk, log=log, **own) as process:
            wait_for(lambda: log.read_text().count(" completed ") >= 3, "some trials")
            filler = fill(disk)
            time.sleep(6.0)
            filler.unlink()
            assert process.wait(120) == 0, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
        assert [row["status"] for row in cli.json("tasks")] == ["completed"] * 40
        url = own.get("OPTUNA_STORAGE") or f"sqlite:///{disk}/.optuna-rq/optuna.db"
        study = optuna.load_study(study_name="s", storage=open_storage(url))
        lost = [trial for trial in study.trials if trial.state.name != "COMPLETE"]
        assert (lost, len(study.trials)) == ([], 40), log.read_text()


# The worker alone


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Bench:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", OBJECTIVES)
    return bench


def test_an_upload_by_optunas_own_function_waits_as_well(bench: Bench, disk: Path) -> None:
    filler = fill(disk)
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        task = bench.submit("obj:uploads_by_optuna", parameters={"x": 1.0}, artifacts=f"file://{disk}/store")
        wait_for(lambda: "trying again for up to 300 s" in bench.output(task), "its waiting")
        filler.unlink()
        ended = bench.ended(task)
    assert (ended.status, ended.attempt) == (Status.COMPLETED, 1), ended
    assert [path for path in (disk / "store").rglob("*") if path.is_file()]


def test_descriptors_that_a_program_has_used_up_itself(bench: Bench) -> None:
    """They are there again without it: the attempt counts, and the last one ends as what it was."""
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        task = bench.submit("obj:opens", max_attempts=1)
        ended = bench.ended(task)
    assert (ended.status, ended.reason_class) == (Status.FAILED, Reason.MACHINE_FAULT)
    assert "Too many open files" in ended.reason


def test_a_worker_without_descriptors(bench: Bench) -> None:
    log = bench.folder / "worker.log"
    with started("worker", cwd=bench.folder, log=log, REDIS_URL=bench.url) as worker:
        wait_for(lambda: bench.store.workers.list("default"), "the worker")
        (slot,) = wait_for(lambda: slots_of(worker.pid), "its slot")
        # Its first task has it open what it needs for good.
        assert bench.ended(bench.submit({"kind": "command", "argv": ["echo", "loss=1"]}))
        used = max(int(path.name) for path in (Path("/proc") / str(slot) / "fd").iterdir())
        before = resource.prlimit(slot, resource.RLIMIT_NOFILE)
        resource.prlimit(slot, resource.RLIMIT_NOFILE, (used + 1, before[1]))
        task = bench.submit({"kind": "command", "argv": ["echo", "loss=1"]})
        wait_for(lambda: bench.store.tasks.get(task).attempt == 2, "another attempt to be due")
        (shown,) = bench.store.workers.list("default")
        assert shown["fault"] == "machine_fault"
        assert "Too many open files" in shown["paused"]
        assert "ulimit -n" in shown["paused"]
        assert bench.store.tasks.get(task).spent_attempts == 1
        resource.prlimit(slot, resource.RLIMIT_NOFILE, before)
        bench.enqueue(task, 2)
        assert bench.ended(task).status is Status.COMPLETED


def slots_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_a_node_without_a_gpu(bench: Bench) -> None:
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url, PATH="/usr/bin:/bin"):
        task = bench.submit("obj:needs_a_gpu")
        wait_for(lambda: bench.store.tasks.get(task).attempt == 2, "another attempt to be due")
        (shown,) = bench.store.workers.list("default")
    assert shown["paused"].startswith("machine_fault: RuntimeError: No CUDA GPUs are available; see to the")
