"""Choices that are lists, tables or None, and flags: from the sweep file to the objective and back."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from controller import DiscreteParameterRange, GridSearch, UniformIntegerParameterRange
from tests.e2e.cli import Cli, folder_of, strict_json
from tests.e2e.harness import started, wait_for
from tests.e2e.optimizing import optimizer, values, workplace
from worker import Task

OBJECTIVES = """
import json

def quick(task, widths, opt, depth, flag, momentum=None, rate=None):
    print("got", json.dumps([widths, opt, depth, flag, momentum is not None, rate is not None]))
    return float(len(str(widths)))

def slow(task, widths):
    import time
    task.report_scalar("loss", "", len(widths or []), 0)
    print("got", json.dumps(widths))
    if widths == [1, 2]:
        time.sleep(300)
    return float(len(widths or []))

def tune(trial):
    widths = trial.suggest_categorical("widths", [(64, 64), [128], None])
    assert (type(widths) is tuple) == (widths == (64, 64))
    n = trial.suggest_categorical("n", [1, 2])
    assert type(n) is int
    return float(len(widths or ())) + n
"""

SCRIPT = """
import argparse, json
from worker import Task, Logger
task = Task.init(project_name="p", task_name="t")
parser = argparse.ArgumentParser()
parser.add_argument("--widths", type=int, nargs="+", default=[1])
parser.add_argument("--flag", action="store_true")
args = parser.parse_args()
more = task.connect({"shape": (1, 1), "depth": 3, "opt": {"name": "x"}})
print("got", json.dumps([args.widths, args.flag, list(more["shape"]), more["depth"]]))
print("kinds", type(args.widths).__name__, type(more["shape"]).__name__)
Logger.current_logger().report_scalar("loss", "", sum(args.widths), 0)
"""

PARAMETERS = {
    "widths": {"choices": [[64, 64], [128], None]},
    "opt": {"choices": [{"name": "sgd"}, {"name": "adam", "betas": [0.9, None]}]},
    "depth": {"choices": [None, 3]},
    "flag": [True, 1],
    "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"opt": {"name": "sgd"}}},
    "rate": {"type": "float", "low": 0.0, "high": 0.9, "when": {"widths": [[128], None], "flag": True}},
}


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        yield cli


def got(cli: Cli, task_id: str) -> Any:
    """What the objective has printed."""
    line = next(line for line in cli("logs", task_id).stdout.splitlines() if line.startswith("got "))
    return json.loads(line.removeprefix("got "))


def test_a_function_gets_what_the_file_says(cli: Cli) -> None:
    known = {"widths": [128], "opt": {"name": "adam", "betas": [0.9, None]}, "depth": None, "flag": 1}
    file = cli.sweep(parameters=PARAMETERS, budget={"max_trials": 8}, **{"try": [known]})
    done = cli.start(file)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = sorted(cli.json("tasks"), key=lambda row: row["trial"])
    seen = [got(cli, row["task_id"]) for row in rows]
    assert json.dumps(seen[0]) == '[[128], {"name": "adam", "betas": [0.9, null]}, null, 1, false, false]'
    for widths, opt, depth, flag, momentum, rate in seen:
        assert widths in PARAMETERS["widths"]["choices"]  # type: ignore[call-overload] # a table
        assert momentum is (opt == {"name": "sgd"})
        assert rate is (widths in ([128], None) and flag is True)
        assert depth in (None, 3)
    top = strict_json(cli("top", "--format", "json", "-k", "20").stdout)
    first = next(row for row in top if row["task_id"] == rows[0]["task_id"])
    assert json.dumps({name: first["hyper_parameters"][name] for name in known}) == json.dumps(known)
    table = list(csv.DictReader(io.StringIO(cli("top", "--format", "csv", "-k", "20").stdout)))
    assert {"[64, 64]", "[128]"} <= {row["widths"] for row in table}
    assert cli("show", rows[0]["task_id"]).returncode == 0
    # As a file, and back: the copy goes on, and runs nothing again.
    assert cli("export", "s", "--to", "s.study").returncode == 0
    imported = cli("import", "s.study", "--name", "copy")
    assert imported.returncode == 0, imported.stderr
    copy = cli.sweep("copy.yaml", study={"name": "copy", "metric": {"name": "loss", "goal": "minimize"}},
                     parameters=PARAMETERS, budget={"max_trials": 9}, **{"try": [known]})  # fmt: skip
    done = cli.start(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(cli.json("tasks", "copy")) == 9
    kept = [row["hyper_parameters"] for row in cli.json("top", "copy", "-k", "20")]
    assert first["hyper_parameters"] in kept


def test_a_grid_over_lists_is_whole_after_a_kill(cli: Cli) -> None:
    file = cli.sweep(objective={"function": "obj:slow"}, sampler={"type": "grid"}, budget={"lease": 2},
                     parameters={"widths": {"choices": [[64, 64, 64], [1, 2], [], None]}})  # fmt: skip
    with started("controller", "start", file, "--workers", "2", cwd=cli.folder) as process:

        def three_are_done() -> bool:
            listed = cli("tasks", "--format", "json")
            rows = json.loads(listed.stdout) if listed.returncode == 0 else []
            return sum(row["status"] == "completed" for row in rows) == 3

        wait_for(three_are_done, "three trials to end")
        os.kill(process.pid, signal.SIGKILL)
    (cli.folder / "obj.py").write_text(OBJECTIVES.replace("sleep(300)", "sleep(0)"))
    done = cli.start(file)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = cli.json("tasks")
    assert sorted(json.dumps(got(cli, row["task_id"])) for row in rows if row["status"] == "completed") == [
        "[1, 2]", "[64, 64, 64]", "[]", "null",
    ]  # fmt: skip


def test_a_script_gets_lists_as_its_own_types(cli: Cli) -> None:
    (cli.folder / "train.py").write_text(SCRIPT)
    file = cli.sweep(
        objective={"script": "train.py"},
        parameters={
            "widths": [[64, 64]],
            "flag": [True],
            "shape": [[3, 5]],
            "depth": [None],
        },
        sampler={"type": "grid"},
    )
    done = cli.start(file)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = cli.json("tasks")
    assert got(cli, row["task_id"]) == [[64, 64], True, [3, 5], None]
    assert "kinds list tuple" in cli("logs", row["task_id"]).stdout


def test_a_command_gets_flags_and_json(cli: Cli) -> None:
    show = 'import json, sys; print("got", json.dumps(sys.argv[1:])); print("loss=1")'
    file = cli.sweep(
        objective={
            "command": [
                "python", "-c", show, "{flag:bn}", "--text={bn}", "{flag:late:--late:--no-late}",
                "--widths", "{widths}", "--mom", "{mom}", "{flag:nest}",
            ]
        },
        parameters={
            "bn": [True, False],
            "late": [True, False],
            "widths": {"choices": [[64, "a b"]]},
            "mom": {"choices": [None], "when": {"bn": True}},
            "nest": {"choices": [True], "when": {"bn": True}},
        },
        sampler={"type": "brute_force"},
        budget={"max_trials": 9},
    )  # fmt: skip
    done = cli.start(file)
    assert done.returncode == 0, done.stdout + done.stderr
    widths = ["--widths", '[64, "a b"]']
    assert sorted(got(cli, row["task_id"]) for row in cli.json("tasks")) == sorted(
        [
            ["--bn", "--text=true", "--late", *widths, "--mom", "null", "--nest"],
            ["--bn", "--text=true", "--no-late", *widths, "--mom", "null", "--nest"],
            ["--text=false", "--late", *widths],
            ["--text=false", "--no-late", *widths],
        ]
    )


def test_an_objective_written_for_optuna_gets_its_own_lists(cli: Cli) -> None:
    """The controller chooses `widths`, the objective names its choices as Optuna takes them."""
    file = cli.sweep(
        objective={"optuna": "obj:tune"},
        parameters={"widths": [[64, 64], [128], None], "n": [1, 2]},
        budget={"max_trials": 8},
    )
    done = cli.start(file)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = cli.json("top", "-k", "20")
    assert {row["status"] for row in cli.json("tasks")} == {"completed"}
    for row in rows:
        widths, n = (row["hyper_parameters"][name] for name in ("widths", "n"))
        assert widths in ([64, 64], [128], None)
        assert row["metrics"]["loss"]["value"] == len(widths or ()) + n


TRAIN = """
SHAPES = {"[3, 3]": 1.0, "[5]": 2.0, "None": 3.0, "{'k': True}": 4.0, "7": 5.0}

