"""What happened, as the controller learns of it: one stream of small entries per study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from worker.protocol.errors import RecordError

STREAM_LIMIT = 100_000
"""Entries kept when no controller reads: what is lost is read back from the records."""


class EventKind(str, Enum):
    STARTED = "started"
    """A worker began an attempt."""
    REPORT = "report"
    """Values of the study's objective metrics: ``points`` as [metric index, iteration, value]."""
    ENDED = "ended"
    """The task reached a final status."""
    REQUEUED = "requeued"
    """The attempt was given up (worker lost, or handed back); the task awaits another one."""
    CONTROL = "control"
    """A person asks something of the controller: ``request`` is stop, pause or resume."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One entry of a study's event stream. `attempt` and `seq` make a repeated entry recognizable."""

    kind: EventKind
    task: str = ""
    attempt: int = 0
    seq: int = 0
    data: Mapping[str, Any] | None = None

    def encode(self) -> dict[str, str]:
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
