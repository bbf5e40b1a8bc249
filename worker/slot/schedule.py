"""What is due at which time: a few actions that repeat, and some that come once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Entry:
    at: float
    action: Callable[[], object]
    period: Callable[[], float] | None


class Schedule:
    """Runs actions when they are due. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def every(self, first: float, period: float | Callable[[], float], action: Callable[[], object]) -> None:
        """Run an action at `first`, then each `period` seconds after it was run."""
        pause = period if callable(period) else lambda: period
        self._entries.append(_Entry(first, action, pause))

    def once(self, at: float, action: Callable[[], object]) -> None:
        """Run an action at a time."""
        self._entries.append(_Entry(at, action, None))

    @property
    def next(self) -> float:
        """When the next action is due; infinite when there is none."""
        return min((entry.at for entry in self._entries), default=float("inf"))

    def run(self, now: float) -> None:
        """Run what is due."""
        for entry in [entry for entry in self._entries if now >= entry.at]:
            entry.action()
            if entry.period is None:
                self._entries.remove(entry)
            else:
                entry.at = now + entry.period()
