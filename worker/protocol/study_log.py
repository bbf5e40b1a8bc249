"""The log of a study: what its controllers and people did with it, a line each; capped, the newest stay.

Written by the head node alone: Redis' rules keep it from workers. Its texts are data all the same: they may
quote what a worker or a program said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from worker.protocol import keys
from worker.protocol.bounds import MAX_STAMP, bounded_float
from worker.protocol.event_stream import stream_entries

log = logging.getLogger(__name__)

LOG_ENTRIES = 10_000
"""Entries kept of each study, about; the newest."""
MAX_LINE = 2000
"""Characters of an entry's text."""
MAX_WHO = 200
"""Characters of who did it."""


class LogKind(str, Enum):
    """What an entry is about."""

    NOTE = "note"
    """Something worth a line."""
    START = "start"
    """A controller has begun or continued the study."""
    END = "end"
    """The study has ended, or its controller has."""
    TAKEOVER = "takeover"
    """Another controller has it now."""
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    """The study's end was asked for."""
    OUTAGE = "outage"
    """A server that the study needs was away, or is back."""
    LOST = "lost"
    """A worker was lost with what it ran."""
    QUARANTINE = "quarantine"
    """A worker on which all fails takes no jobs for a while."""
    WORKER = "worker"
    """A person has a worker pause, drain or go on."""
    TASK = "task"
    """A person has stopped a task."""
    BUDGET = "budget"
    """The budget was edited."""
    ENQUEUE = "enqueue"
    """A configuration was given to be tried."""
    TAG = "tag"
    """Tags or notes of tasks were changed."""


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One line of a study's log."""

    id: str = ""
    """Its place in the log: later entries have a higher one. Empty before it is written."""
    at: float
    """Seconds since the epoch."""
    kind: str
    """One of `LogKind`; of a newer version perhaps another word."""
    text: str
    by: str = ""
    """Who did it: a person, or ``host:pid`` of a controller."""
    task: str = ""
    """Id of the task that it is about; empty for none."""

    def encode(self) -> dict[str, str]:
        """As the fields of a stream's entry."""
        found = {"at": repr(self.at), "kind": str(self.kind)[:40], "text": self.text[:MAX_LINE]}
        found.update({"by": self.by[:MAX_WHO]} if self.by else {})
        found.update({"task": self.task} if self.task else {})
        return found

    @classmethod
    def decode(cls, entry_id: str, fields: Mapping[str, str]) -> LogEntry:
        """Raises `ValueError` or `KeyError` for what is no entry."""
        return cls(
            id=entry_id,
            at=bounded_float(fields["at"], 0.0, MAX_STAMP),
            kind=fields["kind"][:40],
            text=fields["text"][:MAX_LINE],
            by=fields.get("by", "")[:MAX_WHO],
            task=fields.get("task", "")[:40],
        )


class StudyLog:
    """Writes and reads the logs of studies. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def add(self, study: str, entry: LogEntry, pipe: Any = None) -> None:
        """Add an entry; in a transaction, if there is one."""
        target = self._redis if pipe is None else pipe
        target.xadd(keys.study_log(study), entry.encode(), maxlen=LOG_ENTRIES, approximate=True)

    def last(self, study: str, count: int = 100) -> list[LogEntry]:
        """The newest entries, the oldest of them first. What is malformed is passed over."""
        found = self._redis.xrevrange(keys.study_log(study), count=count)
        return _decoded(study, ((str(entry_id), fields) for entry_id, fields in reversed(found)))

    def read(self, study: str, after: str, block_ms: int | None = None) -> tuple[list[LogEntry], str]:
        """The entries after an id (``0-0`` for all), at most a thousand, the oldest first.

        Args:
            block_ms: how long to wait for the first, in milliseconds; None does not wait.

        Returns:
            The entries, and the id to go on from.
        """
        answer = self._redis.xread({keys.study_log(study): after}, count=1000, block=block_ms)
        entries = stream_entries(answer)
        return _decoded(study, entries), entries[-1][0] if entries else after


def _decoded(study: str, entries: Iterable[tuple[str, Mapping[str, str]]]) -> list[LogEntry]:
    found = []
    for entry_id, fields in entries:
        try:
            found.append(LogEntry.decode(entry_id, fields))
        except (ValueError, KeyError) as error:
            log.warning("study %s: an entry of its log is passed over: %s", study, error)
    return found
