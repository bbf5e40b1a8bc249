"""Which ended trials get a line of their own, so that thousands of short ones don't flood a log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.results.live import EndedTrial
from worker.protocol import Status


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast lines may come."""

    burst: int
    """Lines that may come at once, after a quiet time."""
    every_s: float
    """Seconds after which one more may come."""
    hold_s: float
    """Longest time that trials wait for a line that they share, in seconds."""


LOG = Pace(burst=40, every_s=2.0, hold_s=5.0)
"""For a file, a pipe, a CI log, a notebook."""
TERMINAL = Pace(burst=40, every_s=0.25, hold_s=1.0)
"""For a person who reads along, above a live view that counts."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trials that share one line, in the order in which they ended."""

    trials: Sequence[EndedTrial]

    def __str__(self) -> str:
        """Such as ``140 trials ended (31 to 170): 138 completed, 2 failed (objective_error: no file)``."""
        counts = Counter(one.status for one in self.trials)
        parts = []
        for status in Status:
            if not counts[status]:
                continue
            reasons = Counter(
                f"{one.reason_class}: {one.reason}" if one.reason else one.reason_class
                for one in self.trials
                if one.status is status and one.reason_class
            )
            why = f" ({reasons.most_common(1)[0][0]:.200})" if reasons else ""
            parts.append(f"{counts[status]} {status.value}{why}")
        numbers = [one.trial for one in self.trials]
        return f"{len(numbers)} trials ended ({min(numbers)} to {max(numbers)}): {', '.join(parts)}"


class Grouping:
    """Lets lines through while they come slowly; trials that end faster share one.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._clock = clock
        self._free = float(pace.burst)
        self._at = clock()
        self._held: list[EndedTrial] = []
        self._held_since = 0.0

    def add(self, ended: EndedTrial) -> list[EndedTrial | Group]:
        """A trial has ended; returns what is to be printed now."""
        now = self._refill()
        if not self._held and self._free >= 1:
            self._free -= 1
            return [ended]
        if not self._held:
            self._held_since = now
        self._held.append(ended)
        return self.due()

    def due(self) -> list[EndedTrial | Group]:
        """What has waited long enough."""
        if self._held and self._refill() - self._held_since >= self._pace.hold_s:
            return self.rest()
        return []

    def rest(self) -> list[EndedTrial | Group]:
        """All that waits: nothing is left out at the end."""
        held, self._held = self._held, []
        if len(held) <= self._free or len(held) == 1:
            self._free = max(0.0, self._free - len(held))
            return list(held)
        if not held:
            return []
        self._free = 0.0  # none of those that follow at once is alone
        return [Group(trials=held)]

    def _refill(self) -> float:
        """Count the time that has passed; returns the time."""
        now = self._clock()
        self._free = min(self._pace.burst, self._free + (now - self._at) / self._pace.every_s)
        self._at = now
        return now