def train(task, shape, seed=0):
    assert type(seed) is int
    task.report_scalar("score", "v", SHAPES[str(shape)], 0)
"""


@pytest.fixture
def here(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "lists.py").write_text(TRAIN)
    with workplace(tmp_path, redis_url, monkeypatch) as folder:
        yield folder


def test_a_program_searches_lists_and_far_numbers(here: Path) -> None:
    base = str(Task.create("P", "base", function="lists:train", parameters={}).id)
    shapes = DiscreteParameterRange("General/shape", [(3, 3), [5], None, {"k": True}, 7])
    strategy = optimizer(
        cls=GridSearch, base_task_id=base, hyper_parameters=[shapes], study="shapes", total_max_jobs=9
    )
    strategy.start()
    assert values(strategy) == [5.0, 4.0, 3.0, 2.0, 1.0]
    assert [row["hyper_parameters"]["General/shape"] for row in strategy.get_top_experiments_details(9)] == [
        "7", "{'k': True}", "None", "[5]", "[3, 3]",
    ]  # fmt: skip
    far = UniformIntegerParameterRange("General/seed", 2**53 - 4, 2**53)
    strategy = optimizer(
        base_task_id=base, hyper_parameters=[shapes, far], study_name="far", total_max_jobs=3
    )
    strategy.enqueue_trial({"General/shape": (3, 3), "General/seed": 2**53 - 1})
    strategy.start()
    rows = strategy.get_top_experiments_details(9)
    assert len(rows) == 3
    assert ("[3, 3]", "9007199254740991") in [
        (row["hyper_parameters"]["General/shape"], row["hyper_parameters"]["General/seed"]) for row in rows
    ]
    for row in rows:
        seed = int(row["hyper_parameters"]["General/seed"])
        assert 2**53 - 4 <= seed <= 2**53
    study = strategy.optuna_study
    assert study is not None
    complete = study.get_trials(states=(TrialState.COMPLETE,))  # duplicates are closed, and not run
    assert sorted(trial.params["General/seed"] for trial in complete) == sorted(
        int(row["hyper_parameters"]["General/seed"]) for row in rows
    )
