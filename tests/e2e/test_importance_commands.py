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
    return (x - 0.1) ** 2
"""
SPACE = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "dull": {"type": "float", "low": 0.0, "high": 1.0},
}


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


def test_a_file_is_enough(tmp_path: Path) -> None:
    with folder_of(tmp_path, "") as cli:
        file = str(RECORDED / "models.study.gz")
        shown = cli("importance", file, "--bootstraps", "2")
        assert shown.returncode == 0, shown.stderr
        assert '`penalty = "l1"` and `solver = "lbfgs"`' in shown.stdout
        assert not (tmp_path / ".optuna-rq").exists()
        refused = cli("importance", file, "--objective", "nosuch")
        assert (refused.returncode, refused.stderr) == (
            2, "controller: no objective 'nosuch'; there are: accuracy/folds\n"
        )  # fmt: skip
