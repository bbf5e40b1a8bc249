"""What happened, as the controller learns of it: one stream of small entries per study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from worker.protocol.bounds import MAX_NUMBER, MAX_STAMP, bounded_float, bounded_int
from worker.protocol.errors import RecordError
from worker.protocol.keys import MAX_OBJECTIVES

STREAM_LIMIT = 100_000
"""Entries kept while no controller reads. It recovers what was dropped from the records."""


MAX_DATA = 4 << 20
"""Longest data of an entry that is accepted, in characters."""
MAX_WORKER = 500
"""Longest name of a slot."""


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
        """Raises `RecordError` when the entry isn't one of ours, or its data can't be."""
        try:
            kind, text = EventKind(entry["k"]), entry.get("d")
            if text is not None and len(text) > MAX_DATA:
                raise ValueError(f"its data is {len(text)} characters long")
            data = None if text is None else json.loads(text)
            _check_data(kind, {} if data is None else data)
            return cls(
                kind=kind,
                task=entry["t"],
                attempt=bounded_int(entry["a"], 0, MAX_NUMBER),
                seq=bounded_int(entry["s"], 0, MAX_NUMBER),
                data=data,
            )
        except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise RecordError(f"event: malformed entry {dict(entry)!r:.300}: {error!s:.300}") from error


def _check_data(kind: EventKind, data: Any) -> None:
    """Raises one of Python's own errors for data that no event of this kind has."""
    if not isinstance(data, dict):
        raise TypeError("its data is no object")
    if kind is EventKind.REPORT:
        for index, iteration, value, _ in data["points"]:
            bounded_int(index, 0, MAX_OBJECTIVES)
            bounded_int(iteration, -MAX_NUMBER, MAX_NUMBER)
            float(value)
    elif kind is EventKind.STARTED:
        bounded_float(data.get("at", 0.0), 0.0, MAX_STAMP)
        if not isinstance(data.get("worker", ""), str) or len(data.get("worker", "")) > MAX_WORKER:
            raise ValueError("its worker is no name")
