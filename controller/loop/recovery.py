"""Recovery: what an earlier controller left running, and what Redis has lost.

Nothing is dropped and nothing is repeated: task records and trials are compared, and each is brought up to
the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from controller.loop.backend import Backend
from controller.loop.context import LoopContext
from controller.loop.failed_trials import FailedTrials
from controller.loop.job import Job
from controller.loop.monitor import Monitor
from controller.loop.progress import StudyProgress
from controller.loop.tracking import JobTracker
from controller.search.decision_log import ADOPTED
from controller.search.search import Asked, Search
from controller.search.trial_snapshot import restore_task
from worker.protocol import FINISHED, Status, Summary, TaskRecord
from worker.protocol.copies import TaskCopy, write_tasks

CHUNK = 500
"""Task records read at once."""
MOST_NUMBERS = 50
"""Trials taken up that the log names, of each kind."""


@dataclass
class Leftover:
    """What a study holds when a controller starts on it."""

    closed: list[TaskRecord] = field(default_factory=list)
    """Tasks that have ended, told or not: the budget counts them."""
    ended: list[tuple[Job, dict[str, Summary]]] = field(default_factory=list)
    """Tasks that have ended and whose trials were not told, with their scalars."""
    running: list[Job] = field(default_factory=list)
    """Tasks that are queued or run."""
    unlaunched: list[Asked] = field(default_factory=list)
    """Trials that were asked for and have no task."""


def reconcile(backend: Backend, search: Search | None, study: str) -> Leftover:
    """Compare the study's records in Redis with Optuna's trials."""
    store = backend.store
    left = Leftover()
    records: dict[str, TaskRecord] = {}
    trials = store.studies.trials(study)
    ids = list(trials)
    for start in range(0, len(ids), CHUNK):
        for record in store.tasks.get_many(ids[start : start + CHUNK]):
            if record is not None:  # which trial it is stands where workers can't write
                records[record.id] = replace(record, study=study, trial=trials[record.id])
    open_trials = {asked.task_id: asked for asked in (search.running() if search else ())}
    for record in records.values():
        asked = open_trials.get(record.id)
        parameters = asked.parameters if asked else record.spec.parameters
        if record.status in FINISHED:
            left.closed.append(record)
            if asked:
                scalars = store.reports.scalars([record.id])[0]
                left.ended.append((Job.adopt(record, parameters, backend), scalars))
        else:
            left.running.append(Job.adopt(record, parameters, backend))
    left.unlaunched = [asked for asked in open_trials.values() if asked.task_id not in records]
    left.unlaunched.sort(key=lambda asked: asked.number)
    return left


def _adopted(left: Leftover) -> dict[str, Any]:
    """For the log: how many trials were taken up, and the numbers of the first of them."""
    kinds = {
        "running": [job.trial for job in left.running],
        "ended": [job.trial for job, _ in left.ended],
        "unlaunched": [asked.number for asked in left.unlaunched],
    }
    return {
        kind: {"count": len(found), "trials": sorted(found)[:MOST_NUMBERS]}
        for kind, found in kinds.items()
        if found
    }


class Recovery:
    """Continues a study, and writes what Redis has lost of it. Used by the loop's thread only.

    Args:
        base_task_id: the task that jobs are made from.
    """

    def __init__(
        self,
        context: LoopContext,
        monitor: Monitor,
        tracker: JobTracker,
        progress: StudyProgress,
    ) -> None:
        self._base_task_id = context.base_task_id
        self._backend = context.backend
        self._store = context.backend.store
        self._state = context.state
        self._budget = context.budget
        self._search = context.search
        self._monitor = monitor
        self._tracker = tracker
        self._progress = progress
        self._observer = context.observer
        self._hooks = context.hooks
        self._failed = FailedTrials(context.search, context.observer, retry=context.settings.retry_failed)

    # What an earlier controller left

    def adopt_leftover(self) -> Leftover:
        """Continue the study where it stands: count what has ended, take over what runs.

        Returns:
            What there was. Reports of its running and ended tasks are still to be told.
        """
        left = reconcile(self._backend, self._search, self._state.study)
        restored, wall_clock = self._restore_told({record.id for record in left.closed})
        record = self._progress.record
        again = self._failed.look_at((*left.closed, *restored))
        for closed in (*left.closed, *restored):
            self._observer.known(closed)
            if record is not None and closed.created_at < record.budget_since:
                continue  # of an earlier optimization
            self._count(closed, counts=closed.id not in again)
            if closed.id not in again and (record is None or closed.trial >= record.judged_from):
                self._tracker.first_failures.know(closed)
        if self._search is not None and (left.running or left.ended or left.unlaunched):
            self._search.log.record(ADOPTED, _adopted(left))
        for job, scalars in left.ended:
            job.scalars = scalars
            self._state.ended.append(job)
        for job in left.running:
            self._tracker.adopt(job)
        self._state.asked.extend(left.unlaunched)
        if record is not None:
            used = (record.budget.get("wall_clock") or {}).get("used") or 0.0
            self._budget.wall_clock.update("study", max(float(used), wall_clock))
        self._say_what(left, restored)
        left.closed += restored
        return left

    def _say_what(self, left: Leftover, restored: Sequence[TaskRecord]) -> None:
        if restored:
            self._observer.note(f"Redis had lost {len(restored)} ended task(s); recalled from their trials")
        if left.running or left.ended or left.unlaunched:
            self._observer.note(
                f"taking up {len(left.running)} running, {len(left.ended)} ended and "
                f"{len(left.unlaunched)} unlaunched trial(s)"
            )

    def _count(self, closed: TaskRecord, *, counts: bool) -> None:
        """Charge a task that ended before this controller began.

        Args:
            counts: False for one that has failed and is tried again: only its time is charged.
        """
        chosen = {name: closed.spec.parameters.get(name) for name in closed.spec.searched}
        self._state.created[closed.id] = chosen or closed.spec.parameters
        self._budget.open_job(closed.id)
        self._tracker.charge(Job.adopt(closed, closed.spec.parameters, self._backend), counts=counts)

    # What Redis has lost

    def restore_lost(self) -> bool:
        """Write again what Redis has lost of the study: all of it, or single tasks.

        What ran is run again; a worker that still runs it can't report any more, as its attempt is over.

        Returns:
            False when nothing is missing.
        """
        if self._progress.record is not None and self._store.studies.find(self._state.study) is None:
            self._observer.note("Redis has lost the study; writing it again, what ran is run again")
            self._restore_study()
            return True
        running = list(self._state.running.values())
        records = self._store.tasks.get_many([job.task_id() for job in running])
        lost = [job for job, record in zip(running, records, strict=True) if record is None]
        for job in lost:
            self._restore_task(job)
        return bool(lost)

    def _restore_study(self) -> None:
        self._monitor.open()
        for base in self._backend.known_base_tasks():
            write_tasks(self._store, [TaskCopy(record=base)])
        # The trials of running jobs are not told yet, so they hold no snapshot.
        self._restore_told(set(self._state.running))
        untold = [TaskCopy(record=job.record, scalars=job.scalars) for job in self._state.ended]
        write_tasks(self._store, untold)
        for job in list(self._state.running.values()):
            self._restore_task(job)
        # Last: while it is missing, all of this is done again.
        self._progress.restore()

    def _restore_told(self, known: set[str]) -> tuple[list[TaskRecord], float]:
        """Write the told tasks that Redis lacks, from their trials' snapshots.

        Args:
            known: ids of the tasks to leave out.

        Returns:
            Their records, and the minutes that the study had taken when the last of them was told.
        """
        copies: list[TaskCopy] = []
        taken = 0.0
        for told in self._search.snapshots(known) if self._search else ():
            found = restore_task(told, self._fresh(told.number, told.task_id, told.parameters))
            if found is not None:
                copies.append(found[0])
                taken = max(taken, found[1])
        write_tasks(self._store, copies)
        return [copy.record for copy in copies], taken

    def _fresh(self, number: int, task_id: str, parameters: dict[str, Any]) -> TaskRecord:
        """The record that a trial's task would have if it were created now."""
        job = self._hooks.helper_create_job(
            self._base_task_id, parameter_override=parameters, trial=number, task_id=task_id
        )
        return job.record

    def _restore_task(self, job: Job) -> None:
        """Have a launched task whose record is lost run again, unless it was to stop."""
        old, now = job.record, self._backend.clock.now()
        new = replace(old.again("Redis has lost its record"), queued_at=now, compute_s=job.computed_s())
        if old.stop is not None:
            new = replace(
                new,
                status=old.stop.reason_class.status,
                reason_class=old.stop.reason_class,
                reason=old.stop.reason,
                ended_at=now,
                started_at=old.started_at if old.status is Status.IN_PROGRESS else None,
            )
        write_tasks(self._store, [TaskCopy(record=new)])
        job.update(new)
        job.scalars = {}
        if new.status is Status.QUEUED:
            self._tracker.relaunch(job)
        else:
            self._state.due.add(job.task_id())
