"""The compute-node side of optuna-rq: what an objective uses to report, and the worker that runs it.

`Task` and `Logger` follow ClearML's SDK, so that a script written for it changes its import line only.
"""

from worker.exceptions import TaskPruned, TaskStopped
from worker.task import Logger, Task
from worker.version import __version__

__all__ = ["Logger", "Task", "TaskPruned", "TaskStopped", "__version__"]
