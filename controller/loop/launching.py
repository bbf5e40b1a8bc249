"""Creating and launching jobs: the part of the loop that fills free slots."""

from __future__ import annotations

import threading
from collections import deque

from controller.api.questions import StrategyQuestions
from controller.loop.budget import Budget, Verdict
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.observer import Observer
from controller.search.search import Asked, Search
from worker.protocol.connection import AWAY


class Launching(StrategyQuestions):
    """Base of `SearchStrategy`. Used by the loop's thread only."""

    budget: Budget
    _search: Search | None
    _care: LeaseMonitor
    _fleet: Fleet
    _observer: Observer
    _execution_queue: str
    _ending: Verdict | None
    _paused: bool
    _finish_asked: bool
    """An objective has called ``study.stop()``: what runs is the last."""
    _stop_asked: threading.Event

    def __init__(self) -> None:
        super().__init__()
        self._asked: deque[Asked] = deque()
        self._nothing_created = False
        """The last `create_job` that was allowed to gave nothing, for no reason of ours."""

    def create_job(self) -> Job | None:
        raise NotImplementedError

    def _may_create(self) -> bool:
        if self._over() or self._paused or self._exhausted():
            return False
        ahead = self._search is not None and self._search.can_ask_ahead
        # Whoever learns from results is not asked for more than the workers can run.
        if (self.budget.max_concurrent is None or (self._search and not ahead)) and (
            self.budget.running >= self._fleet.target(ahead=ahead)
        ):
            return False
        return self.budget.may_create().ok

    def _over(self) -> bool:
        """Whether the end was asked for or has begun."""
        return self._ending is not None or self._stop_asked.is_set() or self._finish_asked

    def _exhausted(self) -> bool:
        """Whether the sampler has nothing left; what it has given already is still to be run."""
        return self._search is not None and self._search.exhausted and not self._asked

    def _launch_asked(self) -> None:
        """Fill free slots with what needs no results: trials asked for already, or asked for blindly."""
        while self._search and (self._asked or self._search.can_ask_ahead) and self._launch_one():
            pass

    def _launch_new(self) -> None:
        while self._launch_one():
            pass
        self._ask_ahead()

    def _launch_one(self) -> bool:
        if not self._may_create():
            return False
        job = self.create_job()
        self._nothing_created = job is None and not self._exhausted()
        if job is None:
            return False
        try:
            job.launch(self._execution_queue)
        except AWAY:
            # The trial is asked for already: launch it when Redis is back.
            if job.trial >= 0:
                self._asked.appendleft(
                    Asked(number=job.trial, task_id=job.task_id(), parameters=job.parameters)
                )
            raise
        self._adopt(job)
        self._observer.launched(job)
        return True

    def _adopt(self, job: Job) -> None:
        """Take a launched job among the running ones."""
        task_id = job.task_id()
        job.watched = True
        self._running[task_id] = job
        self._created[task_id] = job.parameters
        self._care.queued(task_id)
        self.budget.open_job(task_id)

    def _ask_ahead(self) -> None:
        """Have one trial ready for the next free slot, where that changes nothing for the sampler."""
        search = self._search
        if search is None or not search.can_ask_ahead or self._asked or not self._running:
            return
        limit = self.budget.jobs.limit
        if self._over() or search.exhausted or self._paused:
            return
        if self.budget.iterations.limit is None and (limit is None or self.budget.jobs.used < limit):
            asked = search.ask()
            if asked is not None:
                self._asked.append(asked)
