"""What a task's record keeps of the attempts before the current one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.protocol.bounds import MAX_NUMBER, MAX_STAMP, bounded_float, bounded_int
from worker.protocol.errors import RecordError

MOST = 20
"""Attempts that are kept, the newest."""
LONGEST_REASON = 200
"""Characters of a reason that are kept."""


@dataclass(frozen=True, kw_only=True)
class EarlierAttempt:
    """An execution that was given up, so that another one followed."""

    attempt: int
    worker: str
    """The slot that ran it, as ``worker name/slot``."""
    started_at: float
    """Seconds since the epoch."""
    ended_at: float
    handed_back: bool
    """It doesn't count against the task's attempts: its worker shut down, or the machine was to blame."""
    reason: str


class _Current(Protocol):
    """Of a task's record: what is known of its current attempt."""

    @property
    def attempt(self) -> int: ...
    @property
    def worker(self) -> str: ...
    @property
    def started_at(self) -> float | None: ...
    @property
    def earlier(self) -> tuple[EarlierAttempt, ...]: ...


def with_given_up(record: _Current, now: float, reason: str, handed_back: bool) -> str:
    """The field of a record whose current attempt is given up at `now`."""
    this = EarlierAttempt(
        attempt=record.attempt,
        worker=record.worker,
        started_at=record.started_at or now,
        ended_at=now,
        handed_back=handed_back,
        reason=reason,
    )
    return encode((*record.earlier, this))


def encode(attempts: Sequence[EarlierAttempt]) -> str:
    """As JSON, the newest `MOST`; empty for none."""
    rows = [
        [a.attempt, a.worker, a.started_at, a.ended_at, int(a.handed_back), a.reason[:LONGEST_REASON]]
        for a in attempts[-MOST:]
    ]
    return json.dumps(rows, separators=(",", ":")) if rows else ""


def decode(text: str | None) -> tuple[EarlierAttempt, ...]:
    """Inverse of `encode`. Raises `RecordError`."""
    if not text:
        return ()
    try:
        found = []
        for attempt, worker, started_at, ended_at, handed_back, reason in json.loads(text)[-MOST:]:
            one = EarlierAttempt(
                attempt=bounded_int(attempt, 0, MAX_NUMBER),
                worker=str(worker),
                started_at=bounded_float(started_at, 0.0, MAX_STAMP),
                ended_at=bounded_float(ended_at, 0.0, MAX_STAMP),
                handed_back=bool(handed_back),
                reason=str(reason)[:LONGEST_REASON],
            )
            found.append(one)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RecordError(f"task record: field 'earlier' is malformed: {text!r:.300}") from error
    return tuple(found)
