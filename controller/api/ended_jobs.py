"""What follows a job's end in an optimization: the program is called back, and poor jobs are archived."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import redis

from controller.api.optimizer_task import OptimizerTask
from controller.api.strategy import SearchStrategy
from controller.loop.job import Job
from worker.protocol import Reason
from worker.protocol.connection import AWAY, can_pass

log = logging.getLogger(__name__)

Callback = Callable[[str, Any, Any, dict[str, Any], str], Any]
"""``(job id, objective value, objective iteration, the job's parameters, id of the best job)``."""


class EndedJobs:
    """Handles each job that has ended, in its own turn. Used by the loop's thread only.

    Args:
        strategy: whose jobs they are.
        reports: has each job's values reported.
        keep_top: jobs that are not among the best so many are archived; None, 0 and -1 archive none.
    """

    def __init__(self, strategy: SearchStrategy, reports: OptimizerTask, keep_top: int | None) -> None:
        self._strategy = strategy
        self._reports = reports
        self.keep_top = keep_top
        self.callback: Callback | None = None
        self.ended = 0
        """Jobs that ended by themselves, failed or were stopped for a reason of their own."""
        self.cut_short = 0
        """Jobs that were stopped with their study."""
        self._best: list[Any] = []
        self._kept: set[str] = set()
        """Ids of the best tasks, as long as they are not archived."""

    def handle(self, job: Job) -> None:
        """A job has ended and its trial was told."""
        if job.record.reason_class is Reason.STUDY_STOPPED:
            self.cut_short += 1
        else:
            self.ended += 1
        metrics = self._strategy.objective.metrics
        summaries = [job.scalars.get(metric.key) for metric in metrics]
        values = [
            None if summary is None else _finite(summary.value(metric.sign))
            for metric, summary in zip(metrics, summaries, strict=True)
        ]
        iterations = [None if summary is None else summary.last_iteration for summary in summaries]
        try:
            self._best = list(self._strategy.get_top_experiments_details(1))
        except AWAY as error:  # the program is called back all the same
            log.debug("the best job is not known now: %s", error)
        self._call_back(job, values, iterations)
        self._reports.report_job(metrics, values, self._best)
        if self.keep_top is not None and self.keep_top > 0:
            try:
                self._archive_all_but(self.keep_top, job.task_id())
            except redis.RedisError as error:  # the next job that ends makes up for it
                if not can_pass(error):
                    raise
                log.debug("nothing was archived: %s", error)

    def after_all(self, *, waited: bool) -> str:
        """What to say of an optimization that its program's end has cut short.

        Args:
            waited: the program has called `wait`.
        """
        study = self._strategy.study
        name = f" of study {study!r}" if study else ""
        cut = self.cut_short + len(self._strategy.get_running_jobs())
        done = f"no trial{name} ran"
        if self.ended or cut:
            done = f"{self.ended} trial(s){name} ended, {cut} cut short"
        if waited:
            return f"the script has ended before its optimization: {done}"
        return f"the script has ended without waiting for its optimization: {done}; call wait() after start()"

    def _call_back(self, job: Job, values: list[float | None], iterations: list[Any]) -> None:
        if self.callback is None:
            return
        single = len(values) == 1
        try:
            self.callback(
                job.task_id(),
                values[0] if single else values,
                iterations[0] if single else iterations,
                dict(job.parameters),
                str(self._best[0]["task_id"]) if self._best else "",
            )
        except Exception:
            log.exception("job_complete_callback failed for job %s; the optimization goes on", job.task_id())

    def _archive_all_but(self, top_k: int, ended: str) -> None:
        """Archive what is not among the best: the job that has ended, or one that it has displaced."""
        kept = {str(row["task_id"]) for row in self._strategy.get_top_experiments_details(top_k)}
        running = {job.task_id() for job in self._strategy.get_running_jobs()}
        backend = self._strategy.backend
        for task_id in (self._kept | {ended}) - kept - running:
            backend.task(backend.store.tasks.get(task_id)).set_archived()
        self._kept = kept | (self._kept & running)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
