"""Where the time of a study's slots went: what each stretch of it was spent on."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from controller.insight.explain_waits import Slots, queued_at
from controller.results.study_data import StudyData
from controller.results.timeline import AGAIN, HANDED_BACK, LOST, Attempt
from worker.protocol import TaskRecord
from worker.protocol.study_log import LogEntry, LogKind

RUNNING = "running trials"
GIVEN_UP = "attempts that were given up"
STARTING = "waiting for workers"
SAMPLER = "waiting for the sampler"
STORAGE = "waiting for Optuna's storage"
CONTROLLER = "waiting for the controller"
LIMIT = "kept free by max_concurrent"
PAUSED = "paused, or no controller ran"
OVER = "nothing left to run"
PARTS = (RUNNING, GIVEN_UP, STARTING, SAMPLER, STORAGE, CONTROLLER, LIMIT, PAUSED, OVER)
"""What the time of slots goes into."""

Reasons = Mapping[int, Mapping[str, Mapping[str, Any]]]
"""Trial → kind of decision → what it rested on."""


class Shares:
    """Seconds of all slots by `PARTS`, each slot from its first trial of the study to the study's end.

    A slot that took none of the later trials is taken to have gone after its last one.

    Args:
        data: with the trials' reasons, which say what sampler and storage took, and the log, where known.
        slots: of all tasks that are known.
    """

    def __init__(self, data: StudyData, slots: Slots) -> None:
        self._slots = slots
        records = sorted((task.record for task in data.tasks), key=lambda record: record.created_at)
        self._queued = {record.id: queued_at(record) for record in records}
        self._last_queued = max((max(found.values()) for found in self._queued.values()), default=0.0)
        self._created = [record.created_at for record in records]
        self._asked_s, self._stored_s = _spent(records, data.reasons)
        self._paused = pauses(data.events, slots.now)
        self._most = _limit(data)
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        for ran in slots.by_slot.values():
            self._add_slot(ran)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def _add_slot(self, ran: Sequence[Attempt]) -> None:
        free = ran[0].started_at
        for attempt in ran:
            if attempt.started_at > free:
                self._add_gap(free, attempt)
            given_up = attempt.outcome in (LOST, HANDED_BACK, AGAIN)
            began = max(free, attempt.started_at)
            self._add(GIVEN_UP if given_up else RUNNING, attempt.ended_at - began)
            free = max(free, attempt.ended_at)
        if self._last_queued <= free:
            self._add(OVER, self._slots.now - free)

    def _add_gap(self, free: float, attempt: Attempt) -> None:
        """The time of a slot between two attempts: until the later one was queued, and from then on."""
        queued = self._queued[attempt.task_id].get(attempt.attempt, free)
        queued = min(max(queued, free), attempt.started_at)
        self._add(STARTING, attempt.started_at - queued)
        left = queued - free
        paused = min(left, overlap(self._paused, free, queued))
        self._add(PAUSED, paused)
        left -= paused
        if self._most is not None and self._slots.running((free + queued) / 2) >= self._most:
            self._add(LIMIT, left)
            return
        first = bisect.bisect_right(self._created, free)
        last = bisect.bisect_right(self._created, queued)
        for part, spent in ((SAMPLER, self._asked_s), (STORAGE, self._stored_s)):
            share = min(left, max(0.0, spent[last] - spent[first]))
            self._add(part, share)
            left -= share
        self._add(CONTROLLER, left)

    def _add(self, part: str, seconds: float) -> None:
        self.seconds[part] += max(0.0, seconds)


def _spent(records: Sequence[TaskRecord], reasons: Reasons) -> tuple[list[float], list[float]]:
    """What the sampler and the storage took up to each record, in the order of their creation."""
    asked = [_seconds(reasons, record.trial, "ask_s") for record in records]
    # A trial notes what the storage took since the one before it.
    stored = [_seconds(reasons, record.trial + 1, "store_s") for record in records]
    return [0.0, *itertools.accumulate(asked)], [0.0, *itertools.accumulate(stored)]


def _seconds(reasons: Reasons, trial: int, name: str) -> float:
    value = reasons.get(trial, {}).get("asked", {}).get(name)
    return float(value) if isinstance(value, (int, float)) and value > 0 else 0.0


def _limit(data: StudyData) -> int | None:
    """The study's ``max_concurrent``; None for none."""
    budget = data.study.sweep.get("budget")
    found = budget.get("max_concurrent") if isinstance(budget, Mapping) else None
    return found if isinstance(found, int) and found > 0 else None


def pauses(log: Sequence[LogEntry], now: float) -> list[tuple[float, float]]:
    """When a study was paused, or had no controller, by its log: (from, to) in seconds since the epoch."""
    found: list[tuple[float, float]] = []
    since: float | None = None
    for entry in log:
        if entry.kind in (LogKind.PAUSE, LogKind.END):
            since = entry.at if since is None else since
        elif entry.kind in (LogKind.RESUME, LogKind.START, LogKind.TAKEOVER) and since is not None:
            found.append((since, entry.at))
            since = None
    return found if since is None else [*found, (since, max(since, now))]


def overlap(spans: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """Seconds of ``begin`` to ``end`` that lie within the spans."""
    return sum(max(0.0, min(end, to) - max(begin, since)) for since, to in spans)
