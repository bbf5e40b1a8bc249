"""Children of a program that has a task, however they were made: what they report, by hand and under a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Bench, environment, run, started, wait_for
from worker import Task
from worker.protocol import Status

FAMILY = '''
"""A program with children of all kinds; each child reports its name, and most store an artifact."""
import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import time

from worker import Logger, Task


def told(name, end=None):
    task = Task.init(project_name="P", task_name="family")
    assert task.id == os.environ["EXPECTED"], (task.id, os.environ["EXPECTED"])
    for step in range(3):
        Logger.current_logger().report_scalar("child", name, step, iteration=step)
    if end == "exit":
        os._exit(0)
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    task.upload_artifact(f"of {name}", {"name": name})
    assert task.get_last_scalar_metrics()["child"][name]["last"] == 2
    task.connect({"lr": 0.1, f"of {name}": 1})
    return name


def grandparent(method):
    context = multiprocessing.get_context(method)
    child = context.Process(target=told, args=(f"grandchild {method}",))
    child.start()
    child.join(30)
    assert child.exitcode == 0, child.exitcode


def main():
    task = Task.init(project_name="P", task_name="family")
    settings = task.connect({"lr": 0.1})
    family(task)
    task.report_scalar("loss", "", settings["lr"], 0)


def train(task):
    family(task)
    return 1.0


def family(task):
    os.environ["EXPECTED"] = task.id
    task.report_scalar("parent", "", 1.0, 0)
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        children = [context.Process(target=told, args=(f"{method} {i}",)) for i in range(2)]
        children.append(context.Process(target=told, args=(f"{method} exits", "exit")))
        children.append(context.Process(target=told, args=(f"{method} killed", "kill")))
        if method != "forkserver":
            children.append(context.Process(target=grandparent, args=(method,)))
        for child in children:
            child.start()
        for child in children:
            child.join(30)
        assert [child.exitcode for child in children][:4] == [0, 0, 0, -signal.SIGKILL], children
        assert all(child.exitcode == 0 for child in children[4:])
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            assert pool.map(told, [f"pool {method} {i}" for i in range(3)])
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            assert list(pool.map(told, [f"executor {method} {i}" for i in range(3)]))
    code = "import sys; sys.path.insert(0, sys.argv[1]); import family; family.told('started')"
    subprocess.run([sys.executable, "-c", code, os.path.dirname(__file__)], check=True, timeout=30)


if __name__ == "__main__":
    main()
'''

MADE = [
    *(f"{method} {i}" for method in ("fork", "spawn", "forkserver") for i in range(2)),
    *(f"grandchild {method}" for method in ("fork", "spawn")),
    *(
        f"{kind} {method} {i}"
        for kind in ("pool", "executor")
        for method in ("fork", "spawn")
        for i in range(3)
    ),
    "started",
]
CUT_SHORT = [f"{method} {end}" for method in ("fork", "spawn", "forkserver") for end in ("exits", "killed")]


@pytest.fixture
def at(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.delenv("ARTIFACT_STORE", raising=False)
    (tmp_path / "family.py").write_text(FAMILY)
    return tmp_path


def check(store: object, task: str) -> None:
    reports, artifacts = store.reports, store.artifacts  # type: ignore[attr-defined] # the store of a Bench or a Home
    scalars = reports.scalars([task])[0]
    for name in (*MADE, *CUT_SHORT):
        summary = scalars[f"child/{name}"]
        assert (summary.count, summary.last, summary.min) == (3, 2.0, 0.0), name
    assert scalars["parent"].count == 1
    assert set(artifacts.of_task(task)) == {f"of {name}" for name in MADE}


@pytest.mark.real_start
def test_by_hand(at: Path) -> None:
    done = run("python", "family.py", cwd=at, REDIS_URL=os.environ["REDIS_URL"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (task,) = Task.get_tasks(project_name="P")
    assert task.status == "completed"
    assert task.at is not None
    check(task.at.store, task.id)
    # The children's own parameters are there, and the parent's values stay.
    known = task.get_parameters(cast=True)
    assert known["General/lr"] == 0.1
    assert known["General/of spawn 1"] == known["General/of fork 0"] == 1


def test_under_a_worker(at: Path, redis_url: str) -> None:
    bench = Bench(redis_url, at)
    with started("worker", "--slots", "2", cwd=bench.folder, REDIS_URL=bench.url):
        ids = [
            bench.submit({"kind": "script", "path": "family.py", "args": []}, parameters={"General/lr": 0.5}),
            bench.submit("family:train"),
        ]
        for task in ids:
            ended = bench.ended(task)
            assert ended.status is Status.COMPLETED, (ended, bench.output(task))
            assert bench.output(task) == ""
            check(bench.store, task)
    assert bench.store.reports.scalars(ids)[0]["loss"].last == 0.5


OUTLIVING = """
import multiprocessing, os, sys, time
from worker import Logger, Task

