"""The commands that a task's page offers run the task again."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.commands.settings import open_store, resolve
from controller.results.rerun import reruns
from tests.e2e.cli import folder_of
from worker.protocol import Status

OBJECTIVES = """
from pathlib import Path
def train(x, word):
    with Path("ran.txt").open("a") as file:
        file.write(f"{x} {word}\\n")
    return x
"""
OTHER = """
[study]
name = "other"
metric = { name = "loss", goal = "minimize" }
[objective]
function = "obj:train"
[budget]
max_trials = 1
[parameters]
x = { type = "float", low = 0.0, high = 1.0 }
word = { choices = ["it's"] }
"""


@pytest.mark.slow
def test_the_commands_run_it_again(tmp_path: Path) -> None:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        parameters = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "word": {"choices": ["it's"]}}
        sweep = cli.sweep(
            objective={"function": "obj:train"}, parameters=parameters, budget={"max_trials": 1}
        )
        done = cli.start(sweep, workers=1)
        assert done.returncode == 0, done.stderr
        with open_store(resolve(folder=tmp_path, environment={})) as store:
            record = store.tasks.get(store.studies.tasks("s")[0])
            reproduced, on_a_worker, in_a_sweep = (one.text for one in reruns(record, store.studies.get("s")))
            assert cli.in_shell(on_a_worker).stderr == ""
            worked = cli.in_shell("worker --burst")
            assert worked.returncode == 0, worked.stderr
            copy = store.tasks.get(store.tasks.base_tasks()[0])
            assert (copy.status, copy.parent) == (Status.COMPLETED, record.id)
            again = cli.in_shell(reproduced)
            assert again.returncode == 0, again.stderr
        (tmp_path / "other.toml").write_text(OTHER + in_a_sweep)
        done = cli.start("other.toml", workers=1)
        assert done.returncode == 0, done.stderr
        ran = (tmp_path / "ran.txt").read_text().splitlines()
        assert (len(ran), len(set(ran))) == (4, 1)
