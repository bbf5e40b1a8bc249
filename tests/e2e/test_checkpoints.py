"""Checkpoints: an attempt that follows a lost one goes on where that one was."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.cli import folder_of
from tests.e2e.harness import Bench, run, started, wait_for
from worker.protocol import Status

OBJECTIVES = """
import json, os, time
from pathlib import Path
from worker import Task

def train(task, fail_at=6, epochs=10):
    said = Path("begins.txt")
    found = task.last_checkpoint()
    begin = 0
    if found is not None:
        assert json.loads(found.path.read_text())["epoch"] == found.iteration
        assert json.loads(open(found).read())
        begin = found.iteration + 1
    with said.open("a") as file:
        file.write(f"{task.attempt} {begin} {task.resumed_at}\\n")
    for epoch in range(begin, epochs):
        task.report_scalar("loss", "", 100 - epoch, epoch)
        task.report_scalar("other", "x", epoch, epoch)
        if epoch % 2 == 1:
            Path("state.json").write_text(json.dumps({"epoch": epoch}))
            task.save_checkpoint("state.json", iteration=epoch)
        if epoch == fail_at and task.attempt == 1:
            task.report_scalar("loss", "", -1000.0, epoch + 1)
            task.flush()
            time.sleep(60)
    return None

def on_stop(task):
    step = 0
    found = task.last_checkpoint()
    if found is not None:
        return found.iteration
    try:
        while True:
            task.report_scalar("loss", "", step, step)
            step += 1
            time.sleep(0.05)
    finally:
        Path("final.txt").write_text(str(step))
        task.save_checkpoint("final.txt", iteration=step)

def damaged(task):
    if task.attempt == 1:
        for step in (1, 2):
            Path("c.txt").write_text(str(step))
            task.save_checkpoint("c.txt", iteration=step)
        task.report_scalar("loss", "", 1.0, 0)
        task.flush()
        time.sleep(60)
    return task.last_checkpoint().iteration

def wrong(task):
    for bad in (lambda: task.save_checkpoint("nowhere.bin", iteration=1),
                lambda: task.save_checkpoint(__file__, iteration=-1),
                lambda: task.save_checkpoint(__file__, iteration=1.5),
                lambda: task.save_checkpoint(__file__, iteration=1, keep=0)):
        try:
            bad()
        except Exception as error:
            print(type(error).__name__, error)
    assert task.last_checkpoint() is None
    for step in range(5):
        task.save_checkpoint({"step": step}, iteration=step, keep=3)
    task.save_checkpoint({"step": "again"}, iteration=4, keep=3)
    assert task.last_checkpoint().iteration == 4
    return 0.0
"""

SCRIPT = """
import json, os, sys, time
from worker import Task
task = Task.init()
found = task.last_checkpoint()
begin = found.iteration + 1 if found else 0
for epoch in range(begin, 6):
    task.report_scalar("loss", "", epoch, epoch)
    task.save_checkpoint({"epoch": epoch}, iteration=epoch)
    if epoch == 3 and task.attempt == 1:
        os.kill(os.getppid(), 9)
        time.sleep(60)
