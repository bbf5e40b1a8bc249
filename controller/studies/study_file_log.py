"""A study's log in its file: lines ``{"log": [entry]}`` before the tasks; earlier versions pass them over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from worker.protocol import Store
from worker.protocol.study_log import LOG_ENTRIES, LogEntry

CHUNK = 500
"""Entries in one line of the file."""


def log_lines(store: Store, study: str) -> Iterator[dict[str, Any]]:
    """The study's log as lines of its file, the oldest entries first."""
    found = store.study_log.whole(study)
    for start in range(0, len(found), CHUNK):
        yield {"log": [entry.encode() for entry in found[start : start + CHUNK]]}


def log_entries(line: Mapping[str, Any]) -> list[LogEntry]:
    """The entries in a line of a file; none of another line.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is malformed.
    """
    return [
        LogEntry.decode({str(name): str(text) for name, text in fields.items()})
        for fields in line.get("log", ())
    ]


def write_log(store: Store, study: str, entries: list[LogEntry], task_ids: Mapping[str, str]) -> None:
    """Write the log of a study that is imported.

    Args:
        task_ids: the ids of its tasks in the file → here.
    """
    store.study_log.add_all(
        study, (replace(entry, task=task_ids.get(entry.task, "")) for entry in entries[-LOG_ENTRIES:])
    )
