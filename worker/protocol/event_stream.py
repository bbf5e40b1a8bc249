"""The events of each study: one stream, which its controller reads."""

from __future__ import annotations

import logging
from typing import Any

import redis

from worker.protocol import keys
from worker.protocol.connection import is_spoiled
from worker.protocol.errors import RecordError
from worker.protocol.events import STREAM_LIMIT, Event

log = logging.getLogger(__name__)


class EventStream:
    """Reads and trims streams. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def last_id(self, study: str) -> str:
        """The id of the newest event. Ask for it before reading the records, so that no event is missed."""
        entries = self._redis.xrevrange(keys.events(study), count=1)
        return str(entries[0][0]) if entries else "0-0"

    def read(self, study: str, after: str, block_ms: int | None) -> tuple[list[Event], str]:
        """Events after an id, waiting up to `block_ms` for the first; None does not wait.

        Returns:
            The events, oldest first, and the id to continue from. Malformed entries are skipped with a
            warning.
        """
        try:
            answer = self._redis.xread({keys.events(study): after}, count=1000, block=block_ms)
        except redis.ResponseError as error:
            if not is_spoiled(error):
                raise
            # The records are the truth, and are looked at now and then: what follows is read again.
            log.warning("study %s: its events were spoiled: %s", study, error)
            self._redis.delete(keys.events(study))
            return [], "0-0"
        entries = stream_entries(answer)
        events: list[Event] = []
        problems: list[str] = []
        for entry_id, entry in entries:
            after = entry_id
            try:
                events.append(Event.decode(entry))
            except RecordError as error:
                problems.append(str(error))
        if problems:
            log.warning("study %s: skipped %d event(s): %s", study, len(problems), problems[0])
        return events, after

    def trim(self, study: str, read: str) -> None:
        """Drop the entries before id `read`, which the controller has processed."""
        self._redis.xtrim(keys.events(study), minid=read, approximate=True)


def emit(pipe: Any, study: str, event: Event) -> None:
    """Add an event, usually in the transaction that makes the change it reports."""
    pipe.xadd(keys.events(study), event.encode(), maxlen=STREAM_LIMIT, approximate=True)


def stream_entries(answer: Any) -> list[tuple[str, dict[str, str]]]:
    """The entries of what XREAD has answered for one stream, as (id, fields), oldest first."""
    if not answer:
        return []
    streams = list(answer.values()) if isinstance(answer, dict) else [stream[1] for stream in answer]
    entries: list[tuple[str, dict[str, str]]] = []
    for stream in streams:
        # RESP3 nests a stream's entries one list deeper than RESP2.
        if stream and isinstance(stream[0], list) and stream[0] and isinstance(stream[0][0], (list, tuple)):
            stream = stream[0]
        entries += [(str(entry_id), dict(fields)) for entry_id, fields in stream]
    return entries