"""


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Bench:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", OBJECTIVES)
    return bench


def lose(bench: Bench, task: str, pid: int) -> None:
    """Kill the worker with everything it has started, and give the task to another attempt."""
    os.killpg(pid, signal.SIGKILL)
    wait_for(lambda: not bench.store.tasks.leases([task])[0], "the lease to run out")
    record = bench.store.transitions.requeue(task, 1, reason="lost")
    bench.enqueue(task, record.attempt)


def test_nothing_is_counted_twice(bench: Bench) -> None:
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url) as worker:
        task = bench.submit("obj:train")
        # Epochs 0 to 6, and one that is reported and lost.
        bench.reported(task, 8)
        lose(bench, task, worker.pid)
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        ended = bench.ended(task)
    assert ended.status is Status.COMPLETED, ended
    assert (bench.folder / "begins.txt").read_text().splitlines() == ["1 0 None", "2 6 5"]
    assert ended.iterations == 10
    scalars = bench.store.reports.scalars([task])[0]
    assert scalars["loss"].count == 10
    assert (scalars["loss"].min, scalars["loss"].max, scalars["loss"].last) == (91.0, 100.0, 91.0)
    assert scalars["other/x"].count == 10
    series = bench.store.reports.series(task)
    assert [i for i, _, _ in series["loss"]] == list(range(10))
    kept = [name for name in bench.store.artifacts.of_task(task) if name.startswith("checkpoint/")]
    assert sorted(kept) == ["checkpoint/7", "checkpoint/9"]
    # Bytes of the others are gone.
    assert len([path for path in (bench.folder / "artifacts").rglob("*") if path.is_file()]) == 2
    assert bench.store.ranking.best("bench", 1) == [task]


def test_a_worker_that_shuts_down_hands_back_with_a_checkpoint(bench: Bench) -> None:
    with started("worker", "--drain", "0.1", cwd=bench.folder, REDIS_URL=bench.url) as worker:
        task = bench.submit("obj:on_stop")
        bench.reported(task, 3)
        worker.terminate()
        worker.wait(30)
    saved = int((bench.folder / "final.txt").read_text())
    record = bench.store.tasks.get(task)
    assert (record.status, record.attempt) == (Status.QUEUED, 2)
    bench.enqueue(task, 2)
    assert run("worker", "--burst", cwd=bench.folder, REDIS_URL=bench.url).returncode == 0
    ended = bench.ended(task)
    assert ended.status is Status.COMPLETED
    assert bench.store.reports.scalars([task])[0]["loss"].last == saved
    assert ended.iterations == saved


def test_a_damaged_checkpoint_is_passed_over(bench: Bench) -> None:
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url) as worker:
        task = bench.submit("obj:damaged")
        bench.reported(task, 1)
        lose(bench, task, worker.pid)
    newest = bench.store.reports.checkpoints(task)[-1]
    assert newest.iteration == 2
    for path in (bench.folder / "artifacts").rglob("*"):
        if path.is_file() and path.read_text() == "2":
            path.write_text("X")
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        assert bench.ended(task).status is Status.COMPLETED
    assert bench.store.reports.scalars([task])[0]["loss"].last == 1.0
    assert "checkpoint checkpoint/2 is passed over" in bench.output(task)


def test_a_script(bench: Bench) -> None:
    bench.module("train.py", SCRIPT)
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        task = bench.submit({"kind": "script", "path": "train.py", "args": []})
        bench.reported(task, 4)
        wait_for(lambda: not bench.store.tasks.leases([task])[0], "the lease to run out")
        bench.enqueue(task, bench.store.transitions.requeue(task, 1, reason="lost").attempt)
        ended = bench.ended(task)
    assert (ended.status, ended.iterations) == (Status.COMPLETED, 6)
    assert bench.store.reports.scalars([task])[0]["loss"].count == 6


def test_mistakes_and_how_many_are_kept(bench: Bench) -> None:
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        task = bench.submit("obj:wrong")
        ended = bench.ended(task)
    output = bench.output(task)
    assert ended.status is Status.COMPLETED, (ended, output)
    lines = output.splitlines()
    assert lines[0].startswith("ArtifactError artifact 'checkpoint/1': no such file")
    assert lines[1:4] == [
        "ValueError save_checkpoint: iteration -1 must be a whole number from 0",
        "ValueError save_checkpoint: iteration 1.5 must be a whole number from 0",
        "ValueError save_checkpoint: keep=0 must be at least 1",
    ]
    assert [point.iteration for point in bench.store.reports.checkpoints(task)] == [2, 3, 4]
    assert len([path for path in (bench.folder / "artifacts").rglob("*") if path.is_file()]) == 3


def test_a_program_run_by_hand(bench: Bench) -> None:
    (bench.folder / "by_hand.py").write_text(
        "from worker import Task\n"
        "task = Task.init('p', 'n')\n"
        "task.report_scalar('loss', '', 1.0, 0)\n"
        "task.save_checkpoint({'a': 1}, iteration=0)\n"
        "print(task.last_checkpoint().iteration, Task.get_task(task.id).last_checkpoint().iteration)\n"
        "task.close()\n"
        "other = Task.get_task(task.id)\n"
        "print(other.last_checkpoint().path.read_text())\n"
    )
    done = run("python", "by_hand.py", cwd=bench.folder, REDIS_URL=bench.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "0 0"
    assert '"a": 1' in done.stdout


LOST = """
import os, psutil, time
from pathlib import Path
import optuna
from worker import Task

def die(task, number):
    mark = Path(f"died-{number}")
    if not mark.exists():
        mark.touch()
        task.flush()
        time.sleep(0.3)
        os.kill(next(p for p in psutil.Process().parents() if os.getsid(p.pid) == p.pid).ppid(), 9)  # the slot: its worker is lost
        time.sleep(60)

def train(task, x):
    found = task.last_checkpoint()
    for epoch in range(found.iteration + 1 if found else 0, 10):
        task.report_scalar("loss", "", x + 10 - epoch, epoch)
        if epoch % 3 == 0:
            task.save_checkpoint({"epoch": epoch}, iteration=epoch)
        if epoch == 5:
            die(task, task.trial_number)

def objective(trial):
    task = Task.current_task()
    x = trial.suggest_float("x", 0, 1)
    found = task.last_checkpoint()
    for epoch in range(found.iteration + 1 if found else 0, 10):
        trial.report(x + 10 - epoch, epoch)
        if epoch % 3 == 0:
            task.save_checkpoint({"epoch": epoch}, iteration=epoch)
        if epoch == 5:
            die(task, trial.number)
    return x
"""


@pytest.mark.parametrize("kind", ["function", "optuna"])
def test_a_study_whose_workers_are_lost_keeps_its_budget_exact(tmp_path: Path, kind: str) -> None:
    with folder_of(tmp_path, LOST) as cli:
        sweep = cli.sweep(
            objective={kind: f"obj:{'train' if kind == 'function' else 'objective'}"},
            budget={"max_trials": 3, "max_iterations": 10, "lease": 2},
        )
        done = cli.start(sweep)
        assert done.returncode == 0, done.stderr + done.stdout
        rows = cli.json("tasks")
        assert [(row["status"], row["attempt"]) for row in rows] == [("completed", 2)] * 3
        for row in rows:
            shown = cli.json("show", row["task_id"])
            assert shown["iterations"] == 10
            assert shown["metrics"]["loss"]["max_value"] > 10  # of epoch 0, before the first checkpoint
        used = cli.json("status")["budget"]["iterations"]
        assert (used["used"], used["limit"]) == (30, 30)
        for trial in cli.trials():
            assert sorted(trial.intermediate_values) == list(range(10))


def test_an_optuna_objective_on_a_journal_file(tmp_path: Path) -> None:
    with folder_of(tmp_path, LOST) as cli:
        (tmp_path / "died-0").touch()
        (tmp_path / "died-1").touch()
        storage = f"journal://{tmp_path}/journal.log"
        sweep = cli.sweep(objective={"optuna": "obj:objective"}, parameters={}, budget={"max_trials": 2})
        done = cli.start(sweep, OPTUNA_STORAGE=storage)
        assert done.returncode == 0, done.stderr + done.stdout
        rows = cli.json("artifacts", "list")
        assert len(rows) == 4
        assert "not shown" not in cli("artifacts", "list", OPTUNA_STORAGE=storage).stderr