def child(path):
    task = Task.current_task()
    Logger.current_logger().report_scalar("child", "before", 1, 0)
    open(path, "w").write("reported")
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.01)
    try:
        for step in range(100):
            Logger.current_logger().report_scalar("child", "after", 1, step)
        task.upload_artifact("late", {"a": 1})
    except BaseException as error:
        open(path, "w").write(f"{type(error).__name__}: {error}")
    os._exit(0)

if __name__ == "__main__":
    task = Task.init(project_name="P", task_name="outlived")
    context = multiprocessing.get_context(sys.argv[1])
    context.Process(target=child, args=("said",)).start()
    while not os.path.exists("said"):
        time.sleep(0.01)
    task.close()
    os._exit(0)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_that_outlives_its_parent(at: Path, method: str) -> None:
    (at / "outliving.py").write_text(OUTLIVING)
    subprocess.run(
        [sys.executable, "outliving.py", method], cwd=at, env=environment(REDIS_URL=os.environ["REDIS_URL"]),
        check=True, timeout=30,
    )  # fmt: skip
    wait_for(lambda: (at / "said").read_text().startswith("TaskStopped"), "the child's end")
    assert "the program that runs the task has ended" in (at / "said").read_text()
    (task,) = Task.get_tasks(project_name="P")
    assert task.status == "completed"
    assert list(task.get_last_scalar_metrics()["child"]) == ["before"]


STOPPED = """
import multiprocessing, time
from worker import Logger, Task

def child(name):
    for step in range(6000):
        Logger.current_logger().report_scalar("child", name, step, step)
        time.sleep(0.01)

if __name__ == "__main__":
    task = Task.init(project_name="P", task_name="stopped")
    children = [multiprocessing.get_context(m).Process(target=child, args=(m,)) for m in ("fork", "spawn")]
    for one in children:
        one.start()
    try:
        for step in range(6000):
            task.report_scalar("a", "b", step, step)
            time.sleep(0.01)
    finally:
        for one in children:
            one.join()
        print("children ended", [one.exitcode for one in children], flush=True)
"""


def test_a_stop_reaches_the_children(at: Path) -> None:
    (at / "stopped.py").write_text(STOPPED)
    process = subprocess.Popen(
        [sys.executable, "-u", "stopped.py"],
        cwd=at,
        env=environment(REDIS_URL=os.environ["REDIS_URL"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    (task,) = wait_for(lambda: Task.get_tasks(project_name="P"), "the task")
    wait_for(lambda: len(task.get_last_scalar_metrics().get("child", {})) == 2, "both children's reports")
    task.mark_stopped(status_message="enough")
    out, _ = process.communicate(timeout=30)
    assert process.returncode in (1, -signal.SIGTERM), out
    assert "children ended [1, 1]" in out
    assert (task.status, task.get_status_reason()) == ("stopped", "user: enough")


RANK = """
import os, sys, time
from worker import Logger, Task
task = Task.init(project_name="P", task_name="ranks")
rank = os.environ["LOCAL_RANK"]
Logger.current_logger().report_scalar("rank", rank, 1, 0)
open(f"done-{rank}", "w").close()
while rank == "0" and not os.path.exists("done-1"):
    time.sleep(0.01)
"""


def test_ranks_that_torchrun_starts(at: Path) -> None:
    (at / "rank.py").write_text(RANK)

    def start(rank: int) -> subprocess.Popen[bytes]:
        (at / "run" / "attempt_0" / str(rank)).mkdir(parents=True)
        env = environment(
            REDIS_URL=os.environ["REDIS_URL"],
            TORCHELASTIC_RUN_ID="1",
            TORCHELASTIC_ERROR_FILE=str(at / "run" / "attempt_0" / str(rank) / "error.json"),
            LOCAL_RANK=str(rank),
        )
        return subprocess.Popen([sys.executable, "rank.py"], cwd=at, env=env)

    processes = [start(rank) for rank in (1, 0)]
    assert [process.wait(60) for process in processes] == [0, 0]
    (task,) = Task.get_tasks(project_name="P")
    assert set(task.get_last_scalar_metrics()["rank"]) == {"0", "1"}


UNJOINED = """
import multiprocessing, time
from worker import Logger, Task

def child(name):
    time.sleep(0.5)
    Logger.current_logger().report_scalar("child", name, 1, 0)

if __name__ == "__main__":
    task = Task.init(project_name="P", task_name="unjoined")
    for method in ("fork", "spawn"):
        multiprocessing.get_context(method).Process(target=child, args=(method,)).start()
        multiprocessing.get_context(method).Process(target=time.sleep, args=(600,), daemon=True).start()
"""


def test_children_that_python_waits_for_are_waited_for(at: Path) -> None:
    (at / "unjoined.py").write_text(UNJOINED)
    done = subprocess.run(
        [sys.executable, "unjoined.py"], cwd=at, env=environment(REDIS_URL=os.environ["REDIS_URL"]),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (task,) = Task.get_tasks(project_name="P")
    assert (task.status, set(task.get_last_scalar_metrics()["child"])) == ("completed", {"fork", "spawn"})
