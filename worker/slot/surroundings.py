"""Records with each study what its tasks run in here: the daemon looks, the slots write."""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path

import redis

from worker.artifacts.atomic import replacing
from worker.process.surroundings import look
from worker.protocol.errors import RecordError
from worker.protocol.record import TaskRecord
from worker.protocol.store import Store
from worker.protocol.surroundings import Surroundings

MOST_NOTED = 1000
"""Studies that a slot remembers to have written to."""

log = logging.getLogger(__name__)


def look_aside(folder: Path, file: Path, now: float) -> None:
    """Have this machine's surroundings looked at in a thread and written to a file: no slot waits for it.

    Args:
        folder: that programs start in.
        file: that `SurroundingsNotes` reads.
        now: seconds since the epoch.
    """

    def write() -> None:
        try:
            found = look(folder, now).encode()
            with replacing(file, durable=False) as partial:
                partial.write_text(found, encoding="utf-8")
        except Exception as error:
            log.warning("the surroundings of this worker are not recorded: %s", error)

    threading.Thread(target=write, name="optuna-rq-surroundings", daemon=True).start()


class SurroundingsNotes:
    """Writes a worker's surroundings to each study of which it runs something, once in a slot's life.

    Args:
        worker: its name.
        file: that `look_aside` writes.
    """

    def __init__(self, store: Store, worker: str, file: Path) -> None:
        self._store = store
        self._worker = worker
        self._file = file
        self._found: Surroundings | None = None
        self._noted: set[str] = set()

    def note(self, record: TaskRecord) -> None:
        """Write them to a task's study, or to the task if it has none. Never raises: the task matters more.

        Call it when a task begins and when it has ended: they may not be known before.
        """
        place = record.study or record.id
        if place in self._noted:
            return
        try:
            if self._found is None:
                self._found = Surroundings.decode(self._file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, RecordError):
            return
        with contextlib.suppress(redis.RedisError):
            self._store.surroundings.note_worker(record, self._worker, self._found)
        # One try is enough: the rules of an earlier version refuse it each time.
        self._noted = {*list(self._noted)[-MOST_NOTED:], place}
