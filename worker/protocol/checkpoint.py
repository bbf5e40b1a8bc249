"""Checkpoints in a task's record: where the next attempt resumes, and what counts up to there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.protocol.errors import RecordError
from worker.protocol.metrics import Summary

PREFIX = "checkpoint/"
"""Begins the names of the artifacts that are checkpoints; the iteration follows."""


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """The state of a task's reports when a checkpoint was saved."""

    name: str
    """Of the artifact."""
    iteration: int
    at: float
    """Seconds since the epoch, by the program's clock, as those of its points."""
    summaries: Mapping[str, Summary]
    """Of all metrics, by metric key."""
    meta: str
    """The artifact's description, as JSON text."""


def name_of(iteration: int) -> str:
    """Name of the artifact that holds the checkpoint of an iteration."""
    return f"{PREFIX}{iteration}"


def with_resume_point(meta: str, iteration: int, at: float, summaries: Mapping[str, Summary]) -> str:
    """An artifact's description, extended to mark the artifact as a checkpoint.

    Args:
        meta: the description, as JSON text.
        at: seconds since the epoch.
    """
    data: dict[str, Any] = json.loads(meta)
    shown = {key: summary.to_list() for key, summary in summaries.items()}
    data["checkpoint"] = {"iteration": iteration, "at": at, "summaries": shown}
    return json.dumps(data, separators=(",", ":"))


def resume_points(artifacts: Mapping[str, str]) -> list[ResumePoint]:
    """The checkpoints among a task's artifacts, the oldest first.

    Raises:
        RecordError: one is malformed.
    """
    found = []
    for name, text in artifacts.items():
        if not name.startswith(PREFIX):
            continue
        try:
            about = json.loads(text)["checkpoint"]
            found.append(
                ResumePoint(
                    name=name,
                    iteration=int(about["iteration"]),
                    at=float(about["at"]),
                    summaries={key: Summary.from_list(data) for key, data in about["summaries"].items()},
                    meta=text,
                )
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RecordError(f"artifact {name!r}: its checkpoint is malformed: {error}") from error
    return sorted(found, key=lambda point: point.at)
