"""`controller rewind`: a study goes on from one of its trials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for

OBJECTIVES = """
import time
def f(task, x):
    task.upload_artifact("x", {"x": x})
    return x
def slow(task, x):
    time.sleep(60)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as found:
        yield found


SECTIONS = {
    "objective": {"function": "obj:f"},
    "budget": {"max_trials": 8},
    "sampler": {"type": "tpe", "seed": 2},
}


def test_it_goes_on_from_there(cli: Cli) -> None:
    sweep = cli.sweep(**SECTIONS)
    assert cli.start(sweep, workers=1).returncode == 0
    before = [(trial.number, trial.params, trial.values) for trial in cli.trials()]
    kept = cli.json("tasks")[:4]
    asked = cli("rewind", "s", "--trial", "3")
    assert asked.returncode == 130  # nobody said yes
    assert len(cli.trials()) == 8
    done = cli("rewind", "s", "--trial", "3", "--yes")
    assert done.returncode == 0, done.stderr
    assert "4 trial(s) discarded; backup: " in done.stdout
    backup = done.stdout.strip().rpartition(" ")[2]
    assert len(optuna.load_study(study_name="s", storage=f"sqlite:///{backup}").trials) == 8
    assert [(trial.number, trial.params, trial.values) for trial in cli.trials()] == before[:4]
    assert cli.json("tasks") == kept
    assert len(cli.json("top", "-k", "10")) == 4
    assert cli.json("status")["reason"] == "taken back to trial 3"
    # What was discarded is suggested again, and the budget is that of before.
    assert cli.start(sweep, workers=1).returncode == 0
    assert [(trial.number, trial.params, trial.values) for trial in cli.trials()] == before
    assert len(cli.json("tasks")) == 8
    gc = cli("artifacts", "gc", "--older-than", "0.000001s", "--yes")
    assert "4 removed" in gc.stdout
    assert len(cli.json("artifacts", "list")) == 8
    assert cli("rewind", "s", "--trial", "0", "--no-backup", "--yes").returncode == 0
    assert len(cli.trials()) == 1


def test_what_can_not_be(cli: Cli) -> None:
    sweep = cli.sweep(**SECTIONS)
    assert cli.start(sweep, workers=1).returncode == 0
    for arguments, message in [
        (("s", "--trial", "8"), "study 's' has no trial 8; its trials are 0 to 7"),
        (("other", "--trial", "1"), "no study 'other'"),
        (("s", "--trial", "-1"), "--trial"),
        (("s",), "--trial"),
    ]:
        refused = cli("rewind", *arguments, "--yes")
        assert refused.returncode == 2, arguments
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
    assert len(cli.trials()) == 8
    assert not list((cli.folder / ".optuna-rq").glob("*backup*"))


def test_not_while_it_runs(cli: Cli) -> None:
    sweep = cli.sweep(**{**SECTIONS, "objective": {"function": "obj:slow"}})
    with started("controller", "start", sweep, "--workers", "1", cwd=cli.folder):
        wait_for(lambda: "1 in_progress" in cli("status").stdout, "the first task")
        refused = cli("rewind", "s", "--trial", "0", "--yes")
    assert refused.returncode == 2
    assert "acts on it; stop it first: controller stop s" in refused.stderr
