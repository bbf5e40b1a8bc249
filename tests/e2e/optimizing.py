"""Base tasks, a worker and strategies for the tests of the optimizers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controller import Objective, OptimizerOptuna, UniformParameterRange
from controller.loop.observer import Observer
from tests.e2e.harness import started, wait_for
from worker import Task
from worker.sdk.home import home

OBJECTIVES = """
import time

def quick(task, x=0.5, **more):
    task.report_scalar("score", "v", x, 0)

def steps(task, x=0.5, n=6, **more):
    for i in range(int(n)):
        task.report_scalar("score", "v", x * (i + 1), i)
        time.sleep(0.01)

def paced(task, x=0.5, **more):
    for i in range(20):
        task.report_scalar("score", "v", x * (i + 1), i)
        time.sleep(0.05)

def slow(task, x=0.5, **more):
    for i in range(2000):
        task.report_scalar("score", "v", x, i)
        time.sleep(0.02)

def silent(task, x=0.5, **more):
    time.sleep(1.5)
    task.report_scalar("score", "v", x, 0)

def sometimes(task, x=0.5, **more):
    # Without the metric, NaN and infinity among good values.
    if x < 0.25:
        task.report_scalar("other", "v", 1, 0)
    elif x < 0.5:
        task.report_scalar("score", "v", float("nan"), 0)
    elif x < 0.6:
        task.report_scalar("score", "v", float("inf"), 0)
    else:
        task.report_scalar("score", "v", x, 0)

def elsewhere(task, x=0.5, **more):
    task.report_scalar("score", "validation", x, 0)
    task.report_scalar("loss", "v", x, 0)

def two(task, x=0.5, y=0.5, **more):
    task.report_scalar("cost", "a", x, 0)
    task.report_scalar("cost", "b", (1 - x) ** 2 + y, 0)

def falls(task, x=0.5, **more):
    for i, value in enumerate((x, 3 * x, x / 2)):
        task.report_scalar("score", "v", value, i)

def fails(task, x=0.5, **more):
    raise ValueError("broken")

def extra(task, x=0.5, **more):
    task.report_scalar("score", "v", x, 0)
    task.report_scalar("memory", "peak", 100 * x, 0)
"""


class Seen(Observer):
    """Remembers what was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.ids: list[str] = []
        self.most = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def ended(self, job: Any) -> None:
        self.ids.append(job.task_id())

    def tick(self, budget: Any, fleet: Any, running: list[Any]) -> None:
        super().tick(budget, fleet, running)
        self.most = max(self.most, len(running))


@contextmanager
def workplace(
    folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, slots: int = 2
) -> Iterator[Path]:
    """A folder with objectives, a worker in it, and this process at home there."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REDIS_URL", redis_url)
    for name in ("OPTUNA_STORAGE", "ARTIFACT_STORE"):
        monkeypatch.delenv(name, raising=False)
    (folder / "obj.py").write_text(OBJECTIVES)
    with started(
        "worker", "--slots", str(slots), cwd=folder, log=folder / "log", REDIS_URL=os.environ["REDIS_URL"]
    ):
        wait_for(lambda: home().store.workers.list("default"), "the worker")
        yield folder


def base(function: str = "quick", **parameters: Any) -> str:
    """Id of a new base task that runs one of the objectives."""
    return str(Task.create("P", f"base {function}", function=f"obj:{function}", parameters=parameters).id)


def optimizer(function: str = "quick", cls: Any = OptimizerOptuna, **options: Any) -> Any:
    """A strategy over x in 0…1 that maximizes score/v."""
    arguments: dict[str, Any] = {
        "base_task_id": options.pop("base_task_id", None) or base(function),
        "hyper_parameters": [UniformParameterRange("General/x", 0.0, 1.0)],
        "objective_metric": Objective("score", "v", "max"),
        "execution_queue": "default",
        "num_concurrent_workers": 2,
        "total_max_jobs": 4,
        "observer": Seen(),
        "lease_s": 2.0,
        **options,
    }
    return cls(**arguments)


def values(strategy: Any) -> list[float]:
    """Last values of score/v in the order of `get_top_experiments_details`."""
    return [row["metrics"]["score/v"]["value"] for row in strategy.get_top_experiments_details(100)]
