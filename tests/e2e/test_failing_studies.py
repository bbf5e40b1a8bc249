"""Budgets of studies, above all of those that fail: they end, say what to mend, and go on once it is mended."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller import DiscreteParameterRange, GridSearch, OptimizerOptuna, RandomSearch
from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from tests.e2e.optimizing import optimizer, workplace

OBJECTIVES = """
import time
from pathlib import Path

def report(task, x, count):
    for i in range(count):
        task.report_scalar("loss", "", x + i, i)

def at_once(task, x):
    raise ValueError(f"no {x}")

def later(task, x):
    report(task, x, 3)
    raise ValueError(f"no {x}")

def nan(task, x):
    return float("nan")

def mixed(task, x):
    number = task.trial_number % 4
    if number == 0:
        raise ValueError("at once")
    report(task, x, 3)
    if number == 1:
        raise ValueError("later")
    if number == 2:
        return None
    return float("nan")

def each_fifth(task, x):
    for i in range(0, 100, 5):
        task.report_scalar("loss", "", x + i, i)
        time.sleep(0.01)

def until_mended(task, x):
    if not Path("mended").exists():
        raise ValueError(f"no {x}")
    report(task, x, 2)

def waits(task, x):
    if not Path("mended").exists():
        raise ValueError(f"no {x}")
    while not Path("go").exists():
        time.sleep(0.02)
    report(task, x, 2)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def sweep(cli: Cli, function: str, **budget: Any) -> str:
    return cli.sweep(objective={"function": f"obj:{function}"}, budget=budget)


