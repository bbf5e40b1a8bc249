"""Creates and launches jobs: the part of the loop that fills free slots."""

from __future__ import annotations

import math

from controller.loop.context import LoopContext
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.tracking import JobTracker
from controller.search.search import Asked

MOST_TOGETHER = 200
"""Jobs that one transaction launches: Redis serves nobody else meanwhile."""


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
        self._one_by_one = context.of_a_subclass or context.search is None
        self._granted = False
        """What is created now is within the room that was found: it need not be asked for again."""
        self._freed = 0
        """Jobs that have ended in this step."""
        self.gave_nothing = False
        """The last `create_job` that was allowed returned no job, for no reason of the loop's."""

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing left and all that it gave is launched."""
        return self._search is not None and self._search.exhausted and not self._state.asked

    def launch_asked(self) -> None:
        """Fill free slots with what needs no results: trials asked for already, or asked for blindly."""
        search, self._freed = self._search, len(self._state.ended)
        while search is not None:
            most = MOST_TOGETHER if search.can_ask_ahead else len(self._state.asked)
            if not most or not self._launch_some(most):
                break

    def launch_new(self) -> None:
        """Fill free slots, then have a trial ready for the next one."""
        while self._launch_some(MOST_TOGETHER):
            pass
        self._ask_ahead()

    def create(self) -> Job | None:
        """The next trial's job, not launched yet; None if there may be none now."""
        if self._search is None or (not self._granted and not self._may_create()):
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
        if self._limits_by_fleet and self._budget.running >= self._fleet.target(ahead=self._asks_ahead):
            return False
        return self._budget.may_create().ok

    def are_jobs_waiting(self, *, besides: int) -> bool:
        """Whether jobs are on the queue besides so many, which slots take now: all others run, as is known.

        False where somebody waits for each job by itself, and where the sampler waits for results.
        """
        if not self._asks_ahead or self._one_by_one:
            return False
        return self._budget.running - self._fleet.size > besides

    @property
    def _asks_ahead(self) -> bool:
        return self._search is not None and self._search.can_ask_ahead

    @property
    def _limits_by_fleet(self) -> bool:
        """A sampler that learns from results is not asked for more than the workers can run."""
        return self._budget.max_concurrent is None or (self._search is not None and not self._asks_ahead)

    @property
    def _ends(self) -> bool:
        """Whether the end was asked for, or has begun."""
        return self._state.verdict is not None or self._requests.stops or self._requests.finish

    @property
    def _is_paused(self) -> bool:
        """Whether a person, or the machines' state, wants nothing launched now."""
        return self._requests.paused or bool(self._state.held)

    def _launch_some(self, most: int) -> bool:
        """Create what there is room for, and launch it in one transaction. False when there is nothing.

        Args:
            most: so many at most; one by one where a subclass creates them, as it may look at what runs.
        """
        if not self._may_create():
            return False
        jobs: list[Job] = []
        try:
            self._create_some(1 if self._one_by_one else min(most, self._room()), jobs)
            if not jobs:
                return False
            Job.launch_all(jobs, self._state.queue)
        except BaseException:
            # The trials are asked for already: launch them when Redis is back.
            self._state.asked.extendleft(
                Asked(number=job.trial, task_id=job.task_id(), parameters=job.parameters)
                for job in reversed(jobs)
                if job.trial >= 0
            )
            raise
        for job in jobs:
            self._tracker.adopt(job)
            self._observer.launched(job)
        return True

    def _create_some(self, count: int, jobs: list[Job]) -> None:
        """Create so many jobs, or fewer where none are left, and add them to `jobs`."""
        state, search = self._state, self._search
        if search is not None and count > max(1, len(state.asked)) and not search.exhausted:
            state.asked.extend(search.ask_several(count - len(state.asked)))
        self._granted = count > 1
        try:
            while len(jobs) < count and not (self._granted and not state.asked):
                job = self._hooks.create_job()
                self.gave_nothing = job is None and not self.exhausted
                if job is None:
                    break
                job.keeper = None  # what it would ask was asked
                jobs.append(job)
        finally:
            self._granted = False

    def _room(self) -> int:
        """How many jobs `_may_create` would allow one after the other, at least 1."""
        room = self._budget.room()
        if self._limits_by_fleet:
            room = min(room, self._fleet.target(ahead=self._asks_ahead) - self._budget.running)
        return max(1, room)

    def _ask_ahead(self) -> None:
        """Have trials ready for the next free slots, where the sampler suggests the same then.

        One, or as many as have ended in this step: where trials are short, so many slots are free again soon.
        """
        search, most = self._search, max(1, self._freed)
        self._freed = 0
        if search is None or not search.can_ask_ahead or self._state.asked or not self._state.running:
            return
        if self._ends or search.exhausted or self._is_paused:
            return
        limit = self._budget.jobs.limit
        if self._budget.iterations.limit is None and (limit is None or self._budget.jobs.used < limit):
            left = most if limit is None else min(most, math.ceil(limit - self._budget.jobs.used))
            self._state.asked.extend(search.ask_several(left))
