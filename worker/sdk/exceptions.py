"""Exceptions that an objective may see."""

from __future__ import annotations


class TaskStopped(BaseException):
    """Raised inside an objective by the next report (or by SIGTERM) once its task is to stop.

    Derives from `BaseException`, as `KeyboardInterrupt` does, so that a training loop's
    ``except Exception`` does not swallow it. Clean up in ``finally`` and let it pass; a program that
    does not end within its grace period is killed with all its children.

    Args:
        reason_class: why, as in `worker.protocol.Reason` (``"pruned"``, ``"time_limit"``, ...).
        reason: the same in words.
    """

    def __init__(self, reason_class: str = "user", reason: str = "stopped") -> None:
        super().__init__(reason)
        self.reason_class = reason_class
        self.reason = reason


class TaskPruned(TaskStopped):
    """The study's pruner has given the trial up. An objective may raise it itself to give up."""

    def __init__(self, reason: str = "given up by the objective") -> None:
        super().__init__("pruned", reason)
