"""How long attempts waited on the queue, and for what."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.results.durations import brief
from controller.results.timeline import Attempt, attempts_of
from worker.protocol import TaskRecord

AT_ONCE_S = 0.1
"""A wait up to this long, in seconds, needs no reason: it is what a queue takes."""

AT_ONCE, SLOTS, NEW, IDLE, QUEUED = "at once", "slots", "new slot", "idle slot", "still queued"
"""What an attempt waited for: nothing; a busy slot; a slot that came; one that did something else; a slot."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """The time of one attempt between its queueing and its start."""

    attempt: int
    since: float
    """When it was queued, seconds since the epoch."""
    until: float
    """When it began; for one that is still queued, the moment at which the study was read."""
    cause: str
    """`AT_ONCE`, `SLOTS`, `NEW`, `IDLE` or `QUEUED`."""
    slot: str = ""
    """The slot that took it; empty while there is none."""
    busy: int = 0
    """Slots that ran other trials of the study when it was queued."""
    before: Attempt | None = None
    """What the slot that took it ran before, of this study."""

    @property
    def seconds(self) -> float:
        return max(0.0, self.until - self.since)

    @property
    def text(self) -> str:
        """As a sentence's end: ``3.2 s after it was queued: …``."""
        if self.cause == QUEUED:
            return f"queued for {brief(self.seconds)} so far: {_slots(self.busy)} busy with this study then"
        took = f"{brief(self.seconds)} after it was queued"
        if self.cause == AT_ONCE:
            return took
        busy = f"; {_slots(self.busy)} busy then" if self.busy else ""
        if self.before is None:
            return f"{took}: this slot took its first task of this study{busy}"
        if self.cause == SLOTS:
            freed = max(0.0, self.until - self.before.ended_at)
            return f"{took}: this slot ran trial {self.before.trial} until {brief(freed)} before{busy}"
        idle = self.since - self.before.ended_at
        return f"{took}: this slot had run nothing of this study for {brief(idle)} before{busy}"

    def why(self) -> dict[str, Any]:
        """What it rests on, as JSON types."""
        found: dict[str, Any] = {"waited_s": round(self.seconds, 3), "for": self.cause, "busy": self.busy}
        if self.before is not None:
            found |= {"slot_ran_trial": self.before.trial, "slot_free_at": self.before.ended_at}
        return found


def _slots(count: int) -> str:
    return f"{count or 'no'} slot{'' if count < 2 else 's'} {'was' if count < 2 else 'were'}"


class Slots:
    """What the slots of a study ran, to look up.

    Args:
        records: of the study's tasks, or of those around the ones that are asked about.
        now: seconds since the epoch.
    """

    def __init__(self, records: Iterable[TaskRecord], now: float) -> None:
        self.now = now
        self.by_slot: dict[str, list[Attempt]] = {}
        """Slot → its attempts by their start."""
        every = [attempt for record in records for attempt in attempts_of(record, now)]
        every.sort(key=lambda attempt: attempt.started_at)
        for attempt in every:
            self.by_slot.setdefault(attempt.worker, []).append(attempt)
        self._starts = [attempt.started_at for attempt in every]
        self._ends = sorted(attempt.ended_at for attempt in every)
        self._starts_of = {
            slot: [attempt.started_at for attempt in ran] for slot, ran in self.by_slot.items()
        }

    def running(self, at: float) -> int:
        """How many attempts ran at a moment."""
        return bisect.bisect_right(self._starts, at) - bisect.bisect_right(self._ends, at)

    def before(self, slot: str, started_at: float) -> Attempt | None:
        """What a slot ran before the attempt that it began at `started_at`; None for its first."""
        place = bisect.bisect_left(self._starts_of.get(slot, ()), started_at)
        return self.by_slot[slot][place - 1] if place else None


def waits(record: TaskRecord, slots: Slots) -> list[Wait]:
    """The waits of a task's attempts, the first first; one that is still queued comes last."""
    began = {attempt.attempt: attempt for attempt in attempts_of(record, slots.now)}
    found = []
    for number, since in queued_at(record).items():
        attempt = began.get(number)
        if attempt is None:
            if number == record.attempt and not record.status.is_finished:
                busy = slots.running(since)
                found.append(Wait(attempt=number, since=since, until=slots.now, cause=QUEUED, busy=busy))
            continue
        before = slots.before(attempt.worker, attempt.started_at)
        found.append(
            Wait(
                attempt=number,
                since=since,
                until=attempt.started_at,
                cause=_cause(since, attempt.started_at, before),
                slot=attempt.worker,
                busy=slots.running(since),
                before=before,
            )
        )
    return found


def queued_at(record: TaskRecord) -> Mapping[int, float]:
    """Attempt → when it was queued, in seconds since the epoch, of those where that is known."""
    found: dict[int, float] = {}
    ended: Sequence[tuple[int, float]] = [(one.attempt, one.ended_at) for one in record.earlier]
    for number, at in ended:
        found[number + 1] = at
    # A task is created and queued in one transaction.
    found.setdefault(1, record.created_at)
    if record.queued_at is not None:
        found[record.attempt] = record.queued_at
    return dict(sorted(found.items()))


def _cause(since: float, until: float, before: Attempt | None) -> str:
    if until - since <= AT_ONCE_S:
        return AT_ONCE
    if before is None:
        return NEW
    return SLOTS if before.ended_at > since else IDLE
