"""Creates and launches jobs: the part of the loop that fills free slots."""

from __future__ import annotations

import redis

from controller.loop.context import LoopContext
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.tracking import JobTracker
from controller.search.search import Asked
from worker.protocol.connection import can_pass


class Launching:
    """Launches as many jobs as budget and workers allow. Used by the loop's thread only.

    Args:
        base_task_id: the task that jobs are made from.
    """

    def __init__(
        self,
        context: LoopContext,
        fleet: Fleet,
        tracker: JobTracker,
    ) -> None:
        self._base_task_id = context.base_task_id
        self._state = context.state
        self._budget = context.budget
        self._search = context.search
        self._fleet = fleet
        self._tracker = tracker
        self._requests = context.requests
        self._observer = context.observer
        self._hooks = context.hooks
        self.gave_nothing = False
        """The last `create_job` that was allowed returned no job, for no reason of the loop's."""

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing left and all that it gave is launched."""
        return self._search is not None and self._search.exhausted and not self._state.asked

    def launch_asked(self) -> None:
        """Fill free slots with what needs no results: trials asked for already, or asked for blindly."""
        search = self._search
        while search and (self._state.asked or search.can_ask_ahead) and self._launch_one():
            pass

    def launch_new(self) -> None:
        """Fill free slots, then have a trial ready for the next one."""
        while self._launch_one():
            pass
        self._ask_ahead()

    def create(self) -> Job | None:
        """The next trial's job, not launched yet; None if there may be none now."""
        if self._search is None or not self._may_create():
            return None
        asked = self._state.asked.popleft() if self._state.asked else self._search.ask()
        if asked is None:
            return None
        try:
            return self._hooks.helper_create_job(
                self._base_task_id,
                parameter_override=asked.parameters,
                trial=asked.number,
                task_id=asked.task_id,
            )
        except BaseException:
            self._state.asked.appendleft(asked)
            raise

    def _may_create(self) -> bool:
        if self._ends or self._is_paused or self.exhausted:
            return False
        ahead = self._search is not None and self._search.can_ask_ahead
        # A sampler that learns from results is not asked for more than the workers can run.
        if (self._budget.max_concurrent is None or (self._search and not ahead)) and (
            self._budget.running >= self._fleet.target(ahead=ahead)
        ):
            return False
        return self._budget.may_create().ok

    @property
    def _ends(self) -> bool:
        """Whether the end was asked for, or has begun."""
        return self._state.verdict is not None or self._requests.stops or self._requests.finish

    @property
    def _is_paused(self) -> bool:
        """Whether a person, or the machines' state, wants nothing launched now."""
        return self._requests.paused or bool(self._state.held)

    def _launch_one(self) -> bool:
        if not self._may_create():
            return False
        job = self._hooks.create_job()
        self.gave_nothing = job is None and not self.exhausted
        if job is None:
            return False
        job.keeper = None  # what it would ask was asked
        try:
            job.launch(self._state.queue)
        except redis.RedisError as error:
            # The trial is asked for already: launch it when Redis is back.
            if can_pass(error) and job.trial >= 0:
                self._state.asked.appendleft(
                    Asked(number=job.trial, task_id=job.task_id(), parameters=job.parameters)
                )
            raise
        self._tracker.adopt(job)
        self._observer.launched(job)
        return True

    def _ask_ahead(self) -> None:
        """Have one trial ready for the next free slot, where the sampler suggests the same then."""
        search = self._search
        if search is None or not search.can_ask_ahead or self._state.asked or not self._state.running:
            return
        if self._ends or search.exhausted or self._is_paused:
            return
        limit = self._budget.jobs.limit
        if self._budget.iterations.limit is None and (limit is None or self._budget.jobs.used < limit):
            asked = search.ask()
            if asked is not None:
                self._state.asked.append(asked)
