"""A study's surroundings in its file: one line ``{"surroundings": {...}}``; earlier versions pass it over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker.protocol import Store
from worker.protocol.recorded_surroundings import RecordedSurroundings


def surroundings_lines(store: Store, study: str) -> Iterator[dict[str, Any]]:
    """The study's surroundings as lines of its file; none where none are recorded."""
    found = store.surroundings.of_study(study)
    if found != RecordedSurroundings():
        yield {"surroundings": found.as_dict()}


def surroundings_in(line: Mapping[str, Any]) -> RecordedSurroundings | None:
    """The surroundings in a line of a file; None for another line. Raises `RecordError`."""
    return RecordedSurroundings.of(line["surroundings"]) if "surroundings" in line else None
