"""One folder with a sweep, as a user of `controller` has it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import yaml

from controller.commands.settings import resolve
from tests.e2e.harness import BIN, alive, environment, living_in, run, run_json


class Cli:
    """Commands called in one folder. What is left running there is killed by `folder_of`.

    Args:
        folder: the current folder of all commands.
        objectives: text of ``obj.py``.
    """

    def __init__(self, folder: Path, objectives: str) -> None:
        self.folder = folder
        (folder / "obj.py").write_text(objectives)

    def in_shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line of bash that calls `controller`, such as one with a pipe."""
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=environment(PATH=f"{BIN}:{os.environ['PATH']}"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def sweep(self, file: str = "sweep.yaml", **sections: Any) -> str:
        """Write a sweep file of study ``s`` with three trials of ``obj:quick``; arguments replace sections.

        A lease runs out within seconds, unless the section says otherwise.
        """
        data = {
            "study": {"name": "s", "metric": {"name": "loss", "goal": "minimize"}},
            "objective": {"function": "obj:quick"},
            "parameters": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
            "sampler": {"type": "random", "seed": 1},
            "budget": {"max_trials": 3},
            **sections,
        }
        if isinstance(data["budget"], dict):
            data["budget"] = {"lease": 4, **data["budget"]}
        (self.folder / file).write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
        return file

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run("controller", *arguments, cwd=self.folder, timeout=120, **env)

    def start(
        self, file: str = "sweep.yaml", *options: str, workers: int = 2, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return self("start", file, "--workers", str(workers), *options, **env)

    def json(self, *arguments: str, **env: str) -> Any:
        return run_json("controller", *arguments, cwd=self.folder, **env)

    def trials(self, study: str = "s") -> list[optuna.trial.FrozenTrial]:
        """Optuna's, as Optuna itself reads them."""
        storage = resolve(folder=self.folder, environment={}).storage_url
        return optuna.load_study(study_name=study, storage=storage).trials


def strict_json(text: str) -> Any:
    """As a browser or jq reads it: NaN and Infinity are no JSON."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@contextmanager
def folder_of(folder: Path, objectives: str) -> Iterator[Cli]:
    """A `Cli` in `folder`; at the end nothing that belongs to the folder runs on, also when a test failed."""
    try:
        yield Cli(folder, objectives)
    finally:
        for line in living_in(folder):
            pid = int(line.split(":")[0])
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
