"""The compute-node side of optuna-rq: what an objective uses to report, and the worker that runs it.

`Task` and `Logger` follow ClearML's SDK, so that a script written for it changes its import line only. Names
are imported when they are first used: a controller or a slot does not pay for the SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.version import __version__

if TYPE_CHECKING:
    from worker.sdk.exceptions import TaskPruned, TaskStopped
    from worker.sdk.logger import Logger
    from worker.sdk.optuna_store import artifact_store
    from worker.sdk.task import Task, TaskTypes
    from worker.sdk.task_artifacts import Checkpoint

_HOMES = {
    "Checkpoint": "sdk.task_artifacts",
    "Logger": "sdk.task",
    "Task": "sdk.task",
    "TaskPruned": "sdk.exceptions",
    "TaskStopped": "sdk.exceptions",
    "TaskTypes": "sdk.task",
    "artifact_store": "sdk.optuna_store",
}

_ELSEWHERE = {
    "Dataset": "read data from where the workers reach it; what it is read from can be a parameter",
    "InputModel": "read the file, or fetch an artifact of another task's: Task.get_task(...).artifacts",
    "Model": "a model is an artifact: task.upload_artifact, and task.artifacts to get it",
    "OutputModel": "a model is an artifact: task.upload_artifact, or task.save_checkpoint to go on from it",
    "PipelineController": "pipelines are not part of optuna-rq; start its steps one after the other",
    "PipelineDecorator": "pipelines are not part of optuna-rq; start its steps one after the other",
    "StorageManager": "task.upload_artifact stores files and folders, task.artifacts gets them",
    "TaskParameters": "task.connect takes a dict, a dataclass or an object",
}
"""Names of ClearML's that are not there, and what to use."""


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        raise ImportError(f"there is no {name} in {__name__}: {_ELSEWHERE[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


__all__ = [
    "Checkpoint",
    "Logger",
    "Task",
    "TaskPruned",
    "TaskStopped",
    "TaskTypes",
    "__version__",
    "artifact_store",
]
