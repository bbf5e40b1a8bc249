"""Parts of one task that a page shows: parameters with what they were chosen from, and attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.results.parameters import as_written
from controller.results.space import Space, spaces_of
from controller.results.tasks import why
from worker.protocol import Status, StudyRecord, TaskRecord
from worker.protocol.values import as_text, bare


@dataclass(frozen=True, kw_only=True)
class ParameterRow:
    """One parameter of a task."""

    name: str
    value: Any
    """JSON type; None for one that the task doesn't have."""
    text: str
    """The value as text; empty for one that the task doesn't have."""
    origin: str
    """``searched``, ``fixed`` (the base task's), ``connected`` (the program's own), or ``absent``."""
    space: str
    """What it was chosen from, in words; empty where that isn't known."""
    place: float | None
    """Where the value lies between the bounds, from 0 to 1; None without bounds."""


def parameter_rows(
    record: TaskRecord, study: StudyRecord | None, asked: Mapping[str, Space] | None = None
) -> list[ParameterRow]:
    """A task's parameters: those that were searched, then the others, then those that this trial lacks.

    Args:
        study: whose task it is; None for a task outside any.
        asked: what an objective written for Optuna has asked for as it ran: name → what it was chosen from.
    """
    declared = spaces_of(study.sweep) if study is not None else {}
    known = {**declared, **{name: (space,) for name, space in (asked or {}).items()}}
    searched = as_written(record, everything=False) if study is not None else {}
    rows = [
        _row(name, value, _origin(record, name, searched), known.get(name) or known.get(bare(name), ()))
        for name, value in as_written(record, everything=True).items()
    ]
    rows.sort(key=lambda row: row.origin != "searched")
    have = {row.name for row in rows}
    return rows + [
        _row(name, None, "absent", spaces)
        for name, spaces in declared.items()
        if name not in have and any(space.when or space.note for space in spaces)
    ]


def _origin(record: TaskRecord, name: str, searched: Mapping[str, Any]) -> str:
    if name in record.spec.connected:
        return "connected"
    return "searched" if name in searched else "fixed"


def _row(name: str, value: Any, origin: str, spaces: tuple[Space, ...]) -> ParameterRow:
    chosen = spaces if origin in ("searched", "absent") else ()
    places = [place for space in chosen if (place := space.place(value)) is not None]
    return ParameterRow(
        name=name,
        value=value,
        text="" if origin == "absent" else as_text(value),
        origin=origin,
        space=" · or ".join(dict.fromkeys(space.text for space in chosen)),
        place=places[0] if places else None,
    )


@dataclass(frozen=True, kw_only=True)
class AttemptRow:
    """One execution of a task."""

    number: int
    worker: str
    """The slot that ran it, as ``worker name/slot``; empty where that isn't known."""
    started_at: float | None
    """Seconds since the epoch, as `ended_at`."""
    ended_at: float | None
    outcome: str
    """``given up`` (its worker was lost, or it failed and is tried again), ``handed back``; the last one has
    the task's status."""
    reason: str


def attempt_rows(record: TaskRecord) -> list[AttemptRow]:
    """A task's attempts, the oldest first, as far as they are kept; the last is the current one."""
    rows = [
        AttemptRow(
            number=one.attempt,
            worker=one.worker,
            started_at=one.started_at,
            ended_at=one.ended_at,
            outcome="handed back" if one.handed_back else "given up",
            reason=one.reason,
        )
        for one in record.earlier
    ]
    waits = record.status in (Status.CREATED, Status.QUEUED)
    current = AttemptRow(
        number=record.attempt,
        worker=record.worker,
        started_at=None if waits else record.started_at,
        ended_at=record.ended_at,
        outcome=record.status.value,
        reason=why(record),
    )
    return [*rows, current]
