"""What has changed: events as they come, and the records themselves as the safety net."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.protocol.events import Event, EventKind
from worker.protocol.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Start:
    """An attempt that has begun."""

    attempt: int
    at: float
    """Seconds since the epoch."""
    worker: str
    """The slot that runs it."""


@dataclass
class Changes:
    """What happened since the last look. Task ids may be of tasks that the reader doesn't know."""

    started: dict[str, Start] = field(default_factory=dict)
    """By task id."""
    resumed: list[str] = field(default_factory=list)
    """Tasks among the started ones that go on from a checkpoint."""
    points: dict[str, list[tuple[int, int, float]]] = field(default_factory=dict)
    """Task id → (metric index, iteration, value), oldest first."""
    ended: list[str] = field(default_factory=list)
    requeued: dict[str, int] = field(default_factory=dict)
    """Task id → its new attempt."""
    request: str = ""
    """stop, pause or resume, when a person asked for it; finish, when an objective did."""

    @property
    def urgent(self) -> bool:
        """Whether it is about what goes on, and not only about what has begun or ended."""
        return bool(self.requeued or self.request or self.points.keys() - set(self.ended))

    def add(self, later: Changes) -> None:
        """Add what has happened after these."""
        self.started.update(later.started)
        self.resumed += later.resumed
        for task_id, points in later.points.items():
            self.points.setdefault(task_id, []).extend(points)
        self.ended += later.ended
        self.requeued.update(later.requeued)
        self.request = later.request or self.request

    def __bool__(self) -> bool:
        return bool(self.started or self.points or self.ended or self.requeued or self.request)


class Monitor:
    """Reads one study's events, each once, in order."""

    def __init__(self, store: Store, study: str) -> None:
        self._store = store
        self._study = study
        self._position = "0-0"
        self._trimmed = 0
        self._sequences: dict[str, tuple[int, int]] = {}

    @property
    def position(self) -> str:
        """Id of the last event that was read."""
        return self._position

    def open(self) -> None:
        """Begin with what comes from now on. Read the records after this, so that nothing is missed."""
        self._position = self._store.events.last_id(self._study)

    def read(self, wait_s: float) -> Changes:
        """What has happened, waiting for the first event if there is none yet.

        Args:
            wait_s: longest wait, in seconds; 0 looks without waiting.

        Raises:
            redis.ConnectionError, redis.TimeoutError: Redis is away.
        """
        block = max(1, math.ceil(wait_s * 1000)) if wait_s > 0 else None
        events, position = self._store.events.read(self._study, self._position, block)
        self._position = position
        changes = self._sort(events)
        self._trimmed += len(events)
        if self._trimmed >= 1000:
            self._trimmed = 0
            self._store.events.trim(self._study, position)
        return changes

    def _sort(self, events: Sequence[Event]) -> Changes:
        changes = Changes()
        for event in events:
            data = event.data or {}
            if event.kind is EventKind.REPORT:
                if self._is_new(event):
                    points = changes.points.setdefault(event.task, [])
                    points += [(int(i), int(step), float(value)) for i, step, value, _ in data["points"]]
            elif event.kind is EventKind.STARTED:
                changes.started[event.task] = Start(
                    attempt=event.attempt,
                    at=float(data.get("at", 0.0)),
                    worker=str(data.get("worker", "")),
                )
                if "resumed" in data:
                    changes.resumed.append(event.task)
            elif event.kind is EventKind.ENDED:
                self._sequences.pop(event.task, None)
                changes.ended.append(event.task)
            elif event.kind is EventKind.REQUEUED:
                changes.requeued[event.task] = event.attempt
            elif event.kind is EventKind.CONTROL:
                changes.request = str(data.get("request", ""))
        return changes

    def _is_new(self, event: Event) -> bool:
        """False for a report that a broken connection has written twice, and for an older attempt's."""
        mark = (event.attempt, event.seq)
        if mark <= self._sequences.get(event.task, (0, 0)):
            return False
        self._sequences[event.task] = mark
        return True

    def forget(self, task_id: str) -> None:
        """The task has ended; keep nothing of it."""
        self._sequences.pop(task_id, None)
