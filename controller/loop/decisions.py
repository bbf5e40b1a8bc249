"""Decides after each report whether a trial goes on: by the study's pruner, and by what is not a number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from controller.loop.context import LoopContext
from controller.loop.job import Job
from controller.search.reason_words import prune_words
from worker.protocol import Reason, Status, StopRequest, Summary

MIN_REPORTS = 2
"""A job that ends by itself with fewer reports of the objective isn't iterative: it is never pruned."""


class Decisions:
    """Tells Optuna each value in the order in which it was reported, and asks the pruner after each.

    Many values may arrive at once. A decision rests on the values up to its iteration; what the program has
    reported after that is told to nobody. Used by the loop's thread only.
    """

    def __init__(self, context: LoopContext) -> None:
        self._search = context.search
        self._budget = context.budget
        self._on_nan = context.settings.on_nan
        if self._on_nan is None:
            self._on_nan = "ignore" if context.search is not None and context.search.prunes else "fail"
        self._metrics = context.objective.metrics
        self._decided: dict[str, StopRequest] = {}
        """By task id; kept until the trial is told, as a lost connection may cut short what follows."""

    def take(self, job: Job, points: Iterable[tuple[int, int, float]]) -> StopRequest | None:
        """Tell what a job has reported, up to the decision against it.

        Args:
            points: (metric index, iteration, value), oldest first.

        Returns:
            Why the job is to end; None when it goes on.
        """
        task_id, search = job.task_id(), self._search
        earlier = job.record.stop
        until = earlier.iteration if earlier is not None else None
        for index, step, value in points:
            if task_id in self._decided:
                break
            hopeless = (
                index == 0
                and search is not None
                and search.report(job.trial, step, value, least=int(self._budget.min_iterations.limit or 0))
            )
            if earlier is not None and until is not None:
                # An earlier controller has decided.
                if index == 0 and step == until:
                    self._decided[task_id] = earlier
            elif hopeless:
                assert search is not None
                words = prune_words(search.reasons.given_up.get(job.trial, {}))
                reason = f"given up at iteration {step}{f': {words}' if words else ''}"
                self._decide(task_id, Reason.PRUNED, reason, step)
            elif math.isnan(value) and index < len(self._metrics):
                self._judge_nan(task_id, self._metrics[index].key, step)
        return self._decided.get(task_id)

    def _judge_nan(self, task_id: str, key: str, step: int) -> None:
        reason = f"{key!r} is not a number at iteration {step}"
        if self._on_nan == "fail":
            self._decide(task_id, Reason.INVALID_VALUE, reason, None)
        elif self._on_nan == "prune":
            self._decide(task_id, Reason.PRUNED, reason, step)

    def _decide(self, task_id: str, reason_class: Reason, reason: str, iteration: int | None) -> None:
        self._decided[task_id] = StopRequest(reason_class=reason_class, reason=reason, iteration=iteration)

    def against(self, job: Job) -> StopRequest | None:
        """The decision that an ended job's record doesn't show: its program was faster, or reported on."""
        request, record = self._decided.get(job.task_id()), job.record
        if request is None:
            return None
        by_itself = record.status is Status.COMPLETED
        first = job.scalars.get(self._metrics[0].key)
        reports = first.count if first is not None else 0
        if by_itself and reports < MIN_REPORTS and request.reason_class is Reason.PRUNED:
            return None
        by_value = record.reason_class in (Reason.ITERATION_LIMIT, Reason.INVALID_VALUE)
        if by_itself or (by_value and record.reason_class is not request.reason_class):
            return request
        if record.reason_class is not Reason.PRUNED or request.iteration is None:
            return None
        return request if self.counted(job) != job.scalars.get(self._metrics[0].key) else None

    def counted(self, job: Job) -> Summary | None:
        """The first objective's summary with only the values that were told; None when it has none."""
        known = job.scalars.get(self._metrics[0].key)
        told = self._search.told_values(job.trial) if self._search is not None else {}
        return summary_of(known, told)

    def has_decided(self, task_id: str) -> bool:
        """Whether there is a decision against a task: what it has reported since is told to nobody."""
        return task_id in self._decided

    def forget(self, task_id: str) -> None:
        """The trial was told; keep nothing of it."""
        self._decided.pop(task_id, None)


def summary_of(known: Summary | None, told: dict[int, float]) -> Summary | None:
    """A metric's summary in which only some values count; how often it was reported stays.

    Args:
        told: iteration → value, of those that count.
    """
    if known is None or not told:
        return known
    summary = Summary.of(known.title, known.series)
    for step, value in sorted(told.items()):
        summary = summary.add(value, step)
    return replace(summary, count=known.count, iterations=known.iterations)
