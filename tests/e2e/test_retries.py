"""What is tried again, how often, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller import Objective, SearchStrategy
from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import Bench, started, wait_for
from worker.protocol import Status
from worker.protocol.errors import BadInput

OBJECTIVES = """
import os, psutil, time
from pathlib import Path

def once(task, x):
    if task.attempt == 1:
        raise ValueError("the data was not there")
    return x

def always(task, x):
    raise ValueError("no such luck")

def poison(task, x):
    if task.trial_number == 1:
        os.kill(next(p for p in psutil.Process().parents() if os.getsid(p.pid) == p.pid).ppid(), 9)  # the slot: its worker is lost
        time.sleep(60)
    return x

def waits(task):
    while not Path("go").exists():
        time.sleep(0.02)
    return 1.0
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def rows_of(cli: Cli, name: str, **budget: object) -> list[dict[str, object]]:
    done = cli.start(cli.sweep(objective={"function": f"obj:{name}"}, budget={"max_trials": 3, **budget}))
    assert done.returncode in (0, 1), done.stderr
    rows: list[dict[str, object]] = cli.json("tasks")
    return rows


def test_failures_that_are_opted_in(cli: Cli) -> None:
    rows = rows_of(cli, "once", retry_on=["objective_error"])
    assert [(row["status"], row["attempt"]) for row in rows] == [("completed", 2)] * 3
    assert [row["reason"] for row in rows] == [""] * 3
    assert len(cli.trials()) == 3


def test_not_more_often_than_allowed(cli: Cli) -> None:
    rows = rows_of(cli, "always", retry_on=["objective_error", "out_of_memory"], max_attempts=2)
    assert [(row["status"], row["attempt"]) for row in rows] == [("failed", 2)] * 3
    assert {row["reason"] for row in rows} == {"objective_error: ValueError: no such luck"}


def test_other_failures_are_not_tried_again(cli: Cli) -> None:
    rows = rows_of(cli, "once", retry_on=["out_of_memory"])
    assert [(row["status"], row["attempt"]) for row in rows] == [("failed", 1)] * 3


def test_a_configuration_that_kills_its_worker_every_time(cli: Cli) -> None:
    rows = rows_of(cli, "poison", lease="1s", max_attempts=2)
    assert [row["status"] for row in rows] == ["completed", "failed", "completed"]
    assert str(rows[1]["reason"]).startswith("worker_lost: ")
    assert "2 attempts of 2 were lost" in str(rows[1]["reason"])


def test_what_a_worker_hands_back_does_not_count(redis_url: str, tmp_path: Path) -> None:
    bench = Bench(redis_url, tmp_path)
    bench.module("obj.py", OBJECTIVES)
    task = bench.submit("obj:waits", max_attempts=2)
    for attempt in range(1, 5):
        with started("worker", "--drain", "0", cwd=bench.folder, REDIS_URL=bench.url) as worker:
            bench.running(task)
            worker.terminate()
            worker.wait(30)
        record = bench.store.tasks.get(task)
        assert (record.status, record.attempt, record.spent_attempts) == (Status.QUEUED, attempt + 1, 1)
        bench.enqueue(task, attempt + 1)
    (tmp_path / "go").touch()
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        wait_for(lambda: bench.store.tasks.get(task).status.is_finished, "the end")
    assert bench.store.tasks.get(task).status is Status.COMPLETED


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"retry_on": ["objektive_error"]}, "budget.retry_on"),
        ({"retry_on": "objective_error"}, "budget.retry_on"),
        ({"max_attempts": 0}, "budget.max_attempts"),
        ({"lease": 0.1}, "budget.lease"),
    ],
)
def test_mistakes_in_the_sweep_file(cli: Cli, budget: dict[str, object], message: str) -> None:
    done = cli.start(cli.sweep(budget={"max_trials": 1, **budget}))
    assert done.returncode == 2
    assert message in done.stderr


def test_mistakes_in_python() -> None:
    for wrong in (["nothing"], "objective_error", ["pruned"]):
        with pytest.raises(BadInput, match="retry_on: a list of"):
            SearchStrategy("0" * 32, [], Objective("a", "b"), retry_on=wrong)


def test_what_a_program_adds_is_no_argument_of_its_next_attempt(redis_url: str, tmp_path: Path) -> None:
    bench = Bench(redis_url, tmp_path)
    bench.module(
        "connects.py",
        "from pathlib import Path\n"
        "def train(task, x):\n"
        "    task.connect({'extra': 3})\n"
        "    if not Path('again').exists():\n"
        "        Path('again').touch()\n"
        "        raise ValueError('once')\n"
        "    return x\n",
    )
    task = bench.submit("connects:train", parameters={"x": 1.5}, retry_on=("objective_error",))
    with started("worker", cwd=bench.folder, REDIS_URL=bench.url):
        wait_for(lambda: bench.store.tasks.get(task).attempt == 2, "another attempt")
        bench.enqueue(task, 2)
        record = bench.ended(task)
    assert (record.status, record.reason) == (Status.COMPLETED, "")
    assert "extra" in str(record.spec.parameters)
