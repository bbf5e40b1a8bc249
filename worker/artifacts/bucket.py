"""What the stores of S3 and of Google have in common: a client for each process, downloads that go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.artifacts.checksum import NewHasher
from worker.artifacts.ranges import Download


class ProcessClient:
    """One client for each process: a connection must not be shared across a fork. Thread-safe.

    Args:
        given: the client to use in any process; by default each gets one of its own.
        make: makes one.
    """

    def __init__(self, given: Any, make: Callable[[], Any]) -> None:
        self._given = given
        self._make = make
        self._made: tuple[int, Any] | None = None
        self._lock = threading.Lock()

    def get(self) -> Any:
        """This process' client."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                self._made = os.getpid(), self._make()
            return self._made[1]

    @property
    def current(self) -> Any:
        """The client that was used last; None before the first."""
        return self._given or (self._made[1] if self._made else None)


class ResumableDownloads:
    """Downloads that go on where they broke off, when the same object is asked for again.

    Args:
        may_pass: whether what a download raised may be over when it is tried again.
    """

    def __init__(self, may_pass: Callable[[Exception], bool]) -> None:
        self._may_pass = may_pass
        self._broken: dict[tuple[str, str], Download] = {}
        """Key and path → what has come so far."""

    def get(self, key: str, path: Path, begin: Callable[[], Download], new_hasher: NewHasher) -> str:
        """Download an object to `path`; returns its checksum. Raises what the download raises.

        Args:
            begin: makes the download where none has broken off.
        """
        place = (key, os.fspath(path))
        download = self._broken.pop(place, None) or begin()
        try:
            return download.run(new_hasher)
        except Exception as error:
            if self._may_pass(error):
                self._broken[place] = download
            raise
