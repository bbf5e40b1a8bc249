"""Programs that fork: what their children report and save."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.harness import Bench, started
from worker.protocol import Status

OBJECTIVE = """
import multiprocessing
from worker import Task

def child(number):
    task = Task.current_task()
    for step in range(50):
        task.report_scalar("child", str(number), step, step)
    task.upload_artifact(f"from child {number}", {"number": number})

def train(task):
    task.report_scalar("parent", "", 1.0, 0)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(number,)) for number in range(3)]
    for process in children:
        process.start()
    for process in children:
        process.join(30)
        assert process.exitcode == 0, process.exitcode
    task.upload_artifact("from parent", {"a": 1})
    return 2.0

if __name__ == "__main__":
    task = Task.init()
    task.report_scalar("loss", "", train(task), 0)
"""


def check(bench: Bench, task: str) -> None:
    ended = bench.ended(task)
    assert ended.status is Status.COMPLETED, (ended, bench.output(task))
    scalars = bench.store.reports.scalars([task])[0]
    for number in range(3):
        assert scalars[f"child/{number}"].count == 50
        assert scalars[f"child/{number}"].last == 49.0
    assert scalars["parent"].count == 1
    assert set(bench.store.artifacts.of_task(task)) == {"from parent", *(f"from child {n}" for n in range(3))}


def test_a_function_that_forks(redis_url: str, tmp_path: Path) -> None:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", OBJECTIVE)
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        check(bench, bench.submit("obj:train"))


def test_a_script_that_forks(redis_url: str, tmp_path: Path) -> None:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", OBJECTIVE)
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        check(bench, bench.submit({"kind": "script", "path": "obj.py", "args": []}))
