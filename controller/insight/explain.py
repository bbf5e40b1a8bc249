"""Why a task is as it is: its life as a timeline of decisions, each with what it rested on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from controller.insight.explain_good import beside_good, good_words
from controller.insight.explain_waits import Slots, Wait, waits
from controller.results.durations import brief
from controller.results.tasks import why as why_ended
from controller.results.timeline import HANDED_BACK, LOST, Attempt, attempts_of
from controller.search.decision_log import LOG, decisions_of_trial
from controller.search.reason_words import ask_words
from worker.protocol import Reason, Status, StudyRecord, TaskRecord
from worker.protocol.checkpoint import ResumePoint, resume_points
from worker.protocol.clock import iso
from worker.protocol.errors import BadInput, RecordError
from worker.protocol.study_log import LogEntry, LogKind

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

_OF_STUDY = (LogKind.PAUSE, LogKind.RESUME, LogKind.OUTAGE, LogKind.TAKEOVER)
"""Entries of a study's log that say what held up a task that lived then."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One decision about a task, or one thing that happened to it."""

    at: float | None
    """Seconds since the epoch; None where that is not known."""
    kind: str
    """``asked``, ``queued``, ``started``, ``checkpoint``, ``lost``, ``handed back``, ``tried again``,
    ``chosen``, ``stop asked``, ``study``, ``person``, ``ended``, ``kept``, ``told``."""
    text: str
    why: Mapping[str, Any] = field(default_factory=dict)
    """What it rested on, as JSON types."""


@dataclass(frozen=True, kw_only=True)
class TaskLife:
    """The timeline of one task."""

    task_id: str
    study: str
    trial: int
    status: str
    steps: tuple[Step, ...]
    """By time; those without a time stand where they belong."""
    unknown: tuple[str, ...] = ()
    """What can't be said, and why."""

    def rows(self) -> list[dict[str, Any]]:
        """As a table has them: ``at`` (UTC), ``after`` the first step, ``what``, ``text``."""
        first = next((step.at for step in self.steps if step.at is not None), None)
        return [
            {
                "at": (iso(step.at) or "")[:19].replace("T", " "),
                "after": "" if step.at is None or first is None else f"+{brief(step.at - first)}",
                "what": step.kind,
                "text": step.text,
            }
            for step in self.steps
        ]

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "task_id": self.task_id,
            "study": self.study,
            "trial": self.trial,
            "status": self.status,
            "steps": [
                {"at": iso(step.at), "kind": step.kind, "text": step.text, "why": dict(step.why)}
                for step in self.steps
            ],
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a task and of what ran beside it."""

    record: TaskRecord
    slots: Slots
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Name → description as JSON text: checkpoints are among them."""
    log: Sequence[LogEntry] = ()
    """The study's."""
    trial: FrozenTrial | None = None
    """As Optuna's storage has it."""
    others: Sequence[TaskRecord] = ()
    """The tasks of the study that are known, its own included."""
    study: StudyRecord | None = None
    unknown: tuple[str, ...] = ()

    @property
    def reasons(self) -> Mapping[str, Mapping[str, Any]]:
        """Kind of decision → what it rested on; empty for a trial of an older version."""
        return reasons_of(self.trial.number, self.trial.system_attrs) if self.trial is not None else {}


