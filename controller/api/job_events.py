"""Calls back for each job that has ended, beside the observer that was there already."""

from __future__ import annotations

from collections.abc import Callable

from controller.loop.budget import Budget
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.observer import Observer, RunningSearch


class JobEvents(Observer):
    """Passes on all that happens.

    Args:
        inner: the observer to pass it on to.
        on_ended: called for each job that has ended, by the loop's thread.
    """

    def __init__(self, inner: Observer, on_ended: Callable[[Job], None]) -> None:
        self._inner = inner
        self._on_ended = on_ended

    def begin(self, search: RunningSearch) -> None:
        self._inner.begin(search)

    def end(self) -> None:
        self._inner.end()

    def launched(self, job: Job) -> None:
        self._inner.launched(job)

    def started(self, job: Job) -> None:
        self._inner.started(job)

    def reported(self, job: Job) -> None:
        self._inner.reported(job)

    def ended(self, job: Job) -> None:
        self._inner.ended(job)
        self._on_ended(job)

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        self._inner.workers = self.workers
        self._inner.tick(budget, fleet, running)

    def note(self, text: str) -> None:
        self._inner.note(text)
