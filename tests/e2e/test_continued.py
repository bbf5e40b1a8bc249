"""One study, continued by a sweep file and by a program, in turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from controller import Objective, OptimizerOptuna, UniformParameterRange
from controller.loop.backend import Backend
from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from worker.protocol import TaskRecord, TaskSpec, new_task_id
from worker.protocol.errors import BadInput

OBJECTIVES = """
def quick(task, x):
    task.report_scalar("loss", "", x, 0)
"""


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with folder_of(tmp_path, OBJECTIVES) as cli:
        yield cli


@pytest.fixture
def env(cli: Cli, redis_url: str) -> Iterator[dict[str, str]]:
    """Of all that takes part; a worker serves the queue."""
    folder = cli.folder
    env = {
        "REDIS_URL": redis_url,
        "OPTUNA_STORAGE": f"sqlite:///{folder}/optuna.db",
        "ARTIFACT_STORE": f"file://{folder}/artifacts",
    }
    # Without the storage: its objective needs none, and a worker refuses one that does not exist yet.
    with started("worker", cwd=folder, REDIS_URL=redis_url, ARTIFACT_STORE=env["ARTIFACT_STORE"]):
        yield env


def program(env: dict[str, str], jobs: int, storage: str | None = None, high: float = 1.0) -> OptimizerOptuna:
    """An optimizer of study ``s``, with the search space of `Cli.sweep`."""
    backend = Backend(env["REDIS_URL"], storage or env["OPTUNA_STORAGE"], env["ARTIFACT_STORE"])
    base = TaskRecord(
        id=new_task_id(),
        name="base",
        spec=TaskSpec(objective={"kind": "function", "target": "obj:quick"}),
        created_at=time.time(),
    )
    backend.store.tasks.create(base)
    return OptimizerOptuna(
        base.id,
        [UniformParameterRange("x", 0.0, high)],
        Objective("loss", "", "min"),
        total_max_jobs=jobs,
        num_concurrent_workers=1,
        backend=backend,
        study_name="s",
        lease_s=2.0,
    )


def trials(env: dict[str, str]) -> list[str]:
    found = optuna.load_study(study_name="s", storage=env["OPTUNA_STORAGE"]).trials
    return [trial.state.name for trial in found]


def test_a_program_continues_what_a_sweep_file_has_begun(cli: Cli, env: dict[str, str]) -> None:
    sweep = cli.sweep(budget={"max_trials": 2, "lease": 2})
    done = cli.start(sweep, workers=0, **env)
    assert done.returncode == 0, done.stderr
    with pytest.raises(BadInput, match="another search space"):
        program(env, 4, high=2.0).start()
    with pytest.raises(BadInput, match="has its trials in"):
        program(env, 4, storage=f"sqlite:///{cli.folder}/other.db").start()
    program(env, 4).start()
    assert trials(env) == ["COMPLETE"] * 4
    assert len(cli.json("tasks", "s", **env)) == 4
    # And the file again: the study is still its own.
    done = cli.start(cli.sweep(budget={"max_trials": 5, "lease": 2}), workers=0, **env)
    assert done.returncode == 0, done.stderr
    assert trials(env) == ["COMPLETE"] * 5


def test_a_sweep_file_continues_what_a_program_has_begun(cli: Cli, env: dict[str, str]) -> None:
    program(env, 2).start()
    done = cli.start(cli.sweep(budget={"max_trials": 3, "lease": 2}), workers=0, **env)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: trials(env) == ["COMPLETE"] * 3, "three trials", 10.0)
    parameters = {"x": {"type": "float", "low": 0.0, "high": 2.0}}
    refused = cli.start(cli.sweep("other.yaml", parameters=parameters), workers=0, **env)
    assert refused.returncode == 2
    assert "another search space" in refused.stderr
