"""``controller confirm``: the best again with other seeds, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import living_in, started, wait_for

pytestmark = pytest.mark.slow

OBJECTIVES = """
import os, random, time

def note(file, text):
    with open(file, "a") as out:
        out.write(text + "\\n")

def quick(task, x):
    assert os.environ["OPTUNA_RQ_SEED"] == str(task.seed)
    note("seeds", f"{task.trial_number} {task.seed}")
    return x + random.Random(task.seed).gauss(0, 0.001)

def slow(task, x):
    '''The repeats take their time, and say so when they are done.'''
    if task.trial_number < 0:
        note("began", task.id)
        for step in range(10):
            time.sleep(0.05)
            task.report_scalar("loss", "", float(x), step)
        note("done", task.id)
    return x + random.Random(task.seed).gauss(0, 0.1)

def of_optuna(trial):
    x = trial.suggest_float("x", 0, 1)
    own = trial.suggest_categorical("own", [[1, 2], [3]])
    trial.report(x, 0)
    trial.set_user_attr("own", own)
    note("optuna", f"{x} {own} {os.environ['OPTUNA_RQ_SEED']}")
    return x, 1 - x

def some_fail(task, x):
    if task.trial_number < 0 and task.seed % 2:
        raise RuntimeError("unlucky")
    return x
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


def lines(cli: Cli, file: str) -> list[str]:
    path = cli.folder / file
    return path.read_text().splitlines() if path.exists() else []


def confirmed(cli: Cli, *options: str) -> dict:
    return cli.json("confirm", "s", "--workers", "2", *options)


def test_at_the_studys_end_and_again(cli):
    assert cli.start(cli.sweep(confirm={"k": 2, "seeds": 3})).returncode == 0
    before = [(trial.number, trial.value) for trial in cli.trials()]
    assert len(before) == 3
    ran = lines(cli, "seeds")
    answer = confirmed(cli, "-k", "2", "--seeds", "3")
    assert lines(cli, "seeds") == ran  # nothing is run twice
    assert len(set(ran)) == len(ran)
    best, other = answer["configurations"]
    assert best["place"] == 1
    assert best["probability_best"] > 0.9
    assert best["repeats"] == 3
    assert other["dropped"].startswith("after 2 repeats: clearly worse than trial")
    assert len(ran) == 3 + 3 + 2
    # What the search has seen and counts is what it was.
    assert [(trial.number, trial.value) for trial in cli.trials()] == before
    assert len(cli.json("top", "-k", "20")) == 3
    assert cli.json("status")["budget"]["jobs"]["used"] == 3
    # With more seeds it goes on where it was.
    more = confirmed(cli, "-k", "2", "--seeds", "4")
    assert [one["repeats"] for one in more["configurations"]] == [4, 2]
    assert len(lines(cli, "seeds")) == len(ran) + 1
    assert "probability" in cli("report", "s", "--format", "md").stdout
    # It comes along in the study's file, also under another name.
    assert cli("export", "s", "--to", "s.study.gz").returncode == 0
    assert cli.json("confirm", "./s.study.gz")["configurations"] == more["configurations"]
    assert cli("import", "s.study.gz", "--name", "t").returncode == 0
    there = cli.json("confirm", "t", "--show")
    assert [one["repeats"] for one in there["configurations"]] == [4, 2]
    assert len(cli.json("tasks", "t", "--confirming")) == 6


