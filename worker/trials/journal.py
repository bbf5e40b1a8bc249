"""Optuna's journal file, to which several entries can be written at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock


class _Lock(JournalFileSymlinkLock):
    """Optuna's, which its holder may take again."""

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
    """As Optuna's, which writes and syncs every entry by itself. Used by one thread at a time."""

    def __init__(self, file_path: str) -> None:
        self._held = _Lock(file_path)
        super().__init__(file_path, lock_obj=self._held)
        self._gathered: list[dict[str, Any]] | None = None
        self._length = 0
        """Entries of the file that were read, and then, while entries are gathered, that it has."""
        self.patiently: Callable[[Callable[[], None]], None] = lambda write: write()
        """How the file is written to: who waits for a storage that is away puts a way of its own here."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within, entries are gathered, and nobody else writes; at the end they are written at once.

        The storage has counted them already by then: a file that can't be written to has to be waited for.
        """
        self._held.acquire()
        try:
            # What others have written comes first, and has its numbers.
            for _ in self.read_logs(self._length):
                pass
            self._gathered = []
            yield
        finally:
            gathered, self._gathered = self._gathered, None
            try:
                if gathered:
                    self.patiently(lambda: self.append_logs(gathered))
            finally:
                self._held.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._gathered is not None:
            self._gathered += logs
        else:
            super().append_logs(logs)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        if self._gathered is None or log_number_from < self._length:
            for number, log in enumerate(super().read_logs(log_number_from), start=log_number_from + 1):
                self._length = max(self._length, number)
                yield log
        if self._gathered is not None:
            yield from self._gathered[max(0, log_number_from - self._length) :]
