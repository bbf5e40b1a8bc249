"""What bounded a study's speed, what was decided in it how often, and what pruning saved."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.insight.explain_shares import (
    CONTROLLER,
    GIVEN_UP,
    LIMIT,
    OVER,
    PARTS,
    PAUSED,
    RUNNING,
    SAMPLER,
    STARTING,
    STORAGE,
    Reasons,
    Shares,
)
from controller.insight.explain_waits import AT_ONCE, QUEUED, SLOTS, Slots, Wait, waits
from controller.results.durations import brief
from controller.results.study_data import StudyData
from controller.search.reason_words import SHOWN
from worker.protocol import Reason, Status

_LEAST_S = 0.001
_ADVICE = {
    RUNNING: "slots: more of them, or shorter trials, would make it faster",
    GIVEN_UP: "workers that were lost or stopped: what they had computed was given up",
    STARTING: "workers: they took long to take and start trials, or were away",
    SAMPLER: "the sampler: bound its history, or take one that is faster",
    STORAGE: "Optuna's storage: take one that is nearer, or a journal file",
    CONTROLLER: "the controller: slots waited until it had the next trial ready",
    LIMIT: "max_concurrent: it kept slots free",
    PAUSED: "pauses, and the time without a controller",
    OVER: "its end: slots had nothing left to run while the last trials ran",
}


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What giving trials up has saved, by the iterations that those had left."""

    trials: int
    """That were given up."""
    iterations: int
    """That were not run."""
    seconds: float
    """Of slots that these would have taken, at the speed of each trial."""
    of_s: float
    """Slot seconds that all trials computed."""
    full: int
    """Iterations of a whole trial: the limit, else the median of those that completed."""

    @property
    def text(self) -> str:
        """As a sentence."""
        part = self.seconds / (self.seconds + self.of_s) if self.seconds + self.of_s else 0.0
        return (
            f"{self.trials} trials were given up with {self.iterations} iterations left of {self.full} each: "
            f"about {brief(self.seconds)} of slots, {part:.0%} of what the study would have computed"
        )


@dataclass(frozen=True, kw_only=True)
class StudyAnswer:
    """Where a study's time went, and what was decided."""

    study: str
    slots: int
    """Slots that ran any of its trials."""
    slot_s: float
    """Seconds of all of them, each from its first trial on."""
    shares: Mapping[str, float]
    """One of `explain_shares.PARTS` → seconds; what took none is left out."""
    queued: Mapping[str, float]
    """How they waited on the queue: ``trials`` (attempts) that did, ``busy`` of them for a slot that ran
    another, ``median_s``, ``longest_s``."""
    decisions: Mapping[str, int]
    """Kind of decision → how many."""
    saved: Saved | None
    """None where nothing was given up, or where it can't be said what that saved."""
    unknown: tuple[str, ...] = ()

    @property
    def bound(self) -> str:
        """What bounded its speed, in words; empty where that is not known."""
        if not self.slot_s:
            return ""
        part = max(self.shares, key=lambda name: self.shares[name])
        return f"{_ADVICE[part]} ({part}: {self.shares[part] / self.slot_s:.0%} of slot time)"

    @property
    def queued_text(self) -> str:
        """How trials waited for a slot, as a sentence; empty where none did."""
        found = self.queued
        if not found.get("trials"):
            return ""
        attempts = "1 attempt" if found["trials"] == 1 else f"{found['trials']:.0f} attempts"
        return (
            f"{attempts} waited for a slot, {found['busy']:.0f} of them for one that ran "
            f"another trial: {brief(found['median_s'])} in the median, {brief(found['longest_s'])} at most"
        )

    def share_rows(self) -> list[dict[str, Any]]:
        """The shares as rows: ``part``, ``seconds``, ``share``; the largest first."""
        found = sorted(self.shares.items(), key=lambda item: -item[1])
        return [
            {"part": part, "seconds": round(spent, 3), "share": round(spent / self.slot_s, 4)}
            for part, spent in found
        ]

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        saved = self.saved
        return {
            "study": self.study,
            "slots": self.slots,
            "slot_s": round(self.slot_s, 3),
            "bound": self.bound,
            "shares": self.share_rows(),
            "queued": {name: round(value, 3) for name, value in self.queued.items()},
            "decisions": dict(self.decisions),
            "saved": None if saved is None else {**vars(saved), "text": saved.text},
            "unknown": list(self.unknown),
        }


