"""`controller explain` of a study that has run: what it says is what has happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cli import Cli, folder_of

pytestmark = pytest.mark.slow

OBJECTIVES = """
def f(task, x):
    for i in range(4):
        task.report_scalar("loss", "", x + 2 - i, i)
    return x
"""


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A study that has ended."""
    with folder_of(tmp_path_factory.mktemp("explain"), OBJECTIVES) as found:
        sweep = found.sweep(
            **{"try": [{"x": 0.05}]},
            objective={"function": "obj:f"},
            sampler={"type": "tpe", "seed": 1, "n_startup_trials": 4},
            pruner={"type": "median", "n_startup_trials": 2},
            budget={"max_trials": 16},
        )
        done = found.start(sweep, workers=2)
        assert done.returncode == 0, done.stderr
        assert found("export").returncode == 0
        yield found


def life(cli: Cli, trial: int) -> dict[str, Any]:
    found: dict[str, Any] = cli.json("explain", "s", "--trial", str(trial), "--format", "json")
    return {**found, "by_kind": {step["kind"]: step for step in found["steps"]}}


def test_a_trial_that_was_given(cli: Cli) -> None:
    first = life(cli, 0)
    assert first["by_kind"]["asked"]["text"] == "asked for as trial 0 given by [[try]]"
    assert [step["kind"] for step in first["steps"]] == ["asked", "started", "ended", "told"]
    assert first["unknown"] == []
    by_id = cli("explain", first["task_id"][:10])
    assert f"task {first['task_id']} (trial 0 of study s): completed" in by_id.stdout
    assert "told to Optuna as COMPLETE with" in by_id.stdout


def test_a_trial_that_was_given_up(cli: Cli) -> None:
    """The reason's numbers are those that Optuna has."""
    trials = cli.trials()
    pruned = next(trial for trial in trials if trial.state.name == "PRUNED")
    ended = life(cli, pruned.number)["by_kind"]["ended"]
    why = ended["why"]
    assert why["by"] == "median"
    assert pruned.last_step == why["step"]
    assert why["value"] == pytest.approx(pruned.intermediate_values[why["step"]], rel=1e-5)
    assert why["best"] > why["bound"]
    record = cli.json("show", life(cli, pruned.number)["task_id"], "--format", "json")
    assert record["reason"].startswith(
        f"given up at iteration {why['step']}: {why['value']:.6g}; the median of"
    )
    modelled = life(cli, trials[-1].number)["by_kind"]["asked"]["why"]
    assert {"by": "tpe", "together": 1}.items() <= modelled.items()
    assert all(trials[number].state.name == "COMPLETE" for number in modelled["good"])


def test_the_study(cli: Cli) -> None:
    answer = cli.json("explain", "--format", "json")
    assert answer["decisions"]["asked: given, try"] == 1
    assert answer["decisions"]["asked: TPE"] >= 8
    states = [trial.state.name for trial in cli.trials()]
    assert answer["decisions"]["pruned"] == states.count("PRUNED")
    assert answer["saved"]["trials"] == states.count("PRUNED")
    assert sum(row["share"] for row in answer["shares"]) == pytest.approx(1, abs=0.01)
    assert answer["unknown"] == []
    shown = cli("explain", "s").stdout
    assert "its speed was bounded by" in shown
    assert "waiting for the sampler" in shown


def test_without_redis_and_storage(cli: Cli) -> None:
    nowhere = {"REDIS_URL": "redis://127.0.0.1:1", "OPTUNA_STORAGE": "sqlite:////nowhere/x.db"}
    by_file = cli.json("explain", "s.study.gz", "--format", "json", **nowhere)
    assert by_file["decisions"] == cli.json("explain", "--format", "json")["decisions"]
    one = cli.json("explain", "s.study.gz", "--trial", "0", "--format", "json", **nowhere)
    assert one["steps"][0]["text"] == "asked for as trial 0 given by [[try]]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "no task 'nobody' in this Redis"),
        (["nobody", "--trial", "1"], "--trial wants a study: there is no study 'nobody'"),
        (["s", "--trial", "99"], "study 's' has no trial 99; `controller tasks` lists them"),
        (["s.study.gz", "--trial", "99"], "s.study.gz: it has no trial 99"),
        (["./nothing.gz"], "nothing.gz"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, arguments: list[str], said: str) -> None:
    done = cli("explain", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
