"""A configuration runs again in the study's own code, and its best parameters reach the next program."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from controller.commands.settings import open_store, resolve
from tests.e2e.cli import Cli, folder_of

OBJECTIVES = """
import random
def train(task, x, word):
    random.seed(task.seed)
    for step in range(1, 4):
        task.report_scalar("loss", "", x / step + random.random(), step)
    return x
"""
PARAMETERS = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "word": {"choices": ["it's $HOME"]}}


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def begun(cli: Cli, **sections: Any) -> str:
    """Run a study of two trials; the id of its first task."""
    sweep = cli.sweep(
        objective={"function": "obj:train"}, parameters=PARAMETERS, budget={"max_trials": 2}, **sections
    )
    done = cli.start(sweep, workers=1)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = cli.json("tasks", "s", "--format", "json")
    return str(found[0]["task"])


def test_a_configuration_runs_again_in_its_code(tmp_path: Path) -> None:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        git(tmp_path, "init", "-q", "-b", "main")
        git(tmp_path, "add", "obj.py")
        git(tmp_path, "commit", "-q", "-m", "first")
        with (tmp_path / "obj.py").open("a") as file:
            file.write("api_key = 'hunter2-Tr0ub4dor'\nrate = 3\n")
        task = begun(cli, code={"path": "."})
        # The code here is another by now: the study's own is run.
        (tmp_path / "obj.py").write_text("def train(task, x, word):\n    raise SystemExit(3)\n")
        line = cli("show", task, "--command").stdout.strip()
        assert line == f"controller reproduce {task}"
        found = cli.json(*shlex.split(line)[1:], "--format", "json")
        assert (found["is_identical"], found["verdict"]) == (True, "identical: loss to the last digit")
        assert found["surroundings"] == []
        assert (found["task"], found["metrics"][0]["common"]) == (task, 3)
        # It is none of the study's.
        assert len(cli.json("tasks", "s", "--format", "json")) == 2
        assert cli.json("reproduce", task, "--compare", "--format", "json") == found
        said = cli.json("surroundings", "s", "--format", "json")
        assert said["first"]["git"]["branch"] == "main"
        assert "+rate = 3" in said["diff"]["text"]
        assert "hunter2" not in json.dumps(said)
        assert len(said["workers"]) == 1
        cli("export", "s", "--to", "s.study.gz")
        assert cli.json("surroundings", "s.study.gz", "--format", "json") == said
        assert "optuna==" in cli("surroundings", "./s.study.gz", "--format", "pip").stdout


@pytest.mark.slow
def test_without_its_code_what_is_there_is_run_and_said(tmp_path: Path) -> None:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        task = begun(cli)
        (tmp_path / "obj.py").write_text(OBJECTIVES.replace("x / step", "2 * x / step"))
        done = cli("reproduce", task, "--here")
        assert done.returncode == 0, done.stderr
        assert "they part at iteration 1 of 3" in done.stdout
        assert "the code that is there now was run" in done.stdout
        (tmp_path / "obj.py").write_text("def train(task, x, word):\n    raise SystemExit(3)\n")
        done = cli("reproduce", task)
        assert done.returncode == 1
        assert "it has failed" in done.stdout


FOR_OPTUNA = """
import os, random
def objective(trial):
    random.seed(int(os.environ["OPTUNA_RQ_SEED"]))
    x = trial.suggest_float("x", 0.0, 1.0)
    if trial.suggest_categorical("more", [True]):
        x += trial.suggest_int("y", 1, 9)
    for step in range(3):
        trial.report(x + random.random(), step)
    return x
"""


@pytest.mark.slow
def test_an_objective_written_for_optuna_chooses_the_same(tmp_path: Path) -> None:
    with folder_of(tmp_path, FOR_OPTUNA) as cli:
        sweep = cli.sweep(objective={"optuna": "obj:objective"}, parameters={}, budget={"max_trials": 2})
        done = cli.start(sweep, workers=1)
        assert done.returncode == 0, done.stderr
        task = cli.json("tasks", "s", "--format", "json")[0]["task"]
        found = cli.json("reproduce", task, "--format", "json")
        assert (found["is_identical"], found["metrics"][0]["common"]) == (True, 3)
        assert set(cli.json("best", "s", "--task", task)) == {"x", "more", "y"}
        assert len(cli.trials()) == 2


@pytest.mark.slow
def test_on_a_queue_now_and_compared_later(tmp_path: Path) -> None:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        task = begun(cli)
        done = cli("reproduce", task[:12], "--queue", "other", "--no-wait")
        assert done.returncode == 0, done.stderr
        repeat = done.stdout.strip()
        assert "it is queued: nothing can be said yet" in cli("reproduce", task, "--compare").stdout
        worked = cli.in_shell("worker --burst --queue other")
        assert worked.returncode == 0, worked.stderr
        found = cli.json("reproduce", task, "--compare", "--format", "json")
        assert (found["reproduction"], found["is_identical"]) == (repeat, True)


@pytest.mark.slow
def test_the_best_parameters_reach_a_shell(tmp_path: Path) -> None:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        begun(cli)
        best = cli.json("best", "s")
        assert set(best) == {"x", "word"}
        done = cli.in_shell('eval "$(controller best --format env)"; printf "%s|%s" "$x" "$word"')
        assert done.stdout == f"{best['x']!r}|it's $HOME"
        done = cli.in_shell("""eval "printf '%s|' $(controller best s --format argv)\"""")
        assert done.stdout == f"--x={best['x']!r}|--word=it's $HOME|"
        cli("export", "s", "--to", "s.study.gz")
        assert cli.json("best", "s.study.gz") == best


@pytest.mark.slow
def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        task = begun(cli)
        with open_store(resolve(folder=tmp_path, environment={})) as store:
            store.redis.delete("orq:study:s:surroundings", "orq:study:s:seen")
        for arguments, said in [
            (("reproduce", "nothing"), "no task 'nothing'"),
            (("reproduce", task, "--here", "--queue", "q"), "leave --here or --queue out"),
            (("reproduce", task, "--here", "--no-wait"), "leave --no-wait out"),
            (("reproduce", task, "--compare"), "has not been run again"),
            (("surroundings", "s"), "its surroundings are not recorded; an earlier version began it"),
            (("best", "none"), "no study 'none'"),
        ]:
            done = cli(*arguments)
            assert (done.returncode, done.stdout) == (2, ""), done.stderr
            assert said in done.stderr
            assert len(done.stderr.splitlines()) == 1
        # What isn't known is said, and the rest is compared all the same.
        done = cli("reproduce", task)
        assert done.returncode == 0, done.stderr
        assert "it is not recorded of the first run" in done.stdout
