"""Objectives written for Optuna, unmodified, run by workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import run, started, wait_for

OBJECTIVES = """
import os
import psutil
import time
from pathlib import Path

import optuna


def conditional(trial):
    x = trial.suggest_float("x", -10, 10)
    kind = trial.suggest_categorical("kind", ["line", "curve", None])
    if kind == "line":
        return abs(x) + trial.suggest_int("steps", 1, 9, log=True)
    if kind == "curve":
        return x * x + trial.suggest_float("width", 0.5, 1.5, step=0.5)
    trial.set_user_attr("none", True)
    return 100.0


def reports(trial):
    x = trial.suggest_float("x", 0, 1)
    for step in range(8):
        trial.report(x + 8 - step, step)
        if trial.should_prune():
            raise optuna.TrialPruned()
    return x


def patient(trial):
    # Never asks whether it should be pruned, as is its right.
    x = trial.suggest_float("x", 0, 1)
    for step in range(8):
        trial.report(x + trial.number + step, step)
    return x


class Offset:
    def __init__(self, offset=5.0):
        self.offset = offset

    def __call__(self, trial: optuna.Trial) -> float:
        base = trial.study.user_attrs["base"]
        trial.set_user_attr("seen", [base, trial.number])
        return trial.suggest_float("x", 0, 1) + base + self.offset


instance = Offset(7.0)


def two(trial):
    x = trial.suggest_float("x", 0, 1)
    return x, 1 - x


def stops(trial):
    x = trial.suggest_float("x", 0, 1)
    if trial.number == 2:
        trial.study.stop()
    return x


def odd(trial):
    x = trial.suggest_float("x", 0, 1)
    if trial.number == 0:
        return None
    if trial.number == 1:
        return float("nan")
    if trial.number == 2:
        raise ValueError("no such luck")
    if trial.number == 3:
        raise optuna.TrialPruned("of no use")
    if trial.number == 4:
        return "0.3"
    return x


def dies_once(trial):
    x = trial.suggest_float("x", 0, 1)
    y = trial.suggest_float("y", 0, 1)
    for step in range(3):
        trial.report(10 * step + trial.number, step)
    mark = Path(f"died-{trial.number}")
    if not mark.exists():
        mark.write_text(f"{x} {y}")
        os.kill(next(p for p in psutil.Process().parents() if os.getsid(p.pid) == p.pid).ppid(), 9)  # the slot: its worker is lost
        time.sleep(60)
    assert mark.read_text() == f"{x} {y}"
    return x + y


def nothing():
    return 1.0


async def later(trial):
    return 1.0


def quick(x):
    return x
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def sections(name: str, **more: Any) -> dict[str, Any]:
    return {"objective": {"optuna": f"obj:{name}"}, "parameters": {}, **more}


def create(cli: Cli, **attributes: Any) -> optuna.Study:
    """The study, as a program of its user's makes it beforehand."""
    (cli.folder / ".optuna-rq").mkdir(exist_ok=True)
    study = optuna.create_study(
        study_name="s", storage=f"sqlite:///{cli.folder}/.optuna-rq/optuna.db", direction="minimize"
    )
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    return study


def test_a_space_that_only_the_objective_knows(cli: Cli) -> None:
    budget = {"max_trials": 20}
    done = cli.start(cli.sweep(**sections("conditional", budget=budget, sampler={"type": "tpe", "seed": 3})))
    assert done.returncode == 0, done.stderr
    trials = cli.trials()
    assert len(trials) == 20
    assert all(trial.state is TrialState.COMPLETE for trial in trials)
    spaces = {tuple(sorted(trial.params)) for trial in trials}
    assert ("kind", "steps", "x") in spaces
    assert ("kind", "width", "x") in spaces
    for trial in trials:
        assert ("none" in trial.user_attrs) == (trial.params["kind"] is None)
    tops = cli.json("top", "-k", "20")
    by_value = sorted(trials, key=lambda trial: trial.value or 0.0)
    assert [row["metrics"]["loss"]["value"] for row in tops] == [trial.value for trial in by_value]
    assert tops[0]["hyper_parameters"] == by_value[0].params