def reasons_of(number: int, attributes: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Kind of decision → what it rested on, by the log that a trial carries.

    Empty for a trial that has none, or one that can't be read.

    Args:
        attributes: the trial's system attributes.
    """
    entries = {LOG: attributes.get(LOG, ())}  # the parts with its reports say no more
    try:
        decisions = decisions_of_trial(number, entries)
    except BadInput as error:
        log.info("%s", error)
        return {}
    return {decision.kind: decision.why for decision in decisions}


def explain_task(known: Known) -> TaskLife:
    """The timeline of a task."""
    record = known.record
    steps = [
        *_asked(known),
        *_attempts(known),
        *_from_log(known),
        *_end(record, known.reasons),
        *_told(known),
    ]
    # What has no time stands at the end. What happened at once keeps its order.
    steps.sort(key=lambda step: step.at if step.at is not None else float("inf"))
    return TaskLife(
        task_id=record.id,
        study=record.study,
        trial=record.trial,
        status=record.status.value,
        steps=tuple(steps),
        unknown=(*known.unknown, *_not_logged(known)),
    )


def _not_logged(known: Known) -> Iterator[str]:
    if known.trial is not None and not known.reasons:
        yield "why it was asked for: it carries no log of decisions that can be read"


def _asked(known: Known) -> Iterator[Step]:
    record = known.record
    text = f"asked for as trial {record.trial}" if record.trial >= 0 else "created"
    why = known.reasons.get("asked", {})
    if record.spec.confirms:
        text = f"created to confirm task {record.spec.confirms[:8]}, with seed {record.seed}"
        why = {"confirms": record.spec.confirms, "seed": record.seed}
        yield Step(at=record.created_at, kind="asked", text=text, why=why)
        return
    words = ask_words(why)
    yield Step(at=record.created_at, kind="asked", text=f"{text} {words}" if words else text, why=why)
    places = beside_good(record, known.others, why)
    if places:
        yield Step(at=record.created_at, kind="chosen", text=good_words(places), why=places)


def _attempts(known: Known) -> Iterator[Step]:
    record, points = known.record, _checkpoints(known)
    waited = {wait.attempt: wait for wait in waits(record, known.slots)}
    for point in points:
        yield Step(
            at=point.at,
            kind="checkpoint",
            text=f"checkpoint of iteration {point.iteration} saved",
            why={"iteration": point.iteration},
        )
    began = attempts_of(record, known.slots.now)
    for attempt in began:
        resumed = record.resumed if attempt.attempt == record.attempt else None
        yield _started(attempt, waited.get(attempt.attempt), points, resumed)
        if attempt is not began[-1] or attempt.attempt < record.attempt:
            yield _given_up(attempt, record)
    last = waited.get(record.attempt)
    if last is not None and last.attempt not in {attempt.attempt for attempt in began}:
        yield Step(at=last.since, kind="queued", text=f"attempt {last.attempt} {last.text}", why=last.why())


def _started(attempt: Attempt, wait: Wait | None, points: Sequence[ResumePoint], resumed: int | None) -> Step:
    text = f"attempt {attempt.attempt} began on {attempt.worker}"
    why: dict[str, Any] = {"attempt": attempt.attempt, "slot": attempt.worker}
    if wait is not None:
        text += f", {wait.text}"
        why |= wait.why()
    earlier = [point for point in points if point.at < attempt.started_at]
    if attempt.attempt > 1:
        if resumed is None and earlier:
            resumed = earlier[-1].iteration  # by an older version, which did not note it
        if resumed is not None:
            text += f"; it went on from the checkpoint of iteration {resumed}"
            why["checkpoint"] = resumed
        elif not points:
            text += "; it began again, as there is no checkpoint"
    return Step(at=attempt.started_at, kind="started", text=text, why=why)


def _given_up(attempt: Attempt, record: TaskRecord) -> Step:
    ran = attempt.ended_at - attempt.started_at
    text = f"attempt {attempt.attempt} given up after {brief(ran)}: {attempt.reason}"
    why: dict[str, Any] = {"attempt": attempt.attempt, "ran_s": round(ran, 3), "reason": attempt.reason}
    if attempt.outcome == LOST:
        text += f"; its lease of {record.spec.lease_s:g} s had run out"
        why["lease_s"] = record.spec.lease_s
    if attempt.outcome == HANDED_BACK:
        text += "; it doesn't count against the task's attempts"
    return Step(at=attempt.ended_at, kind=attempt.outcome, text=text, why=why)


def _checkpoints(known: Known) -> list[ResumePoint]:
    try:
        return resume_points(known.artifacts)
    except RecordError:  # a worker wrote it; what is unreadable is not told
        return []


def _from_log(known: Known) -> Iterator[Step]:
    """What people did with the task, and what became of the study while it waited or ran."""
    record = known.record
    until = record.ended_at or known.slots.now
    for entry in known.log:
        by = f" ({entry.by})" if entry.by else ""
        if entry.task and entry.task == record.id:
            yield Step(at=entry.at, kind="person", text=f"{entry.text}{by}", why={"by": entry.by})
        elif entry.kind in _OF_STUDY and not entry.task and record.created_at <= entry.at <= until:
            yield Step(
                at=entry.at, kind="study", text=f"the study: {entry.text}{by}", why={"kind": entry.kind}
            )


def _end(record: TaskRecord, reasons: Mapping[str, Mapping[str, Any]]) -> Iterator[Step]:
    stop = record.stop
    if stop is not None and not record.status.is_finished:
        text = f"asked to stop, {stop.reason_class}: {stop.reason}"
        yield Step(at=None, kind="stop asked", text=text, why=_class_of(stop.reason_class))
    if not record.status.is_finished:
        return
    reason = why_ended(record)
    text = f"{record.status}{f': {reason}' if reason else ' by itself'}"
    text += f"; it computed {brief(record.compute_s)}"
    if record.iterations:
        text += f" and reported {record.iterations} iteration{'s' if record.iterations != 1 else ''}"
    why = dict(reasons.get("pruned", {})) if record.reason_class is Reason.PRUNED else {}
    why |= _class_of(record.reason_class) | {"compute_s": round(record.compute_s, 3)}
    yield Step(at=record.ended_at, kind="ended", text=text, why=why | {"iterations": record.iterations})
    if record.status is Status.FAILED:
        yield Step(at=record.ended_at, kind="kept", text=_not_again(record))


def _class_of(reason: Reason | None) -> dict[str, Any]:
    return {"class": reason.value} if reason is not None else {}


def _not_again(record: TaskRecord) -> str:
    """Why a failed task gets no further attempt."""
    spec, reason = record.spec, record.reason_class
    used = f"{record.spent_attempts} of {spec.max_attempts} attempts used"
    retried = reason is not None and (
        reason is Reason.WORKER_LOST or reason.is_machine_fault or reason.value in spec.retry_on
    )
    if retried:
        return f"no other attempt: {used}"
    named = ", ".join(spec.retry_on) or "no class of failure"
    return f"no other attempt: retry_on names {named}; {used}"


def _told(known: Known) -> Iterator[Step]:
    trial = known.trial
    if trial is None or not trial.state.is_finished():
        return
    at = trial.datetime_complete.timestamp() if trial.datetime_complete is not None else None
    if at is not None and known.record.ended_at is not None:
        at = max(at, known.record.ended_at)  # by the head node's clock, the other by Redis'
    text = f"told to Optuna as {trial.state.name}"
    why: dict[str, Any] = {"state": trial.state.name}
    if trial.values:
        shown = ", ".join(f"{value:.6g}" for value in trial.values)
        last = max(trial.intermediate_values, default=None)
        text += f" with {shown}"
        if trial.state.name == "PRUNED" and last is not None:
            text += f", its value at iteration {last}"
        why["values"] = list(trial.values)
    yield Step(at=at, kind="told", text=text, why=why)
