"""What a task's page says of running it again: in what it ran, and what earlier repeats came to."""

from __future__ import annotations

from dataclasses import dataclass

from controller.insight.reproduction import Reproduction, compare, repeats_of
from worker.protocol import Store, TaskRecord
from worker.protocol.surroundings import Difference, Surroundings, differences

MOST_REPEATS = 10
"""Repeats that are compared, the newest."""


@dataclass(frozen=True, kw_only=True)
class RunAgain:
    """A task's surroundings and repeats."""

    surroundings: Surroundings | None
    """What its last attempt ran in; None where that isn't recorded."""
    differing: tuple[Difference, ...]
    """In what they differ from those that its study began in."""
    repeats: tuple[Reproduction, ...]
    """The newest first."""


def run_again(store: Store, record: TaskRecord) -> RunAgain:
    """See `RunAgain`."""
    found = store.surroundings.of_task(record)
    first = store.surroundings.of_study(record.study).first if record.study and found else None
    differing = differences(first, found, code=not record.spec.code, host=False) if first and found else []
    repeats = repeats_of(store, record)[:MOST_REPEATS] if record.status.is_finished else []
    return RunAgain(
        surroundings=found,
        differing=tuple(differing),
        repeats=tuple(compare(store, record, repeat) for repeat in repeats),
    )
