"""Time, injected: aware of nothing else, replaced in tests."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """Two times: `now` for stamps that others read, `monotonic` for durations."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class SteadyClock:
    """The machine's clock as it stood when it was last looked at: setting it meanwhile changes nothing."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self.look()

    def look(self) -> None:
        """Look at the machine's clock."""
        self._ahead_s = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._ahead_s

    def monotonic(self) -> float:
        return time.monotonic()


STEADY = SteadyClock()
"""This process' own, and that of processes forked from it: its points and checkpoints are ordered by it."""


def iso(stamp: float | None) -> str | None:
    """`stamp` (seconds since the epoch) as ISO 8601 in UTC, to the millisecond; None stays None."""
    if stamp is None:
        return None
    return datetime.fromtimestamp(stamp, timezone.utc).isoformat(timespec="milliseconds")
