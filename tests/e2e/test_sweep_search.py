"""What a sweep file says of the search: known configurations, constraints, older studies, several objectives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from controller.commands.settings import resolve
from tests.e2e.cli import Cli, folder_of

OBJECTIVES = """
def quick(task, x, k=1):
    task.report_scalar("memory", "peak", 10.0 * k, 0)
    return x * x + k

def two(task, x, k=1):
    return {"cost": x, "error": (1 - x) ** 2 + (k - 1)}
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        yield cli


PARAMETERS = {
    "x": {"type": "float", "low": -1.0, "high": 1.0},
    "k": {"type": "int", "low": 1, "high": 3},
}


def test_known_configurations_are_run_first_and_once(cli: Cli) -> None:
    file = cli.sweep(
        parameters=PARAMETERS,
        budget={"max_trials": 4, "max_concurrent": 1},
        **{"try": [{"x": 0.5, "k": 2}, {"k": 3}]},
    )
    assert cli.start(file).returncode == 0
    rows = {row["trial"]: row for row in cli.json("tasks")}
    assert rows[0]["loss"] == 2.25
    first, second = (cli.json("show", rows[number]["task_id"])["hyper_parameters"] for number in (0, 1))
    assert first == {"x": 0.5, "k": 2}
    assert second["k"] == 3
    done = cli.start(file, "--set", "budget.max_trials=5")
    assert done.returncode == 0
    assert sum(row["loss"] == 2.25 for row in cli.json("tasks")) == 1
    assert len(cli.json("tasks")) == 5


def test_a_small_space_is_exhausted(cli: Cli) -> None:
    file = cli.sweep(parameters={"x": {"choices": [0.0, 0.5, 1.0]}}, sampler={"type": "tpe", "seed": 1},
                     budget={"max_trials": 50})  # fmt: skip
    done = cli.start(file)
    assert done.returncode == 0
    assert "search space exhausted" in done.stdout
    assert sorted(row["loss"] for row in cli.json("tasks")) == [1.0, 1.25, 2.0]
    status = cli.json("status")
    assert (status["state"], status["reason"]) == ("completed", "search space exhausted")
    assert status["budget"]["jobs"]["used"] == 3
    # Noisy objectives may be asked for again.
    again = cli.sweep("again.yaml", study={"name": "again", "metric": {"name": "loss", "goal": "minimize"},
                                      "allow_duplicates": True},
                      parameters={"x": {"choices": [0.0, 0.5]}}, budget={"max_trials": 6})  # fmt: skip
    assert cli.start(again).returncode == 0
    assert len(cli.json("tasks", "again")) == 6


def test_constraints_and_an_older_study(cli: Cli) -> None:
    metric = {"name": "loss", "goal": "minimize"}
    assert cli.start(cli.sweep(parameters=PARAMETERS, budget={"max_trials": 5})).returncode == 0
    file = cli.sweep(
        "bounded.yaml",
        study={
            "name": "bounded",
            "metric": metric,
            "constraints": [{"name": "memory/peak", "max": 15.0}],
            "start_from": "s",
        },
        parameters=PARAMETERS,
        sampler={"type": "random", "seed": 2},
        budget={"max_trials": 8},
    )
    done = cli.start(file)
    assert done.returncode == 0, done.stdout
    assert "5 trial(s) of study 's' are known" in done.stdout
    rows = cli.json("top", "bounded", "-k", "20", "--all-metrics")
    assert 0 < len(rows) < 8
    assert all(row["metrics"]["memory/peak"]["value"] <= 15.0 for row in rows)
    assert len(cli.json("tasks", "bounded")) == 8
    wrong = cli.start(
        cli.sweep("none.yaml", study={"name": "none", "metric": metric, "start_from": "nothing"})
    )
    assert wrong.returncode == 2
    assert "there is no study 'nothing'" in wrong.stderr


def test_several_objectives_have_a_front(cli: Cli) -> None:
    file = cli.sweep(
        study={
            "name": "s",
            "metric": [{"name": "cost", "goal": "minimize"}, {"name": "error", "goal": "minimize"}],
        },
        objective={"function": "obj:two"},
        parameters={"x": {"choices": [0.0, 0.5, 1.0]}, "k": {"choices": [1, 2]}},
        sampler={"type": "grid"},
        budget={},
    )
    assert cli.start(file).returncode == 0
    rows = cli.json("top", "-k", "6")
    assert [row["front"] for row in rows] == [0, 0, 0, 1, 1, 1]
    front = cli.json("top", "--front")
    assert {row["hyper_parameters"]["k"] for row in front} == {1}
    assert len(front) == 3
    # Optuna's own plots and tables know the objectives by name.
    storage = resolve(folder=cli.folder, environment={}).storage_url
    assert optuna.load_study(study_name="s", storage=storage).metric_names == ["cost", "error"]
    table = cli("top").stdout
    assert "Pareto front: 3 tasks" in table
    single = cli.sweep("one.yaml", study={"name": "one", "metric": {"name": "loss", "goal": "minimize"}})
    assert cli.start(single).returncode == 0
    refused = cli("top", "one", "--front")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_samplers_and_pruners_around_others(cli: Cli) -> None:
    file = cli.sweep(
        parameters=PARAMETERS,
        sampler={"type": "partial_fixed", "fixed": {"k": 2}, "base": {"type": "random"}, "seed": 3},
        pruner={"type": "patient", "patience": 2, "wrapped": {"type": "median"}},
        budget={"max_trials": 3},
    )
    assert cli.start(file).returncode == 0
    shown = [cli.json("show", row["task_id"])["hyper_parameters"] for row in cli.json("tasks")]
    assert {row["k"] for row in shown} == {2}
