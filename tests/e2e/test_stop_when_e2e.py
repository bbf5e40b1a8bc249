"""A study that ends because it has done enough, through the commands, and through a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from controller.commands.settings import resolve
from controller.search.decision_log import STOPPED, decisions_of
from tests.e2e.cli import Cli, folder_of
from worker.optuna_internals import storage_of, study_id

pytestmark = pytest.mark.slow

OBJECTIVES = """
def quick(x):
    return 1.0
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        yield cli


def stops(cli: Cli) -> list[Mapping[str, Any]]:
    """What each end of the study rested on, from its log of decisions."""
    study = optuna.load_study(study_name="s", storage=resolve(folder=cli.folder, environment={}).storage_url)
    attributes = storage_of(study).get_study_system_attrs(study_id(study))
    return [one.why for one in decisions_of(study.get_trials(), attributes) if one.kind == STOPPED]


def test_no_improvement_ends_a_study_across_a_restart(cli: Cli) -> None:
    """The first trial stays the best: those that have ended before the restart count."""
    sweep = cli.sweep(budget={"max_trials": 35, "stop_when": "no improvement in 45 trials"})
    first = cli.start(sweep)
    assert first.returncode == 0, first.stderr
    report = cli.json("status", "s", "--format", "json")
    assert report["reason"] == "all 35 trials created"
    assert report["budget"]["no_improvement"]["used"] == 34
    assert report["plateau"] is None  # it has ended

    more = cli.start(sweep, "--set", "budget.max_trials=500")
    assert more.returncode == 0, more.stderr
    assert "study s completed: no improvement in 45 trials: the best is loss 1 of trial" in more.stdout
    report = cli.json("status", "s", "--format", "json")
    assert (report["state"], report["tasks"]["failed"]) == ("completed", 0)
    assert report["reason"].startswith("no improvement in 45 trials: the best is loss 1 of trial ")
    assert 46 <= sum(report["tasks"].values()) < 60
    assert [why["rule"] for why in stops(cli) if "rule" in why] == ["no improvement in 45 trials"]

    again = cli.start(sweep, "--set", "budget.max_trials=500")
    assert again.returncode == 0, again.stderr
    assert cli.json("status", "s", "--format", "json")["tasks"] == report["tasks"]  # nothing is launched

    first, second = (row["task_id"] for row in cli.json("top", "s", "-k", "2", "--format", "json"))
    answer = cli.json("diff", first[:12], second, "--format", "json")
    assert list(answer["parameters_that_differ"]) == ["x"]
    assert answer["surroundings_that_differ"] == []
    shown = cli("diff", first, second)
    assert "the code is the same" in shown.stdout
    assert "the surroundings are the same" in shown.stdout
    sides = cli.json("compare", "s", "s*", "--format", "json")
    assert sides["over_trials"][0]["A"] == sides["over_trials"][0]["B"]
    assert "1 and 1 studies can't tell luck" in cli("compare", "s", "s").stdout
    for arguments, why in (
        (("compare", "s", "nope"), "no study"),
        (("diff", "ab", "cd"), "no task 'ab'"),
    ):
        wrong = cli(*arguments)
        assert wrong.returncode == 2, wrong.stderr
        assert why in wrong.stderr
        assert "Traceback" not in wrong.stderr


def test_bad_rules_are_refused_with_what_was_meant(cli: Cli) -> None:
    refused = cli.start(cli.sweep(budget={"max_trials": 3, "stop_when": ["los <= 1", "value >= 2"]}))
    assert refused.returncode == 2
    assert 'budget.stop_when[0]: no objective is called "los"; did you mean "loss"?' in refused.stderr
    assert 'budget.stop_when[1]: "loss" is minimized: write value <= 2' in refused.stderr
    assert "Traceback" not in refused.stderr
