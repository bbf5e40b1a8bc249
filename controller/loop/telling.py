"""Tells Optuna what tasks report and how they end, and has a trial without hope stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from controller.loop.context import LoopContext
from controller.loop.decisions import Decisions
from controller.loop.job import Job
from controller.loop.tracking import JobTracker
from controller.loop.verdicts import told_of, trial_state
from controller.search.search import Search
from controller.search.trial_snapshot import take_snapshot
from worker.artifacts import ArtifactMeta
from worker.protocol import Reason, Status
from worker.protocol.errors import RecordError
from worker.protocol.metrics import violations
from worker.protocol.nearest import nearest

log = logging.getLogger(__name__)


class Telling:
    """Tells each trial's reports and its end, each once. Used by the loop's thread only.

    Args:
        search: None for a search whose class creates its own jobs: their ends are only shown.
        on_ended: called with each job that has ended, after its trial was told.
        on_told: likewise, once for each whatever connections are lost meanwhile.
    """

    def __init__(
        self,
        context: LoopContext,
        tracker: JobTracker,
        on_ended: Callable[[Job], None],
        on_told: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self._store = context.backend.store
        self._state = context.state
        self._budget = context.budget
        self._objective = context.objective
        self._settings = context.settings
        self._search = context.search
        self._decisions = Decisions(context)
        self._tracker = tracker
        self._observer = context.observer
        self._on_ended, self._on_told = on_ended, on_told
        self.adopted: set[str] = set()
        """Ids of tasks that an earlier controller has launched: some of their reports are in records only."""
        self._metric_checked = False

    def tell_reports(self, points: Mapping[str, Sequence[tuple[int, int, float]]]) -> None:
        """Tell the objective's values on the way; stop a trial that the pruner gives up.

        Args:
            points: task id → (metric index, iteration, value), oldest first.
        """
        if self._search is None:
            return
        ended = {job.task_id(): job for job in self._state.ended}
        for task_id, reported in points.items():
            job = self._state.running.get(task_id) or ended.get(task_id)
            if job is None or job.trial < 0:
                continue
            self._tell_points(job, reported)

    def _tell_points(self, job: Job, points: Iterable[tuple[int, int, float]]) -> None:
        request = self._decisions.take(job, points)
        if request is not None and job.task_id() in self._state.running:
            self._tracker.abort(job, request.reason_class, request.reason, request.iteration)

    def tell_recorded(self, job: Job) -> None:
        """Tell what a task has reported while no controller listened: it stands in Redis."""
        if self._search is None or job.trial < 0:
            return
        key = self._objective.metrics[0].key
        points = self._store.reports.series(job.task_id()).get(key, [])
        self._tell_points(job, [(0, iteration, value) for iteration, value, _ in points])

    def tell_ended(self) -> None:
        """Tell the trials of all jobs that have ended."""
        while self._state.ended:
            job = self._state.ended[0]
            if job.trial >= 0 and self._search is not None:
                self._tell_end(self._search, job)
            self._check_metrics(job)
            self._on_ended(job)
            # Not before: if Redis goes away meanwhile, this job is told again, which changes nothing.
            self._state.ended.pop(0)
            self._on_told(job)
            self._decisions.forget(job.task_id())
            self._observer.ended(job)

    def _tell_end(self, search: Search, job: Job) -> None:
        if job.task_id() in self.adopted or self._has_untold(search, job):
            self.tell_recorded(job)
        self._overrule(job)
        record = job.record
        state, values = trial_state(record, self._objective.values(job.scalars))
        if record.reason_class is Reason.STUDY_STOPPED:
            # It was cut short with its study: when that goes on, these parameters are tried again.
            search.try_again(job.trial)
        saved = job.saved if job.saved is not None else self._store.artifacts.of_task(job.task_id())
        search.link(job.trial, _readable(job.task_id(), saved))
        search.keep_snapshot(
            job.trial, take_snapshot(record, job.scalars, saved, self._budget.wall_clock.used)
        )
        why = told_of(record)
        if record.reason_class is not None and record.reason_class.is_machine_fault:
            search.discard(job.trial, why)  # it says nothing about its parameters: they may come again
            return
        bounds = self._settings.constraints
        search.tell(job.trial, state, values, violations(bounds, job.scalars) if bounds else None, why)

    def _has_untold(self, search: Search, job: Job) -> bool:
        """Whether a job's record was read before the events of its last reports: those come too late."""
        summary = job.scalars.get(self._objective.metrics[0].key)
        if summary is None or not search.takes_reports or self._decisions.has_decided(job.task_id()):
            return False
        return summary.last_iteration not in search.told_values(job.trial)

    def _overrule(self, job: Job) -> None:
        """Have a decision stand that came too late for the job's program."""
        request = self._decisions.against(job)
        if request is None:
            return
        summary = self._decisions.counted(job)
        job.update(self._store.overruling.overrule(job.task_id(), request, summary))
        if summary is not None:
            job.scalars = {**job.scalars, summary.key: summary}
        self._budget.failures.update(job.task_id(), int(job.is_failed()))

    def _check_metrics(self, job: Job) -> None:
        """Warn if the first job that ended by itself lacks one of the objective's metrics."""
        record = job.record
        ended = record.status is Status.COMPLETED or record.reason_class is Reason.INVALID_VALUE
        if self._metric_checked or not ended:
            return
        self._metric_checked = True
        reported = [key for key in sorted(job.scalars) if not key.startswith(":monitor:")]
        for metric in self._objective.metrics:
            if metric.key not in job.scalars:
                near = nearest(metric.key, reported)
                hint = f"; did you mean {near!r}?" if near else ""
                said = ", ".join(reported) or "nothing"
                self._observer.note(
                    f"the first finished job has no metric {metric.key!r}; it reported {said}{hint}"
                )


def _readable(task_id: str, artifacts: Mapping[str, str]) -> list[ArtifactMeta]:
    """The descriptions of a task's artifacts, except those that can't be read."""
    found = []
    for name, text in artifacts.items():
        try:
            found.append(ArtifactMeta.from_json(text))
        except RecordError as error:
            log.warning("task %s: artifact %r is not linked: %s", task_id, name, error)
    return found