def explain_study(data: StudyData) -> StudyAnswer:
    """The answer for a study.

    Args:
        data: with the study's log and its trials' reasons, where these are known.
    """
    reasons = data.reasons
    records = [task.record for task in data.tasks]
    slots = Slots(records, data.study.ended_at or data.at)
    shares = Shares(data, slots)
    return StudyAnswer(
        study=data.study.name,
        slots=len(slots.by_slot),
        slot_s=shares.total,
        shares={part: shares.seconds[part] for part in PARTS if shares.seconds[part] >= _LEAST_S},
        queued=_queued([wait for record in records for wait in waits(record, slots)]),
        decisions=_decisions(data, reasons),
        saved=_saved(data),
        unknown=_unknown(data, reasons, began=bool(slots.by_slot)),
    )


def _unknown(data: StudyData, reasons: Reasons, *, began: bool) -> tuple[str, ...]:
    found = []
    if not began:
        found.append("where its time went: no trial has begun")
    silent = sum("asked" not in reasons.get(task.record.trial, {}) for task in data.tasks)
    if silent:
        which = "the trials don't" if silent == len(data.tasks) else f"{silent} of the trials don't"
        why = f"Optuna's storage can't be read: {data.no_reasons}" if data.no_reasons else f"{which} say"
        found.append(
            "why trials were asked for, and what sampler and storage took, which counts as the controller's "
            f"time: {why}"
        )
    if data.left_out:
        found.append(f"{data.left_out} tasks of this large study are left out")
    return tuple(found)


def _queued(found: Sequence[Wait]) -> dict[str, float]:
    long = [wait for wait in found if wait.cause not in (AT_ONCE, QUEUED)]
    if not long:
        return {"trials": 0}
    seconds = [wait.seconds for wait in long]
    return {
        "trials": len(long),
        "busy": sum(wait.cause == SLOTS for wait in long),
        "median_s": statistics.median(seconds),
        "longest_s": max(seconds),
    }


def _decisions(data: StudyData, reasons: Reasons) -> dict[str, int]:
    """How many decisions of each kind there were, in the order of a trial's life."""
    count: Counter[str] = Counter()
    for task in data.tasks:
        record = task.record
        why = reasons.get(record.trial, {}).get("asked", {})
        count[f"asked: {_asked_by(why)}" if why else "asked"] += 1
        closed = why.get("closed")
        count["duplicate closed"] += closed if isinstance(closed, int) else 0
        for attempt in record.earlier:
            kind = "handed back" if attempt.handed_back else "lost or tried again"
            count[f"attempt {kind}"] += 1
        if record.reason_class is Reason.PRUNED:
            count["pruned"] += 1
        elif record.reason_class is not None:
            count[f"{record.status}: {record.reason_class}"] += 1
        elif record.status is Status.COMPLETED:
            count["completed"] += 1
    for entry in data.events:
        if entry.kind in _OF_PEOPLE:
            count[f"study: {entry.kind}"] += 1
    found = sorted(name for name in count if count[name])
    return {name: count[name] for kind in _KINDS for name in found if name.startswith(kind)}


_KINDS = ("asked", "duplicate", "attempt", "pruned", "completed", "stopped", "failed", "study")
"""What the names of decisions begin with, in the order of a trial's life."""
_OF_PEOPLE = ("pause", "resume", "stop", "quarantine", "budget", "enqueue", "takeover")


def _asked_by(why: Mapping[str, Any]) -> str:
    by = str(why.get("by", "?"))
    if by == "given":
        return f"given, {why.get('from', 'outside')}"
    shown = SHOWN.get(by, by)
    return f"{shown}, at random" if "startup" in why else shown


def _saved(data: StudyData) -> Saved | None:
    records = [task.record for task in data.tasks]
    given_up = [one for one in records if one.reason_class is Reason.PRUNED and one.used_iterations > 0]
    limits = [one.spec.max_iterations for one in records if one.spec.max_iterations]
    whole = [one.used_iterations for one in records if one.status is Status.COMPLETED and one.iterations > 1]
    if not given_up or not (limits or whole):
        return None
    full = max(limits) if limits else round(statistics.median(whole))
    left = [max(0, full - one.used_iterations) for one in given_up]
    return Saved(
        trials=len(given_up),
        iterations=sum(left),
        seconds=sum(
            rest * one.compute_s / one.used_iterations for rest, one in zip(left, given_up, strict=True)
        ),
        of_s=sum(one.compute_s for one in records),
        full=full,
    )