def test_what_the_sweep_declares_is_chosen_by_the_controller(cli: Cli) -> None:
    """The rest is chosen on the worker, by the same sampler; a seed gives the same trials each time."""
    found = []
    for name in ("one", "again"):
        study = {"name": name, "metric": {"name": "loss", "goal": "minimize"}}
        given = {"parameters": {"x": {"type": "float", "low": 2.0, "high": 3.0}}, "study": study}
        sweep = cli.sweep(f"{name}.yaml", **sections("conditional", **given, budget={"max_trials": 6}))
        assert cli.start(sweep, workers=1).returncode == 0
        found.append([trial.params for trial in cli.trials(name)])
    assert found[0] == found[1]
    assert all(2.0 <= params["x"] <= 3.0 for params in found[0])
    assert len({params["kind"] for params in found[0]}) > 1


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_seed_gives_the_parameters_of_optunas_own_loop(cli: Cli, sampler: str) -> None:
    budget = {"max_trials": 14, "max_concurrent": 1}
    sweep = cli.sweep(**sections("conditional", budget=budget, sampler={"type": sampler, "seed": 3}))
    done = cli.start(sweep, workers=1)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = {}
    exec(OBJECTIVES, found)
    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    study = optuna.create_study(sampler=samplers[sampler](seed=3))
    study.optimize(found["conditional"], n_trials=14)
    assert [trial.params for trial in cli.trials()] == [trial.params for trial in study.trials]


def test_trials_at_once_have_random_numbers_of_their_own(cli: Cli) -> None:
    budget = {"max_trials": 8}
    sweep = cli.sweep(**sections("conditional", budget=budget, sampler={"type": "random", "seed": 3}))
    assert cli.start(sweep, workers=2).returncode == 0
    assert len({trial.params["x"] for trial in cli.trials()}) == 8


def test_reports_prune_and_count(cli: Cli) -> None:
    pruner = {"type": "median", "n_startup_trials": 2}
    budget = {"max_trials": 12, "min_iterations": 3}
    done = cli.start(cli.sweep(**sections("reports", pruner=pruner, budget=budget)), workers=1)
    assert done.returncode == 0, done.stderr
    trials = cli.trials()
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert pruned
    for trial in trials:
        assert trial.intermediate_values == {
            step: trial.params["x"] + 8 - step for step in range(len(trial.intermediate_values))
        }
    for trial in pruned:
        assert len(trial.intermediate_values) >= 3
        assert trial.value == trial.intermediate_values[max(trial.intermediate_values)]
    by_trial = {row["trial"]: row for row in cli.json("tasks")}
    for trial in pruned:
        row = by_trial[trial.number]
        assert (row["status"], row["reason"]) == (
            "stopped",
            f"pruned: given up at iteration {trial.last_step}",
        )
        shown = cli.json("show", row["task_id"])
        assert shown["iterations"] == len(trial.intermediate_values)
        assert shown["metrics"]["loss"]["value"] == trial.value


def test_who_never_asks_is_never_pruned(cli: Cli) -> None:
    pruner = {"type": "threshold", "upper": 0.5}
    assert cli.start(cli.sweep(**sections("patient", pruner=pruner))).returncode == 0
    assert [trial.state for trial in cli.trials()] == [TrialState.COMPLETE] * 3


@pytest.mark.parametrize(("target", "offset"), [("instance", 7.0), ("Offset", 5.0)])
def test_instances_and_attributes(cli: Cli, target: str, offset: float) -> None:
    create(cli, base=1.0)
    done = cli.start(cli.sweep(**sections(target)))
    assert done.returncode == 0, done.stderr
    for trial in cli.trials():
        assert trial.value == pytest.approx(trial.params["x"] + 1.0 + offset)
        assert trial.user_attrs["seen"] == [1.0, trial.number]


def test_several_objectives(cli: Cli) -> None:
    metrics = [{"name": "a", "goal": "minimize"}, {"name": "b", "goal": "maximize"}]
    assert cli.start(cli.sweep(**sections("two", study={"name": "s", "metric": metrics}))).returncode == 0
    for trial in cli.trials():
        assert trial.values == [trial.params["x"], 1 - trial.params["x"]]


def test_an_objective_that_stops_its_study(cli: Cli) -> None:
    done = cli.start(cli.sweep(**sections("stops", budget={"max_trials": 50})))
    assert done.returncode == 0
    trials = cli.trials()
    assert 3 <= len(trials) <= 8
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert len(complete) >= len(trials) - 1  # one may have been asked ahead, and never run
    assert "an objective called study.stop()" in done.stdout


