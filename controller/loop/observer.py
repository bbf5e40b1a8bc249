"""Who watches a search: the loop tells an observer what happens, and knows nothing of screens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from controller.loop.backend import Backend
    from controller.loop.budget import Budget
    from controller.loop.fleet import Fleet
    from controller.loop.job import Job
    from controller.search.objective import Objective
    from worker.protocol import TaskRecord
    from worker.protocol.study_log import LogKind


REDIS, STORAGE, LEASE = "Redis", "Optuna's storage", "its lease on the study"
"""What a loop may wait for."""


class RunningSearch(Protocol):
    """The search that is watched, to look at from any thread. A `Loop` is one."""

    @property
    def study(self) -> str:
        """Name of the study."""

    @property
    def status(self) -> str:
        """One of `StudyState`."""

    @property
    def budget(self) -> Budget: ...

    @property
    def objective(self) -> Objective: ...

    @property
    def queue(self) -> str:
        """Where its jobs are launched."""

    @property
    def backend(self) -> Backend: ...

    @property
    def events_position(self) -> str:
        """Id of the last event that the loop has read."""

    def get_running_jobs(self) -> Sequence[Job]:
        """The jobs that were launched and have not ended."""


class OwnWorkers(Protocol):
    """The workers that were started for this search."""

    @property
    def count(self) -> int:
        """How many slots they have."""

    def look_after(self) -> None:
        """Start those that died again. Raises `OptunaRQError` when they can't live."""


class Observer:
    """Base class that shows nothing; all methods are called by the loop's thread and must be quick."""

    workers: OwnWorkers | None = None
    """The workers that were started for this search."""

    def begin(self, search: RunningSearch) -> None:
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

    def remark(self, kind: LogKind, text: str) -> None:
        """As `note`, of a kind that the study's log knows."""
        self.note(text)

    def log(self, kind: LogKind, text: str) -> None:
        """Something for the study's log alone."""


class Notes(Observer):
    """Passes notes on, and shows nothing else.

    Args:
        take: gets each note.
    """

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take

    def note(self, text: str) -> None:
        self._take(text)
