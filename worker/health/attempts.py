"""What a slot tells its daemon of its attempts, over the socket on which the daemon wakes it.

Messages are lines of JSON: ``began``, ``ended`` (outcome, reason, seconds) and ``refused``. Counts only:
neither ids nor parameters nor reasons in words.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any, Protocol

from worker.process.channel import encode

DROPPED = "dropped"
"""The attempt's end was refused: another one is current, or its task has ended otherwise."""
REQUEUED = "requeued"
"""It was handed back, or failed in a way after which its task is tried again."""
LOST = "lost"
"""Its slot was killed."""
HANDED_BACK = "handed_back"
"""Why it was requeued: the worker shuts down. Otherwise it is the class of its failure."""

_MOST = 1 << 16
"""Bytes kept for a daemon that doesn't listen; what comes then is not counted."""


class Known(Protocol):
    """An attempt that knows how it has ended."""

    @property
    def ended_as(self) -> tuple[str, str]:
        """Outcome and reason: a final status, `REQUEUED` or `DROPPED`, and why, or nothing."""


class HealthReporter:
    """A slot's end. Telling never waits, and never fails.

    Args:
        sock: not blocking; None where nobody counts.
    """

    def __init__(self, sock: socket.socket | None) -> None:
        self._socket = sock
        self._rest = b""

    @contextlib.contextmanager
    def attempt(self, attempt: Known) -> Iterator[None]:
        """Tell when an attempt begins, how it ends and after how long."""
        began = time.monotonic()
        self._tell({"op": "began"})
        try:
            yield
        finally:
            outcome, reason = attempt.ended_as
            seconds = round(time.monotonic() - began, 6)
            self._tell({"op": "ended", "outcome": outcome, "reason": reason, "seconds": seconds})

    def refused(self) -> None:
        """A job was not run: it is not one that this worker runs."""
        self._tell({"op": "refused"})

    def _tell(self, message: dict[str, Any]) -> None:
        if self._socket is None:
            return
        if len(self._rest) < _MOST:
            self._rest += encode(message)
        with contextlib.suppress(OSError):
            self._rest = self._rest[self._socket.send(self._rest) :]