def test_how_trials_end(cli: Cli) -> None:
    done = cli.start(cli.sweep(**sections("odd", budget={"max_trials": 6})), workers=1)
    assert done.returncode == 0
    states = [trial.state for trial in cli.trials()]
    assert states == [TrialState.FAIL] * 3 + [TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE]
    reasons = {row["trial"]: row["reason"] for row in cli.json("tasks")}
    assert reasons[0].startswith("invalid_value: the objective returned None; return a number")
    assert reasons[1].startswith("invalid_value")
    assert reasons[2] == "objective_error: ValueError: no such luck"
    assert reasons[3] == "pruned: of no use"
    assert reasons[4].startswith(
        "invalid_value: the objective returned '0.3', which is text; return a number"
    )


def test_an_attempt_that_follows_a_lost_one_has_the_same_parameters(cli: Cli) -> None:
    done = cli.start(cli.sweep(**sections("dies_once", budget={"max_trials": 2, "lease": 2})))
    assert done.returncode == 0, done.stderr
    rows = cli.json("tasks")
    assert [(row["status"], row["attempt"]) for row in rows] == [("completed", 2)] * 2
    for row in rows:
        # The attempt before reported the same three iterations; they count once.
        assert cli.json("show", row["task_id"])["iterations"] == 3
    for trial in cli.trials():
        assert trial.intermediate_values == {step: 10.0 * step + trial.number for step in range(3)}


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("obj:missing", "has no 'missing'"),
        ("nowhere:objective", "no module 'nowhere'"),
        ("obj:nothing", "can't be called with a trial alone"),
        ("obj:later", "coroutine"),
        ("obj:__name__", "which can't be called"),
    ],
)
def test_what_can_not_be_called_is_told_before_any_trial(cli: Cli, objective: str, message: str) -> None:
    done = cli.start(cli.sweep(**{**sections("x"), "objective": {"optuna": objective}}))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (cli.folder / ".optuna-rq" / "optuna.db").exists()


def test_a_worker_that_can_not_reach_the_storage(cli: Cli, redis_url: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "node"
    elsewhere.mkdir()
    (elsewhere / "obj.py").write_text(OBJECTIVES)
    sweep = cli.sweep(**sections("conditional"))
    storage = f"sqlite:///{cli.folder}/shared.db"
    # Nobody told this worker, and it has no SQLite of its own.
    with started("worker", cwd=elsewhere, REDIS_URL=redis_url):
        done = cli("start", sweep, REDIS_URL=redis_url, OPTUNA_STORAGE=storage)
    assert done.returncode == 2
    assert "this worker doesn't know where Optuna's trials are; set OPTUNA_STORAGE" in done.stderr
    assert f"the controller's is {storage}" in done.stderr
    assert cli.json("tasks", REDIS_URL=redis_url) == [] if _known(cli, redis_url) else True
    # This one was, and there is nothing.
    wrong = f"sqlite:///{elsewhere}/other.db"
    refused = run("worker", cwd=elsewhere, REDIS_URL=redis_url, OPTUNA_STORAGE=wrong)
    assert refused.returncode == 2
    assert refused.stderr.strip() == f"worker: storage {wrong}: no such file on this machine"
    with started("worker", cwd=elsewhere, REDIS_URL=redis_url, OPTUNA_STORAGE=storage):
        done = cli("start", sweep, REDIS_URL=redis_url, OPTUNA_STORAGE=storage)
    assert done.returncode == 0, done.stderr
    study = optuna.load_study(study_name="s", storage=storage)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3


def _known(cli: Cli, redis_url: str) -> bool:
    return cli("status", REDIS_URL=redis_url).returncode == 0


def test_a_study_that_was_interrupted_goes_on(cli: Cli) -> None:
    sweep = cli.sweep(**sections("dies_once", budget={"max_trials": 3}, sampler={"type": "tpe", "seed": 5}))
    (cli.folder / "obj.py").write_text(
        OBJECTIVES.replace(
            "os.kill(next(p for p in psutil.Process().parents() if os.getsid(p.pid) == p.pid).ppid(), 9)  # the slot: its worker is lost",
            "pass",
        )
    )
    with started("controller", "start", sweep, "--workers", "1", cwd=cli.folder) as process:
        wait_for(lambda: (cli.folder / "died-0").exists(), "the first trial")
        os.kill(process.pid, signal.SIGINT)
        process.wait(60)
    before = [trial.params for trial in cli.trials()]
    (cli.folder / "obj.py").write_text(OBJECTIVES)
    for trial in range(9):
        (cli.folder / f"died-{trial}").unlink(missing_ok=True)
    assert cli.start(sweep).returncode == 0
    trials = cli.trials()
    complete = [trial.params for trial in trials if trial.state is TrialState.COMPLETE]
    assert len(complete) == 3
    # What was cut short was tried again.
    assert before[0] in complete
