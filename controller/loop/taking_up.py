"""Taking up what there is of a study: what an earlier controller has left, and what a Redis has lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from controller.loop.ending import Ending
from controller.loop.job import Job
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.monitor import Monitor
from controller.loop.recovery import reconcile
from controller.search.trial_snapshot import recall
from worker.protocol import Status, StudyRecord, TaskRecord
from worker.protocol.copies import TaskCopy, write_tasks


class TakingUp(Ending):
    """Base of `SearchStrategy`. Used by the loop's thread only."""

    _base_task_id: str
    _care: LeaseMonitor
    _monitor: Monitor
    _pool_period_s: float
    _next_poll: float
    _last_tick: float
    _taken_up: set[str]

    def helper_create_job(self, base_task_id: str, parameter_override: Any = None, **kwargs: Any) -> Job:
        raise NotImplementedError

    def _account(self, job: Job) -> None:
        raise NotImplementedError

    def _obey(self, request: str) -> None:
        raise NotImplementedError

    def _refresh(self, task_ids: Sequence[str]) -> None:
        raise NotImplementedError

    def _relaunch(self, job: Job) -> None:
        raise NotImplementedError

    def _tell_kept(self, job: Job) -> None:
        raise NotImplementedError

    def _open(self) -> None:
        """Take up what an earlier controller has left, and begin listening."""
        now = time.monotonic()
        self._monitor.open()
        self._record = self._store.find_study(self._study)
        left = reconcile(self._backend, self._search, self._study)
        recalled, wall_clock = self._recall({record.id for record in left.closed})
        for closed in (*left.closed, *recalled):
            self._observer.known(closed)
            if self._record and closed.created_at < self._record.budget_since:
                continue  # of an optimization before this one
            self._count(closed)
        self._taken_up = {job.task_id() for job in (*left.running, *(job for job, _ in left.ended))}
        for job, scalars in left.ended:
            job.scalars = scalars
            self._ended.append(job)
        for job in left.running:
            self._adopt(job)
            self._tell_kept(job)
            if job.is_pending():
                self._relaunch(job)
        self._refresh([job.task_id() for job in left.running])
        self._asked.extend(left.unlaunched)
        if self._record:
            used = (self._record.budget.get("wall_clock") or {}).get("used") or 0.0
            self.budget.wall_clock.update("study", max(float(used), wall_clock))
        self._last_tick = now
        self._next_poll = now + self._pool_period_s
        self._care.give_time()
        self._fleet.look(now)
        # What was asked of this controller while it stood by.
        self._obey(self._store.take_request(self._study))
        if recalled:
            self._observer.note(f"Redis had lost {len(recalled)} ended task(s); recalled from their trials")
        if left.running or left.ended or left.unlaunched:
            self._observer.note(
                f"taking up {len(left.running)} running, {len(left.ended)} ended and "
                f"{len(left.unlaunched)} unlaunched trial(s)"
            )

    def _count(self, closed: TaskRecord) -> None:
        """Charge a task that has ended before this controller began."""
        chosen = {name: closed.spec.parameters.get(name) for name in closed.spec.searched}
        self._created[closed.id] = chosen or closed.spec.parameters
        self.budget.open_job(closed.id)
        self._account(Job.adopt(closed, closed.spec.parameters, self._backend))

    # What Redis has lost

    def _recall(self, known: set[str]) -> tuple[list[TaskRecord], float]:
        """Write the told tasks that Redis doesn't have, as their trials remember them.

        Args:
            known: ids of the ended tasks that it has.

        Returns:
            Their records, and the minutes that the study had taken by the last of them.
        """
        copies: list[TaskCopy] = []
        taken = 0.0
        for told in self._search.remembered(known) if self._search else ():
            found = recall(told, self._fresh(told.number, told.task_id, told.parameters))
            if found is not None:
                copies.append(found[0])
                taken = max(taken, found[1])
        write_tasks(self._store, copies)
        return [copy.record for copy in copies], taken

    def _fresh(self, number: int, task_id: str, parameters: dict[str, Any]) -> TaskRecord:
        """The record that a trial's task would have were it created now."""
        job = self.helper_create_job(
            self._base_task_id, parameter_override=parameters, trial=number, task_id=task_id
        )
        return job.record

    def _recover(self) -> bool:
        """Write anew what Redis has lost of the study: all of it, or single tasks.

        What ran is run again: whoever still runs it can't report any more, as its attempt is over.

        Returns:
            False when nothing is missing.
        """
        if self._record is not None and self._store.find_study(self._study) is None:
            self._observer.note("Redis has lost the study; writing it anew, what ran is run again")
            self._recover_study(self._record)
            return True
        running = list(self._running.values())
        records = self._store.get_many([job.task_id() for job in running])
        lost = [job for job, record in zip(running, records, strict=True) if record is None]
        for job in lost:
            self._recover_task(job)
        return bool(lost)

    def _recover_study(self, record: StudyRecord) -> None:
        self._monitor.open()
        for base in self._backend.known_base_tasks():
            write_tasks(self._store, [TaskCopy(record=base)])
        # Told and not told: the latter are in no trial's memory yet.
        self._recall(set(self._running))
        write_tasks(self._store, [TaskCopy(record=job.record, scalars=job.scalars) for job in self._ended])
        for job in list(self._running.values()):
            self._recover_task(job)
        # Last: as long as it is missing, all of this is done again.
        self._store.save_study(replace(record, budget=self.budget.to_dict(), state=self.state))

    def _recover_task(self, job: Job) -> None:
        """Have a launched task whose record is lost run again, unless it was to stop anyhow."""
        old, now = job.record, self._backend.clock.now()
        ran = old.status is Status.IN_PROGRESS
        again = old.again("Redis has lost its record")
        new = replace(again, queued_at=now, compute_s=job.computed_s())
        if old.stop is not None:
            new = replace(
                new,
                status=old.stop.reason_class.status,
                reason_class=old.stop.reason_class,
                reason=old.stop.reason,
                ended_at=now,
                started_at=old.started_at if ran else None,
            )
        write_tasks(self._store, [TaskCopy(record=new)])
        job.update(new)
        job.scalars = {}
        if new.status is Status.QUEUED:
            self._relaunch(job)
        else:
            self._due.add(job.task_id())
