"""What a strategy is made of, in one place: a subclass's own attributes don't meet it."""

from __future__ import annotations

from collections.abc import Sequence

from controller.loop.backend import Backend
from controller.loop.budget import Budget
from controller.loop.context import LoopContext, StudyLease
from controller.loop.job import Job
from controller.loop.job_factory import JobFactory
from controller.loop.logged_observer import LoggedObserver
from controller.loop.loop import Loop
from controller.loop.observer import Observer
from controller.loop.state import Hooks, LoopSettings, LoopState, Requests
from controller.results.ranking import Ranking
from controller.search.objective import Objective
from controller.search.search import Search
from controller.session.lock import lease_name


class Inside:
    """The parts of one strategy.

    Args:
        study: its name; empty for one that is found at the start.
        search: where parameters come from; None until the study is open.
        lease: on the study; None until it is open.
    """

    def __init__(
        self,
        backend: Backend,
        objective: Objective,
        budget: Budget,
        settings: LoopSettings,
        study: str,
        search: Search | None,
        lease: StudyLease | None,
    ) -> None:
        self.backend = backend
        self.settings = settings
        self.state = LoopState(study=study)
        self.requests = Requests()
        self.factory = JobFactory(backend, self.state, objective, budget, settings)
        self.search = search
        self.lease = lease
        self.local_workers: int | None = None
        """Workers to start on this machine; None for as many as it takes where nobody serves the queue."""
        self.begun = False
        self.loop: Loop | None = None
        """Made at the start."""
        self.ranking: Ranking | None = None
        """Made at the start."""
        self._objective = objective
        self._budget = budget

    def running(self, own: Sequence[Job]) -> list[Job]:
        """The jobs that run: the loop's, and those of a subclass that it does not know of yet.

        Args:
            own: the subclass' list.
        """
        found = {job.task_id(): job for job in self.state.jobs_running()}
        for job in list(own):
            if job.task_id() not in self.state.created and not job.is_stopped():
                found[job.task_id()] = job
        return list(found.values())

    def make_loop(self, base_task_id: str, observer: Observer, hooks: Hooks) -> Loop:
        """The loop over the study, which is open now."""
        self.ranking = Ranking(self.backend.store, self.state.study, self._objective.metrics)
        self.loop = Loop(
            LoopContext(
                base_task_id=base_task_id,
                backend=self.backend,
                objective=self._objective,
                budget=self._budget,
                settings=self.settings,
                state=self.state,
                requests=self.requests,
                search=self.search,
                observer=LoggedObserver(observer, self.backend.store, self.state.study, lease_name()),
                lease=self.lease,
                hooks=hooks,
            )
        )
        self.factory.keeper = self.loop.own_jobs
        return self.loop