def test_the_controller_and_a_worker_are_killed(cli):
    sweep = cli.sweep(objective={"function": "obj:slow"}, budget={"max_trials": 3, "lease": 2})
    assert cli.start(sweep).returncode == 0
    command = ("controller", "confirm", "s", "-k", "2", "--seeds", "4", "--workers", "2")
    with started(*command, cwd=cli.folder) as process:
        wait_for(lambda: len(lines(cli, "done")) >= 2, "two repeats")
        wait_for(lambda: len(lines(cli, "began")) > len(lines(cli, "done")), "one that runs")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with started(*command, cwd=cli.folder) as process:
        known = len(lines(cli, "began"))
        wait_for(lambda: len(lines(cli, "began")) > known, "one that runs")
        workers = [int(line.split(":")[0]) for line in living_in(cli.folder) if "worker.cli" in line]
        os.kill(workers[0], signal.SIGKILL)
        assert process.wait(60) == 0
    done = lines(cli, "done")
    assert Counter(done).most_common(1)[0][1] == 1
    answer = cli.json("confirm", "s", "--show")
    assert answer["ended"] == "all repeats have run"
    assert sorted(task for one in answer["configurations"] for task in one["tasks"]) == sorted(done)
    assert all(one["failed"] == 0 for one in answer["configurations"])


def test_optunas_objectives_with_several_objectives(cli):
    cli.sweep(
        study={
            "name": "s",
            "metric": [{"name": "a", "goal": "minimize"}, {"name": "b", "goal": "minimize"}],
        },
        objective={"optuna": "obj:of_optuna"},
    )
    text = (cli.folder / "obj.py").read_text().replace("    trial.report(x, 0)\n", "")
    (cli.folder / "obj.py").write_text(text)
    assert cli.start().returncode == 0
    answer = confirmed(cli, "-k", "2", "--seeds", "2")
    seen = [line.split(" ", 1)[0] for line in lines(cli, "optuna")]
    assert len(seen) == 3 + 2 * 2
    for one in answer["configurations"]:
        assert one["repeats"] == 2
        assert seen.count(str(one["hyper_parameters"]["x"])) == 3
        assert one["objectives"]["a"]["mean"] == pytest.approx(one["hyper_parameters"]["x"])
    assert len(cli.trials()) == 3


def test_repeats_that_fail_are_counted(cli):
    assert cli.start(cli.sweep(objective={"function": "obj:some_fail"})).returncode == 0
    answer = confirmed(cli, "-k", "3", "--seeds", "4")
    for one in answer["configurations"]:
        assert one["repeats"] + one["failed"] in (2, 3, 4)
    assert "Repeats failed" in " ".join(answer["words"])
    assert cli.json("tasks", "s", "--status", "failed") == []


def test_each_kind_of_objective_has_its_seed(cli):
    seed_line = 'open("seen", "a").write(os.environ["OPTUNA_RQ_SEED"] + "\\n")'
    script = f"import os\nfrom worker import Task\ntask = Task.init()\n{seed_line}\n"
    script += (
        "assert str(task.seed) == os.environ['OPTUNA_RQ_SEED']\ntask.report_scalar('loss', '', 1.0, 0)\n"
    )
    (cli.folder / "script.py").write_text(script)
    command = ["bash", "-c", "echo $OPTUNA_RQ_SEED >> seen; echo loss={x}"]
    for name, objective in (
        ("a", {"function": "obj:quick"}),
        ("b", {"script": "script.py"}),
        ("c", {"command": command}),
    ):
        study = {"name": name, "metric": {"name": "loss", "goal": "minimize"}}
        sweep = cli.sweep(study=study, objective=objective, budget={"max_trials": 2})
        assert cli.start(sweep, workers=1).returncode == 0
    # The sweep's seed and the trial's number give the task's, whatever the objective is.
    of_functions = [line.split()[1] for line in lines(cli, "seeds")]
    assert len(set(of_functions)) == 2
    assert lines(cli, "seen") == of_functions * 2


def test_bad_input(cli):
    refused = cli("confirm", "s")
    assert refused.returncode == 2
    assert (
        cli.start(
            cli.sweep(objective={"command": ["bash", "-c", "exit {x}1"]}, budget={"max_trials": 2})
        ).returncode
        == 1
    )
    refused = cli("confirm", "s")
    assert refused.returncode == 2
    assert "nothing to confirm" in refused.stderr
    wrong = cli.start(cli.sweep(confirm={"k": 0, "seed": 3}))
    assert wrong.returncode == 2
    assert "confirm.seed" in wrong.stderr
    assert 'did you mean "seeds"' in wrong.stderr
