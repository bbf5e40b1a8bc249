"""`controller importance` and `controller refine`, as people type them; the new file starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli import Cli, folder_of, strict_json
from tests.importance_data import RECORDED

pytestmark = pytest.mark.slow
OBJECTIVES = """
def train(x, dull):
    if x > 0.9:
        raise ValueError("x is too large")
    return {"loss": (x - 0.1) ** 2 + dull * 1e-9, "size": dull}
"""
SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "dull": {"type": "float", "low": 0.0, "high": 1.0},
}
METRICS = [{"name": "loss", "goal": "minimize"}, {"name": "size", "goal": "maximize"}]


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with folder_of(tmp_path_factory.mktemp("importance"), OBJECTIVES) as found:
        sweep = found.sweep(
            objective={"function": "obj:train"},
            parameters=SPACE,
            budget={"max_trials": 60, "max_failures": 60},
        )
        assert found.start(sweep).returncode == 0
        yield found


def test_what_matters_and_the_next_study(cli: Cli) -> None:
    found = strict_json(cli("importance", "s", "--format", "json", "--bootstraps", "3").stdout)
    assert found["parameters"][0]["name"] == "x"
    assert found["parameters"][0]["matters"] == "yes"
    assert any("ValueError: x is too large" in one["text"] for one in found["advice"])
    table = cli("importance", "--bootstraps", "3")
    assert table.returncode == 0, table.stderr
    assert "What follows:" in table.stdout
    written = cli("refine", "s", "-o", "next.toml")
    assert written.returncode == 0, written.stderr
    assert "next.toml: study s-2, whose sampler starts with" in written.stdout
    assert 'start_from = "s"' in (cli.folder / "next.toml").read_text()
    again = cli("refine", "s", "-o", "next.toml")
    assert (again.returncode, again.stderr) == (
        2, "controller: next.toml exists: name another file, or replace it with --force\n"
    )  # fmt: skip
    done = cli.start("next.toml", "--set", "budget.max_trials=70")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "are known to the sampler" in done.stdout + done.stderr
    assert cli.json("status", "s-2", "--format", "json")["state"] == "completed"


def test_of_several_objectives_one_is_asked_for(cli: Cli) -> None:
    sweep = cli.sweep(
        "several.yaml",
        study={"name": "several", "metric": METRICS},
        objective={"function": "obj:train"},
        parameters={**SPACE, "x": {"type": "float", "low": 0.0, "high": 0.8}},
        budget={"max_trials": 25},
    )
    assert cli.start(sweep).returncode == 0
    refused = cli("importance", "several")
    assert (refused.returncode, refused.stderr) == (
        2, "controller: study 'several' has 2 objectives; choose one with --objective: loss, size\n"
    )  # fmt: skip
    found = strict_json(
        cli("importance", "several", "--objective", "size", "--format", "json", "--bootstraps", "0").stdout
    )
    assert (found["objective"], found["parameters"][0]["name"]) == ("size", "dull")


def test_a_small_study_says_what_it_takes(cli: Cli) -> None:
    sweep = cli.sweep("small.yaml", study={"name": "small", "metric": METRICS[0]}, objective={"function": "obj:train"}, parameters=SPACE, budget={"max_trials": 2})  # fmt: skip
    assert cli.start(sweep).returncode == 0
    for command in ("importance", "refine"):
        refused = cli(command, "small")
        assert refused.returncode == 2
        assert "trials with a result: what matters takes 20, 18 more" in refused.stderr


def test_a_file_is_enough(tmp_path: Path) -> None:
    with folder_of(tmp_path, "") as cli:
        file = str(RECORDED / "models.study.gz")
        shown = cli("importance", file, "--bootstraps", "2")
        assert shown.returncode == 0, shown.stderr
        assert '`penalty = "l1"` and `solver = "lbfgs"`' in shown.stdout
        assert not (tmp_path / ".optuna-rq").exists()
