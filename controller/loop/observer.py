"""Who watches a search: the loop tells an observer what happens, and knows nothing of screens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.api.strategy import SearchStrategy
    from controller.loop.budget import Budget
    from controller.loop.fleet import Fleet
    from controller.loop.job import Job
    from controller.session.local_workers import LocalWorkers
    from worker.protocol import TaskRecord


REDIS, STORAGE, LEASE = "Redis", "Optuna's storage", "its lease on the study"
"""What a loop may wait for."""


class Observer:
    """Base class that shows nothing; all methods are called by the loop's thread and must be quick."""

    workers: LocalWorkers | None = None
    """The workers that were started for this search."""

    def begin(self, strategy: SearchStrategy) -> None:
        """The loop is about to start."""

    def end(self) -> None:
        """The loop has ended."""

    def heartbeat(self, waits_for: str = "") -> None:
        """The loop goes on, or waits for one of `REDIS`, `STORAGE` and `LEASE`; several times a second."""

    def known(self, record: TaskRecord) -> None:
        """A task that had ended before the loop began; of one that was not told yet, `ended` comes, too."""

    def launched(self, job: Job) -> None:
        """A job was put on the queue."""

    def started(self, job: Job) -> None:
        """A worker has begun it."""

    def reported(self, job: Job) -> None:
        """New values of an objective metric."""

    def ended(self, job: Job) -> None:
        """It has ended and was told."""

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        """About once a second. Raises `OptunaRQError` when the search's own workers can't live."""
        if self.workers:
            self.workers.look_after()

    def note(self, text: str) -> None:
        """Something worth a line."""
