"""What an optimization reports to its own task: values, the budget's use, the best experiments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.protocol import ObjectiveMetric
from worker.sdk.task import Task

log = logging.getLogger(__name__)

SUMMARY = "summary"
"""Name of the artifact that lists the best experiments."""


def own_task(connect: bool | Task, create: bool) -> Task | None:
    """The task to report to: the one given, this program's, or one made for it."""
    if isinstance(connect, Task):
        return connect
    current = Task.current_task() if connect else None
    if current is None and create:
        current = Task.init(task_type="optimizer")
    return current


class OptimizerTask:
    """Reports to a task, if it is one that this program reports to. Never in the way of the loop.

    Args:
        task: None reports nothing.
    """

    def __init__(self, task: Task | None) -> None:
        self.task = task
        self._iteration = 0

    @property
    def _reports(self) -> bool:
        return self.task is not None and self.task.session is not None

    def report_job(
        self,
        metrics: Sequence[ObjectiveMetric],
        values: Sequence[float | None],
        best: Sequence[Mapping[str, Any]],
    ) -> None:
        """Report the values of a job that has ended, and the best so far.

        Args:
            values: one for each metric; None where the job has none.
            best: the details of the best job, or nothing.
        """
        if self.task is None or not self._reports:
            return
        self._iteration += 1
        try:
            for metric, value in zip(metrics, values, strict=True):
                if value is not None:
                    self.task.report_scalar("optimization", metric.key, value, self._iteration)
            if best and len(metrics) == 1:
                key = metrics[0].key
                shown = best[0]["metrics"].get(key, {}).get("value")
                if shown is not None:
                    self.task.report_scalar("optimization", f"best {key}", shown, self._iteration)
        except BaseException as error:  # a TaskStopped must not end the loop
            log.debug("not reported: %s", error)

    def report_summary(
        self,
        minutes: float,
        budget: Mapping[str, Mapping[str, Any]],
        best: Callable[[], Sequence[Mapping[str, Any]]],
    ) -> None:
        """Report what is used of the budget, and the best experiments.

        Args:
            minutes: since the optimization began.
            budget: as `Budget.to_dict` gives it.
            best: gives the details of the best jobs, the best first.
        """
        if self.task is None or not self._reports:
            return
        at = max(0, round(minutes))
        try:
            for name, row in budget.items():
                if row["limit"] and "used" in row:  # not of each trial by itself
                    self.task.report_scalar("budget", name, 100.0 * row["used"] / row["limit"], at)
            found = list(best())
            if found:
                self.task.upload_artifact(SUMMARY, found)
        except BaseException as error:
            log.warning("the optimizer's task got no report: %s", error)
