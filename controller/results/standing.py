"""Whether a task's values stand: it has ended by itself, still runs, or was cut short and is tried again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from controller.results.parameters import as_written
from worker.protocol import Reason, Status, TaskRecord


def is_interrupted(record: TaskRecord) -> bool:
    """Whether a task was cut short with its study: when that goes on, its parameters are tried again."""
    return record.status is Status.STOPPED and record.reason_class is Reason.STUDY_STOPPED


def stands(record: TaskRecord) -> bool:
    """Whether what a task has reported is its result."""
    return record.status.is_finished and not is_interrupted(record)


def retries(records: Iterable[TaskRecord]) -> dict[str, TaskRecord]:
    """Id of each interrupted task that was tried again → the task that stands for it.

    Args:
        records: of one study.
    """
    by_parameters: dict[str, list[TaskRecord]] = {}
    for record in records:
        chosen = as_written(record, everything=False)
        if chosen:
            by_parameters.setdefault(json.dumps(chosen, sort_keys=True, default=str), []).append(record)
    found = {}
    for alike in by_parameters.values():
        alike.sort(key=lambda record: record.trial)
        found.update({record.id: alike[-1] for record in alike[:-1] if is_interrupted(record)})
    return found


def merged(records: Sequence[TaskRecord]) -> list[tuple[TaskRecord, list[int]]]:
    """The tasks of a study, an interrupted one and its retry as one.

    Returns:
        Each task that nothing stands for, with the numbers of the trials that it stands for.
    """
    later = retries(records)
    earlier: dict[str, list[int]] = {}
    for record in records:
        if record.id in later:
            earlier.setdefault(later[record.id].id, []).append(record.trial)
    return [(record, earlier.get(record.id, [])) for record in records if record.id not in later]
