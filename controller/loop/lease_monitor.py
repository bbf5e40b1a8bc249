"""Care of launched jobs: workers that vanished, jobs that RQ lost, tasks that need another attempt."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

from redis.exceptions import NoPermissionError

from controller.loop.backend import Backend
from controller.loop.job import Job
from controller.loop.observer import Observer
from worker.protocol import Reason, Status
from worker.protocol.errors import BadInput, ForbiddenJob, RecordError
from worker.protocol.study_log import LogKind


class LeaseMonitor:
    """Finds the jobs that nobody works on any more and sees to them. Used by the loop's thread only.

    Args:
        lease_s: a worker that has not renewed its lease for so long is lost.
        max_attempts: executions of one task before it is given up.
        queue: where tasks go whose own queue nobody serves any more.
    """

    def __init__(
        self, backend: Backend, observer: Observer, *, lease_s: float, max_attempts: int, queue: str
    ) -> None:
        self._backend = backend
        self._store = backend.store
        self._observer = observer
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._queue = queue
        self._queued_since: dict[str, float] = {}
        self._queued: dict[str, int] = {}
        """Task id → the attempt of which the job was put on the queue again."""
        self._trust_from = 0.0
        self._next = 0.0

    def give_time(self, leases: int = 1) -> None:
        """Believe in expired leases only after so many leases' time: their holders could not renew them."""
        self._trust_from = time.monotonic() + leases * self._lease_s

    def queued(self, task_id: str) -> None:
        """The task's job was put on the queue now."""
        self._queued_since[task_id] = time.monotonic()

    def has_queued(self, task_id: str, attempt: int) -> bool:
        """Whether `relaunch` has put this attempt's job on the queue, and it has not begun."""
        return self._queued.get(task_id) == attempt

    def forget(self, task_id: str) -> None:
        """The task runs, or has ended."""
        self._queued_since.pop(task_id, None)
        self._queued.pop(task_id, None)

    def sweep(self, now: float, jobs: Collection[Job]) -> list[Job]:
        """Look after the jobs, if it is time.

        Returns:
            Those of which something is new.
        """
        if now < self._next:
            return []
        self._next = now + self._lease_s / 3
        changed: list[Job] = []
        held = [job for job in jobs if job.is_running()]
        if held and now >= self._trust_from:
            alive = self._store.tasks.leases([job.task_id() for job in held])
            for job, lives in zip(held, alive, strict=True):
                if not lives:
                    self._lost(job)
                    changed.append(job)
        waiting = [
            job
            for job in jobs
            if job.is_pending() and now - self._queued_since.setdefault(job.task_id(), now) > self._lease_s
        ]
        for queue in {job.record.spec.queue for job in waiting}:
            those = [job for job in waiting if job.record.spec.queue == queue]
            attempts = [(job.task_id(), job.record.attempt) for job in those]
            on_queue = self._waiting(queue, attempts) or [False] * len(attempts)
            for job, is_there in zip(those, on_queue, strict=True):
                if not is_there and not self.relaunch(job):
                    changed.append(job)
        return changed

    def _lost(self, job: Job) -> None:
        """A job without a lease: another attempt if its worker is really gone, and if it may have one."""
        try:
            record = job.refresh()
        except RecordError:
            return  # the next look takes it for lost, and writes it again
        if record.status is not Status.IN_PROGRESS or self._store.tasks.leases([record.id])[0]:
            return
        reason = f"worker {record.worker} was lost"
        if record.stop:
            # It was to stop anyhow; nobody is left to say so.
            job.update(
                self._store.transitions.force_finish(record.id, record.stop.reason_class, record.stop.reason)
            )
        elif record.spent_attempts >= self._max_attempts:
            text = f"{reason}; {record.spent_attempts} attempts of {self._max_attempts} were lost"
            job.update(self._store.transitions.force_finish(record.id, Reason.WORKER_LOST, text))
        else:
            what = f"trial {job.trial}" if job.trial >= 0 else record.name
            self._observer.remark(LogKind.LOST, f"{what}: {reason}; another attempt follows")
            job.update(self._store.transitions.requeue(record.id, record.attempt, reason=reason))
            self.relaunch(job)

    def _waiting(self, queue: str, attempts: list[tuple[str, int]]) -> list[bool]:
        """As `Launcher.waiting`; empty for a queue that can't be, or isn't for this controller."""
        try:
            return self._backend.launcher.waiting(queue, attempts)
        except (BadInput, NoPermissionError):
            return []

    def relaunch(self, job: Job) -> bool:
        """Put a queued task's current attempt on the queue again. False when it isn't queued any more."""
        try:
            record = self._store.tasks.get(job.task_id())  # as it stands there: what was altered is found out
        except RecordError:
            return False  # the next look takes it for lost, and writes it again
        job.update(record)
        if record.status is not Status.QUEUED:
            return False
        job.scalars = {}
        try:
            wanted = self._backend.launcher.verified(record).spec
        except ForbiddenJob as error:
            job.update(self._store.transitions.force_finish(record.id, Reason.LAUNCH_ERROR, str(error)))
            return False
        queue = job.record.spec.queue
        if queue != self._queue and not (
            self._store.workers.list(queue) and self._waiting(queue, [(record.id, record.attempt)])
        ):
            # As that of workers which were started for an earlier run, and went with it.
            queue = self._queue
        wanted = replace(wanted, queue=queue)
        if wanted != record.spec:
            record = self._store.tasks.edit(record.id, lambda old: replace(old, spec=wanted))
            job.update(record, queue=queue)
        self._backend.launcher.enqueue(record)
        self.queued(record.id)
        self._queued[record.id] = record.attempt
        return True
