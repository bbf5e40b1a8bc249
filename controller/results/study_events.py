"""A study's log as values: what was done with it, when and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.protocol import Store
from worker.protocol.clock import iso
from worker.protocol.study_log import LogEntry


def study_events(store: Store, name: str, count: int = 100) -> list[dict[str, Any]]:
    """The newest entries of a study's log as JSON types, the oldest of them first.

    Raises:
        BadInput: there is no such study.
    """
    store.studies.get(name)
    return event_rows(store.study_log.last(name, count))


def event_rows(entries: Sequence[LogEntry]) -> list[dict[str, Any]]:
    """Entries as JSON types: ``at`` (ISO 8601), ``kind``, ``text``, ``by``, ``task`` (an id or empty)."""
    return [
        {"at": iso(entry.at), "kind": entry.kind, "text": entry.text, "by": entry.by, "task": entry.task}
        for entry in entries
    ]
