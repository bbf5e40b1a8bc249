"""What a study keeps of the surroundings that it ran in: those of its controllers, and of its workers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from worker.protocol import keys
from worker.protocol.errors import RecordError
from worker.protocol.record import TaskRecord
from worker.protocol.surroundings import MAX_DOCUMENT, Surroundings
from worker.protocol.worker_registry import MAX_NAME, NAME

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_LATER = 20
"""Surroundings of later controllers that are kept, the newest."""
MOST_VERSIONS = 5
"""Surroundings of one worker that are kept, the newest."""
MOST_WORKERS = 1000
"""Workers of one study that are read."""
_SLACK_S = 60.0
"""A worker looks at its surroundings while it takes its first task, which may begin before."""


@dataclass(frozen=True, kw_only=True)
class RecordedSurroundings:
    """Surroundings of one study. What an earlier version ran has none."""

    first: Surroundings | None = None
    """Of the controller that began the study."""
    diff: Mapping[str, Any] = field(default_factory=dict)
    """What differed from git's commit then, without secrets: ``text``, ``hidden``, ``left_out``."""
    later: tuple[Surroundings, ...] = ()
    """Of controllers that continued it in others, the oldest first."""
    workers: Mapping[str, tuple[Surroundings, ...]] = field(default_factory=dict)
    """Worker's name → what it ran in, the oldest first."""

    def of_slot(self, slot: str, at: float | None) -> Surroundings | None:
        """What an attempt ran in; None where that isn't known.

        Args:
            slot: that ran it, as a task's record names it.
            at: when it began, seconds since the epoch.
        """
        known = self.workers.get(slot.rpartition("/")[0], ()) if slot else ()
        before = [one for one in known if at is None or one.at <= at + _SLACK_S]
        return (before or known)[-1] if known and (before or len(known) == 1) else None

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "first": self.first.as_dict() if self.first else None,
            "diff": dict(self.diff),
            "later": [one.as_dict() for one in self.later],
            "workers": {name: [one.as_dict() for one in found] for name, found in self.workers.items()},
        }

    @classmethod
    def of(cls, data: Any) -> RecordedSurroundings:
        """Inverse of `as_dict`. Raises `RecordError`."""
        try:
            return cls(
                first=Surroundings.of(data["first"]) if data.get("first") else None,
                diff=dict(data.get("diff") or {}),
                later=tuple(map(Surroundings.of, list(data.get("later", ()))[-MOST_LATER:])),
                workers={
                    str(name): tuple(map(Surroundings.of, list(found)[-MOST_VERSIONS:]))
                    for name, found in list(data.get("workers", {}).items())[:MOST_WORKERS]
                    if _is_name(str(name))
                },
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RecordError(f"surroundings: {type(error).__name__}: {error}") from error


class SurroundingsRecords:
    """Writes and reads the surroundings of studies. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def note_study(self, study: str, now: Surroundings, diff: Mapping[str, Any]) -> Surroundings | None:
        """Record the surroundings of a controller that begins or continues a study; each change once.

        Args:
            diff: see `RecordedSurroundings.diff`; kept of the first controller.

        Returns:
            Those recorded before, the newest; None for none.
        """
        key = keys.study_surroundings(study)
        first = _decoded(self._redis.hget(key, "first"), Surroundings.decode)
        if first is None:
            self._redis.hset(key, mapping={"first": now.encode(), "diff": json.dumps(dict(diff))})
            return None
        later = _several(self._redis.hget(key, "later"))
        last = later[-1] if later else first
        if replace(last, at=0.0) != replace(now, at=0.0):
            kept = [one.as_dict() for one in (*later, now)[-MOST_LATER:]]
            self._redis.hset(key, "later", json.dumps(kept, separators=(",", ":")))
        return last

    def note_worker(self, record: TaskRecord, worker: str, now: Surroundings) -> None:
        """Record what a worker runs a task in: for its whole study, if it has one, unless that is known."""
        if not record.study:
            self._redis.set(keys.surroundings(record.id), now.encode())
            return
        key = keys.study_seen(record.study)
        known = _several(self._redis.hget(key, worker))
        if known and replace(known[-1], at=0.0) == replace(now, at=0.0):
            return
        kept = [one.as_dict() for one in (*known, now)[-MOST_VERSIONS:]]
        self._redis.hset(key, worker, json.dumps(kept, separators=(",", ":")))

    def of_task(self, record: TaskRecord) -> Surroundings | None:
        """What a task's last attempt ran in; None where that isn't known."""
        if not record.study:
            return _decoded(self._redis.get(keys.surroundings(record.id)), Surroundings.decode)
        if not record.worker:
            return None
        name = record.worker.rpartition("/")[0]
        known = _several(self._redis.hget(keys.study_seen(record.study), name))
        return RecordedSurroundings(workers={name: tuple(known)}).of_slot(record.worker, record.started_at)

    def of_study(self, study: str) -> RecordedSurroundings:
        """All that is recorded of a study. What is malformed is passed over."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.study_surroundings(study))
            pipe.hgetall(keys.study_seen(study))
            own, seen = pipe.execute()
        named = {name: text for name, text in seen.items() if _is_name(name)}
        return RecordedSurroundings(
            first=_decoded(own.get("first"), Surroundings.decode),
            diff=_decoded(own.get("diff"), _object) or {},
            later=tuple(_several(own.get("later"))),
            workers={name: tuple(_several(named[name])) for name in sorted(named)[:MOST_WORKERS]},
        )

    def write(self, study: str, recorded: RecordedSurroundings) -> None:
        """Write all that is recorded of a study, which comes from elsewhere."""
        about = recorded.as_dict()
        own = {name: json.dumps(about[name]) for name in ("first", "diff", "later") if about[name]}
        with self._redis.pipeline() as pipe:
            if own:
                pipe.hset(keys.study_surroundings(study), mapping=own)
            if about["workers"]:
                seen = {name: json.dumps(found) for name, found in about["workers"].items()}
                pipe.hset(keys.study_seen(study), mapping=seen)
            pipe.execute()


def _is_name(name: str) -> bool:
    return len(name) <= MAX_NAME and NAME.fullmatch(name) is not None


def _several(text: str | None) -> Sequence[Surroundings]:
    def decode(text: str) -> list[Surroundings]:
        if len(text) > MOST_LATER * MAX_DOCUMENT:
            raise RecordError(f"surroundings: too long: {len(text)} characters")
        return [Surroundings.of(one) for one in list(json.loads(text))[-MOST_LATER:]]

    return _decoded(text, decode) or []


def _object(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def _decoded(text: str | None, decode: Callable[[str], T]) -> T | None:
    if not text:
        return None
    try:
        return decode(text)
    except (RecordError, ValueError, TypeError, RecursionError) as error:
        log.warning("recorded surroundings are passed over: %.300s", error)
        return None
