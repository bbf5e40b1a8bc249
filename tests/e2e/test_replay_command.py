"""``controller replay`` of studies that ran: killed and continued, from the storage and from a file."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import run, started, wait_for

pytestmark = pytest.mark.slow

OBJECTIVES = """
import os, time

def slow(task, x, opt, momentum=0.0):
    with open("begun", "a") as file:
        file.write(".")
    while os.path.getsize("begun") > 8 and not os.path.exists("go"):
        time.sleep(0.02)
    for step in range(6):
        task.report_scalar("loss", "", (x - 0.3) ** 2 + momentum + 1 / (step + 1), step)
        time.sleep(0.02)
"""
PARAMETERS = {
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "opt": {"choices": ["sgd", "adam"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"opt": "sgd"}},
}


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        yield cli


def test_a_killed_and_continued_study_replays_as_identical(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = cli.sweep(
        objective={"function": "obj:slow"},
        parameters=PARAMETERS,
        sampler={"type": "tpe", "seed": 3, "n_startup_trials": 4},
        pruner={"type": "median", "n_startup_trials": 3},
        budget={"max_trials": 14, "max_concurrent": 2, "lease": 1},
    )
    with started("controller", "start", file, "--workers", "2", cwd=cli.folder) as process:
        wait_for(lambda: ended(cli) >= 4, "ends")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert ended(cli) < 14
    (cli.folder / "go").touch()
    done = cli.start(file)
    assert done.returncode == 0, done.stderr

    found = cli.json("replay")
    assert (found["verdict"], found["divergence"], found["notes"]) == ("identical", None, [])
    assert found["starts"] == 2
    assert found["compared"]["parameters"] >= 14
    assert found["compared"]["pruning"] > 14
    shown = cli("replay", "s")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"study s: identical over {found['of']} decisions of ")

    # From its file, elsewhere; what was altered there is found.
    assert cli("export", "s").returncode == 0
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    path = str(cli.folder / "s.study.gz")
    again = run("controller", "replay", path, "--format", "json", cwd=elsewhere)
    assert (again.returncode, json.loads(again.stdout)) == (0, found)
    altered = elsewhere / "altered.study.gz"
    altered.write_bytes(gzip.compress(with_other_parameter(gzip.decompress(Path(path).read_bytes()))))
    differs = run("controller", "replay", str(altered), cwd=elsewhere)
    assert differs.returncode == 1
    lines = differs.stdout.splitlines()
    assert lines[0].startswith("study s: diverges at decision ")
    assert lines[0].endswith("(trial 2, asked): the sampler suggests other parameters")
    assert '"x": 0.25' in lines[1]
    assert lines[1].startswith("  recorded: ")
    assert lines[2].startswith("  replayed: ")


def ended(cli: Cli) -> int:
    """How many tasks have ended, as far as there is a study yet."""
    try:
        return sum(trial.state.is_finished() for trial in cli.trials())
    except (KeyError, sqlalchemy.exc.SQLAlchemyError):
        return 0


def with_other_parameter(file: bytes) -> bytes:
    """A study's file in which trial 2 has another ``x``."""
    lines = [json.loads(line) for line in file.splitlines()]
    for line in lines:
        if line.get("trial", {}).get("number") == 2:
            line["trial"]["params"]["x"] = 0.25
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_what_can_not_be_replayed(cli: Cli) -> None:
    none = cli("replay", "missing.study.gz")
    assert none.returncode == 2
    assert "No such file" in none.stderr
    assert len(none.stderr.splitlines()) == 1
    (cli.folder / "not.gz").write_text("no study")
    wrong = cli("replay", "not.gz")
    assert wrong.returncode == 2
    assert "not a file that `controller export` has written" in wrong.stderr


def test_measured_learning_curves_come_out_again(tmp_path: Path) -> None:
    """By TPE and Hyperband, with the configurations that TPE has suggested twice."""
    file = str(Path(__file__).parents[2] / "benchmarks/studies/curves.study.gz")
    done = run("controller", "replay", file, "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert (found["verdict"], found["notes"]) == ("identical", [])
    assert found["compared"]["pruning"] > 1000
    other = run("controller", "replay", file, "--with", "pruner.type=asha", cwd=tmp_path)
    assert (other.returncode, other.stderr) == (0, "")
    assert "the winner would have survived: trial 57 (0.971)" in other.stdout
