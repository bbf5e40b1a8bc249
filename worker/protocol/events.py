"""What happened, as the controller learns of it: one stream of small entries per study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from worker.protocol.errors import RecordError

STREAM_LIMIT = 100_000
"""Entries kept while no controller reads. It recovers what was dropped from the records."""


class EventKind(str, Enum):
    STARTED = "started"
    """A worker began an attempt."""
    REPORT = "report"
    """Values of the study's objective metrics: ``points`` as [metric index, iteration, value, is final].

    A value that is not finite is text; *is final* is 1 for the program's return value, else 0.
    """
    ENDED = "ended"
    """The task reached a final status."""
    REQUEUED = "requeued"
    """The attempt was given up (worker lost, or handed back); the task awaits another one."""
    CONTROL = "control"
    """A request to the controller: ``request`` is stop, pause or resume, or finish, which objectives send."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One entry of a study's event stream. `attempt` and `seq` identify a repeated entry."""

    kind: EventKind
    task: str = ""
    attempt: int = 0
    seq: int = 0
    data: Mapping[str, Any] | None = None

    def encode(self) -> dict[str, str]:
        """As the fields of a stream entry."""
        entry = {"k": self.kind.value, "t": self.task, "a": str(self.attempt), "s": str(self.seq)}
        if self.data:
            entry["d"] = json.dumps(self.data, separators=(",", ":"))
        return entry

    @classmethod
    def decode(cls, entry: Mapping[str, str]) -> Event:
        """Raises `RecordError` when the entry isn't one of ours."""
        try:
            return cls(
                kind=EventKind(entry["k"]),
                task=entry["t"],
                attempt=int(entry["a"]),
                seq=int(entry["s"]),
                data=json.loads(entry["d"]) if "d" in entry else None,
            )
        except (KeyError, ValueError) as error:
            raise RecordError(f"event: malformed entry {dict(entry)!r}: {error}") from error
