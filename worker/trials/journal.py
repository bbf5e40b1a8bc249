"""Optuna's journal file, with several entries written at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock


class _Lock(JournalFileSymlinkLock):
    """Optuna's lock, made reentrant."""

    _depth = 0

    def acquire(self) -> bool:
        if not self._depth:
            super().acquire()
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if not self._depth:
            super().release()


class JournalFile(JournalFileBackend):
    """Optuna's backend, which can also write and sync several entries at once. For one thread at a time."""

    def __init__(self, file_path: str) -> None:
        self._held = _Lock(file_path)
        self._path = file_path
        super().__init__(file_path, lock_obj=self._held)
        self._gathered: list[dict[str, Any]] | None = None
        self._length = 0
        """Entries read from the file; while entries are gathered, all that it has."""
        self.retrying: Callable[[Callable[[], None]], None] = lambda write: write()
        """Runs a write. `retry_while_away` replaces it, to wait for a storage that is away."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside the context, gather entries and keep other writers out; on leaving, write them all at once.

        The storage has counted them by then, so a file that can't be written now has to be waited for.
        """
        self._held.acquire()
        try:
            # What others have written comes first and keeps its numbers.
            for _ in self.read_logs(self._length):
                pass
            self._gathered = []
            yield
        finally:
            gathered, self._gathered = self._gathered, None
            try:
                if gathered:
                    self.retrying(lambda: self.append_logs(gathered))
            finally:
                self._held.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._gathered is not None:
            self._gathered += logs
            return
        self._held.acquire()
        try:
            size = os.path.getsize(self._path)
            try:
                super().append_logs(logs)
            except OSError:
                # A full disk may have taken a part of a line: nothing could be written after it.
                os.truncate(self._path, size)
                raise
        finally:
            self._held.release()

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        if self._gathered is None or log_number_from < self._length:
            for number, log in enumerate(super().read_logs(log_number_from), start=log_number_from + 1):
                self._length = max(self._length, number)
                yield log
        if self._gathered is not None:
            yield from self._gathered[max(0, log_number_from - self._length) :]
