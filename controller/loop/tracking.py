"""Keeps the running jobs up to date: what events say, what records say, and the limits of each job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from controller.loop.context import LoopContext
from controller.loop.first_failures import FirstFailures
from controller.loop.job import Job
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.monitor import Changes
from controller.search.decision_log import ENDED, LAUNCHED
from worker.protocol import Reason, Status, Summary


class JobTracker:
    """Has the running jobs show what their tasks do. Used by the loop's thread only.

    Args:
        restore_lost: called when a running task has no record any more.
    """

    def __init__(
        self,
        context: LoopContext,
        leases: LeaseMonitor,
        restore_lost: Callable[[], object],
    ) -> None:
        self._store = context.backend.store
        self._state = context.state
        self._budget = context.budget
        self._objective = context.objective
        self._settings = context.settings
        self._leases = leases
        self._search = context.search
        self._observer = context.observer
        self._hooks = context.hooks
        self._restore_lost = restore_lost
        self.first_failures = FirstFailures(context.settings.first_failures)
        """How the study's first trials have ended."""

    def adopt(self, job: Job) -> None:
        """Count a launched job among the running ones."""
        task_id = job.task_id()
        job.watched = True
        self._state.running[task_id] = job
        self._state.created[task_id] = job.parameters
        self._leases.queued(task_id)
        self._budget.open_job(task_id)
        self._note(job, LAUNCHED)

    def _note(self, job: Job, kind: str) -> None:
        if self._search is not None and job.trial >= 0:
            self._search.note(job.trial, kind)

    # What is new

    def apply(self, changes: Changes) -> None:
        """Bring the running jobs up to what the events say."""
        running = self._state.running
        for task_id, start in changes.started.items():
            job = running.get(task_id)
            if job and job.record.attempt <= start.attempt:
                job.update(
                    replace(
                        job.record,
                        status=Status.IN_PROGRESS,
                        attempt=start.attempt,
                        started_at=start.at,
                        worker=start.worker,
                    )
                )
                job.scalars = {}
                self._leases.forget(task_id)
                self._observer.started(job)
        # What a checkpoint has kept stands in the record only.
        self.refresh([task_id for task_id in changes.resumed if task_id in running])
        for task_id, points in changes.points.items():
            job = running.get(task_id)
            if job:
                self._add_points(job, points)
                self._state.due.add(task_id)
        self.refresh([task_id for task_id in changes.ended if task_id in running])
        for task_id, attempt in changes.requeued.items():
            # Not the attempts that this controller has queued itself.
            if task_id in running and not self._leases.has_queued(task_id, attempt):
                self.relaunch(running[task_id])

    def _add_points(self, job: Job, points: Sequence[tuple[int, int, float]]) -> None:
        metrics = self._objective.metrics
        for index, iteration, value in points:
            if index < len(metrics):
                metric = metrics[index]
                summary = job.scalars.get(metric.key) or Summary.of(metric.title, metric.series)
                job.scalars[metric.key] = summary.add(value, iteration)
        first = job.scalars.get(metrics[0].key)
        count, highest = (first.iterations, first.last_iteration) if first else (0, -1)
        job.update(replace(job.record, iterations=count, last_iteration=highest))
        self._observer.reported(job)

    def refresh(self, task_ids: Sequence[str]) -> None:
        """Read records and scalars of running jobs; they are monitored in this step."""
        if not task_ids:
            return
        missing = False
        for task_id, (record, scalars, saved) in zip(task_ids, self._store.tasks.look(task_ids), strict=True):
            if record is None:
                missing = True
                continue
            job = self._state.running[task_id]
            job.update(record)
            job.scalars = scalars
            job.saved = saved if record.status.is_finished else None
            self._state.due.add(task_id)
        if missing:
            self._restore_lost()

    def relaunch(self, job: Job) -> None:
        """Put a queued task on the queue again; read it instead if it is not queued any more."""
        if not self._leases.relaunch(job):
            self.refresh([job.task_id()])

    # Monitoring

    def monitor_due(self) -> None:
        """Monitor each job of which something is new, and take those that have ended off the list."""
        self._look_at_due(self._hooks.monitor_job)

    def account_due(self) -> None:
        """As `monitor_due`, for a subclass that monitors its jobs itself."""
        self._look_at_due(self.check_limits)

    def _look_at_due(self, monitor: Callable[[Job], bool]) -> None:
        due = list(self._state.due)
        self._state.due.clear()
        for place, task_id in enumerate(due):
            job = self._state.running.get(task_id)
            try:
                if job is not None:
                    self._monitor(job, monitor)
            except BaseException:
                self._state.due.update(due[place:])  # the step that was cut short is run again
                raise

    def _monitor(self, job: Job, monitor: Callable[[Job], bool]) -> None:
        state, task_id = self._state, job.task_id()
        if task_id not in state.dismissed and not monitor(job) and not job.is_stopped():
            # A subclass has given it up: it is stopped now, and told when it has ended.
            state.dismissed.add(task_id)
            self.abort(job, Reason.USER, "given up by the optimizer")
        if job.is_stopped() and task_id in state.running:
            self.charge(job)
            self._note(job, ENDED)
            del state.running[task_id]
            state.dismissed.discard(task_id)
            self._leases.forget(task_id)
            state.ended.append(job)
            hopeless = self.first_failures.ended(job.record, state.running.values())
            self._budget.hopeless = self._budget.hopeless or hopeless

    def check_limits(self, job: Job) -> bool:
        """Account for a job, and stop it if it is over a limit. False when it has ended."""
        task_id = job.task_id()
        self._budget.compute_time.update(task_id, job.computed_s() / 60)
        if job.is_stopped():
            return False
        iterations = job.record.used_iterations
        self._budget.iterations.update(task_id, iterations)
        limit, seconds = self._budget.max_iteration_per_job, job.record.spec.time_limit_s
        # The worker itself keeps both limits; this is for one that does not.
        if limit is not None and iterations > limit:
            self.abort(job, Reason.ITERATION_LIMIT, f"reached its limit of {limit} iterations")
        elif seconds is not None and job.computed_s() > seconds + self._settings.lease_s:
            self.abort(job, Reason.TIME_LIMIT, f"ran for its limit of {seconds:g} s")
        return True

    def charge(self, job: Job, *, counts: bool = True) -> None:
        """Charge the budget with what an ended job has used.

        Args:
            counts: False for one that has failed and is tried again: only its time is charged.
        """
        task_id, record = job.task_id(), job.record
        self._budget.compute_time.update(task_id, job.computed_s() / 60)
        self._budget.close_job(
            task_id,
            iterations=record.used_iterations,
            reports=record.iterations,
            by_itself=not job.is_aborted(),
            counts=counts and record.reason_class is not Reason.STUDY_STOPPED,
        )
        machine = record.reason_class is not None and record.reason_class.is_machine_fault
        if counts and job.is_failed() and not machine:
            self._budget.failures.update(task_id, 1)

    def abort(self, job: Job, reason_class: Reason, reason: str, iteration: int | None = None) -> None:
        """Ask a running job to stop, see `Job.abort`; once is enough."""
        if job.record.stop is None and not job.is_stopped():
            job.abort(reason_class, reason, iteration)
            if job.is_stopped():
                self.refresh([job.task_id()])
