"""Writes what a person did into the log of the study."""

from __future__ import annotations

from worker.protocol import Store
from worker.protocol.printable import one_line
from worker.protocol.study_log import LogEntry, LogKind


def write_log(store: Store, study: str, kind: LogKind, text: str, *, by: str, task: str = "") -> None:
    """Add a line to a study's log.

    Args:
        by: who did it.
        task: id of the task that it is about; empty for none.
    """
    entry = LogEntry(
        at=store.clock.now(), kind=kind.value, text=one_line(text), by=one_line(by, 200), task=task
    )
    store.study_log.add(study, entry)
