"""One stored object, read in parts: no part of it is held in memory but the chunk on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from worker.protocol.errors import ArtifactError

CHUNK = 256 << 10
"""Bytes read at a time; Google's client has some megabytes of its own."""


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object as it was when it was opened. Threads may share it; nothing has to be closed."""

    name: str
    """For messages: its store and key, without credentials."""
    size: int
    """Bytes."""
    reader: Callable[[int, int], Any]
    """``reader(first, last)`` opens these bytes (`last` included): a stream with ``read`` and ``close``."""
    refusals: Callable[[], AbstractContextManager[None]]
    """Turns what the store raises into an `ArtifactError`."""

    def chunks(self, first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """Bytes `first` to `last` (inclusive; by default to the end), a chunk at a time.

        Closing the iterator early gives the connection back.

        Raises:
            ArtifactError: the store fails, or the object is shorter than it was.
        """
        end = self.size if last is None else min(last + 1, self.size)
        left = end - first
        if left <= 0:
            return
        with self.refusals():
            stream = self.reader(first, end - 1)
            try:
                while left > 0:
                    data = stream.read(min(CHUNK, left))[:left]
                    if not data:
                        raise ArtifactError(f"{self.name}: it ended {left} bytes early")
                    left -= len(data)
                    yield data
            finally:
                stream.close()

    def beginning(self, most: int) -> bytes:
        """The first bytes, at most so many. Raises `ArtifactError`."""
        return b"".join(self.chunks(0, most - 1)) if most > 0 else b""