def rows(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli.json("tasks")
    return found


@pytest.mark.parametrize("function", ["at_once", "later", "nan"])
def test_a_budget_ends_also_when_everything_fails(cli: Cli, function: str) -> None:
    done = cli.start(sweep(cli, function, max_trials=4, max_iterations=10))
    assert done.returncode == 1, done.stderr
    assert [row["status"] for row in rows(cli)] == ["failed"] * 4
    assert "4 trials failed, as many as may run in all" in done.stdout
    assert "start <the same sweep file> --retry-failed" in done.stdout


def test_savings_buy_further_trials_for_those_that_ran(cli: Cli) -> None:
    done = cli.start(sweep(cli, "mixed", max_trials=4, max_iterations=10, max_concurrent=1), workers=1)
    assert done.returncode == 0, done.stderr
    budget = cli.json("status", "s")["budget"]
    by_trial = {row["trial"]: row["status"] for row in rows(cli)}
    # 10 for the one that failed at once; 3 each for the others, until fewer than 10 are left or 4 have failed.
    assert by_trial == {0: "failed", 1: "failed", 2: "completed", 3: "failed", 4: "failed"}
    assert budget["iterations"]["used"] == 10 + 3 + 3 + 3 + 10
    assert budget["failures"]["used"] == 4


def test_the_number_of_an_iteration_counts_as_well(cli: Cli) -> None:
    done = cli.start(sweep(cli, "each_fifth", max_trials=3, max_iterations=12))
    assert done.returncode == 0, done.stderr
    for row in rows(cli):
        task = cli.json("show", row["task_id"])
        assert (task["status"], task["reason_class"]) == ("stopped", "iteration_limit")
        assert task["reason"] == "reached its limit of 12 iterations: it reported iteration 15"
        assert task["iterations"] == 3
    # 10 of 12 each: what is left is no share.
    assert cli.json("status", "s")["budget"]["iterations"]["used"] == 30
    assert [list(trial.intermediate_values) for trial in cli.trials()] == [[0, 5, 10]] * 3


def test_a_bug_that_was_mended_is_run_again(cli: Cli) -> None:
    file = sweep(cli, "until_mended", max_trials=3, max_failures=3, max_iterations=2)
    assert cli.start(file).returncode == 1
    (cli.folder / "mended").touch()
    said = cli.start(file)
    assert said.returncode == 1
    assert re.search(
        r"3 trials have failed: 3 × objective_error: ValueError: no \S+ \(trials 0, 1, 2\); mend the cause, "
        r"and --retry-failed runs them again",
        said.stdout,
    )
    again = cli.start(file, "--retry-failed")
    assert again.returncode == 0, again.stdout
    assert "running them again" in again.stdout
    after = [row for row in rows(cli) if row["trial"] > 2]
    assert [row["status"] for row in after] == ["completed"] * 3
    assert [trial.params for trial in cli.trials()[3:]] == [trial.params for trial in cli.trials()[:3]]
    twice = cli.start(file, "--retry-failed")
    assert (twice.returncode, len(rows(cli))) == (0, 6)
    assert "there is no failed trial to run again" in twice.stdout
    refused = cli.start(file, "--retry-failed", "--no-resume")
    assert refused.returncode == 2
    assert "--retry-failed: what --no-resume begins has no failed trials" in refused.stderr


def test_a_retry_that_is_killed_midway_retries_each_once(cli: Cli) -> None:
    file = sweep(cli, "waits", max_trials=4)
    assert cli.start(file).returncode == 1
    (cli.folder / "mended").touch()
    command = ("controller", "start", file, "--workers", "2", "--retry-failed")
    with started(*command, cwd=cli.folder) as process:
        wait_for(lambda: any(row["status"] == "in_progress" for row in rows(cli)), "a retry")
        os.kill(process.pid, signal.SIGKILL)
    (cli.folder / "go").touch()
    done = cli.start(file, "--retry-failed")
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(cli)
    assert [row["status"] for row in found] == ["failed"] * 4 + ["completed"] * 4
    assert [trial.params for trial in cli.trials()[4:]] == [trial.params for trial in cli.trials()[:4]]


def test_the_first_that_fail_alike_end_a_study_and_it_goes_on_when_mended(cli: Cli) -> None:
    file = sweep(cli, "until_mended", max_trials=20, max_concurrent=1)
    done = cli.start(file, workers=1)
    assert done.returncode == 1
    assert [row["status"] for row in rows(cli)] == ["failed"] * 10
    assert "its first 10 trials have all failed alike, objective_error: ValueError: no " in done.stdout
    assert "mend the objective, then start again with --retry-failed" in done.stdout
    # Not mended yet: it is judged by what follows.
    assert (
        cli.start(
            sweep(cli, "until_mended", max_trials=20, max_concurrent=1, first_failures=2), workers=1
        ).returncode
        == 1
    )
    assert [row["status"] for row in rows(cli)] == ["failed"] * 12
    (cli.folder / "mended").touch()
    done = cli.start(file, workers=1)
    assert done.returncode == 0, done.stdout
    assert [row["status"] for row in rows(cli)] == ["failed"] * 12 + ["completed"] * 8
    done = cli.start(file, "--retry-failed", workers=1)
    assert done.returncode == 0, done.stdout
    assert [row["status"] for row in rows(cli)] == ["failed"] * 12 + ["completed"] * 20


def test_zero_lets_all_fail(cli: Cli) -> None:
    assert cli.start(sweep(cli, "at_once", max_trials=12, first_failures=0)).returncode == 1
    assert len(rows(cli)) == 12


@pytest.mark.parametrize("cls", [OptimizerOptuna, RandomSearch, GridSearch])
def test_a_program_s_optimizer(
    cls: Any, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workplace(tmp_path, redis_url, monkeypatch):
        options: dict[str, Any] = {
            "cls": cls,
            "study": "s",
            "hyper_parameters": [DiscreteParameterRange("General/x", [number / 20 for number in range(20)])],
            "total_max_jobs": 12,
            "max_iteration_per_job": 5,
            "num_concurrent_workers": 1,
        }
        if cls is OptimizerOptuna:
            options["study_name"] = options.pop("study")
        first = optimizer("fails", **options)
        first.start()
        assert first.state == "failed"
        assert "its first 10 trials have all failed alike" in first.reason
        ids = list(first.get_created_jobs_ids())
        assert len(ids) == 10
        (tmp_path / "obj.py").write_text(
            (tmp_path / "obj.py").read_text().replace("raise ValueError", "return x; ")
        )
        second = optimizer("fails", base_task_id=first._base_task_id, retry_failed=True, **options)
        second.start()
        assert second.state == "completed"
        assert len(second.get_created_jobs_ids()) == 22
        assert second.budget.jobs.used == 12
        assert second.budget.failures.used == 0
        ended = second.get_created_jobs_tasks()
        assert [ended[task_id].is_failed() for task_id in ids] == [True] * 10
        tried = [job.parameters["General/x"] for job in ended.values()]
        assert len(set(tried)) == 12
