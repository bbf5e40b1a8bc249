"""What programs print: the newest part of each task's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker.protocol import keys
from worker.protocol.attempt_guard import change_in_attempt
from worker.protocol.bounds import MAX_NUMBER, bounded_int

LOG_LIMIT = 1 << 20
"""Bytes of output kept per task, the newest; up to twice as much between two trims."""

MOST_READ = 16 << 20
"""Bytes of one task's output that are read at once, the newest."""


@dataclass(frozen=True, kw_only=True)
class LogPart:
    """A part of a task's output. Positions are bytes of all that the program ever wrote."""

    data: bytes
    start: int
    """Of `data`."""
    end: int
    """Of all the output there is."""
    dropped: int
    """What was trimmed before the rest."""


class Logs:
    """Appends and reads output. Thread-safe if the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def append(self, task_id: str, attempt: int, data: bytes) -> None:
        """Add what the program wrote; only the newest `LOG_LIMIT` bytes are kept.

        Raises:
            StaleAttempt: another attempt is current.
        """
        key = keys.log(task_id)
        (size,) = change_in_attempt(
            self._redis, task_id, attempt, "its output is", lambda pipe: pipe.append(key, data)
        )
        if size > 2 * LOG_LIMIT:
            kept = self._bytes(key, size - LOG_LIMIT)
            with self._redis.pipeline() as pipe:
                pipe.set(key, kept)
                pipe.hincrby(keys.task(task_id), "log_dropped", size - len(kept))
                pipe.execute()

    def read(self, task_id: str, start: int = 0) -> tuple[str, int]:
        """What the program wrote, from byte `start` of all it ever wrote.

        Returns:
            The text, and the offset to ask from next. Output that was trimmed is skipped.
        """
        dropped = self.dropped(self._redis.hget(keys.task(task_id), "log_dropped"))
        raw = self._bytes(keys.log(task_id), max(0, start - dropped))
        return raw.decode("utf-8", "replace"), max(start, dropped) + len(raw)

    def part(self, task_id: str, start: int, most: int) -> LogPart:
        """The bytes of the output from byte `start` of all the program ever wrote on, at most `most`.

        Args:
            start: what was trimmed meanwhile is skipped; a negative one counts from the end.
        """
        key = keys.log(task_id)
        dropped, size = self._extent(task_id)
        while True:
            first = max(0, size + start if start < 0 else start - dropped)
            data = self._bytes(key, first, first + most - 1)
            before, (dropped, size) = dropped, self._extent(task_id)
            if dropped == before:  # otherwise it was trimmed in between, and what was read lay elsewhere
                first = min(first, size)
                return LogPart(data=data, start=dropped + first, end=dropped + size, dropped=dropped)

    def _extent(self, task_id: str) -> tuple[int, int]:
        """Bytes that were trimmed, and bytes that are kept."""
        with self._redis.pipeline() as pipe:
            pipe.hget(keys.task(task_id), "log_dropped")
            pipe.strlen(keys.log(task_id))
            field, size = pipe.execute()
        return self.dropped(field), size

    def dropped(self, text: str | None) -> int:
        """Bytes that were trimmed, by the field of the task's record; 0 where that can't be."""
        try:
            return bounded_int(text or 0, 0, MAX_NUMBER)
        except ValueError:
            return 0

    def raw(self, task_id: str) -> bytes:
        """All that is kept of the program's output."""
        return self._bytes(keys.log(task_id), 0)

    def _bytes(self, key: str, start: int, last: int = -1) -> bytes:
        # Never more than slots leave there, and as bytes: output is cut anywhere, also within a character.
        first = start or (-MOST_READ if last < 0 else 0)
        answer = self._redis.execute_command("GETRANGE", key, first, last, NEVER_DECODE=True)
        return answer if isinstance(answer, bytes) else str(answer).encode()
