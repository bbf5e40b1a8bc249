"""Who ran what when: each attempt of each task, by worker and slot."""

from __future__ import annotations

from dataclasses import dataclass

from controller.results.study_data import StudyData
from worker.protocol import Reason, Status, TaskRecord

RUNNING, LOST, HANDED_BACK, AGAIN = "running", "lost", "handed back", "tried again"
"""What became of an attempt, where it is no task's end."""
PRUNED = "pruned"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One execution of a task."""

    task_id: str
    trial: int
    attempt: int
    worker: str
    """The slot, as ``worker name/slot``; empty where the record doesn't say."""
    started_at: float
    """Seconds since the epoch."""
    ended_at: float
    """For one that runs, the moment at which the study was read."""
    outcome: str
    """One of `OUTCOMES`."""
    reason: str


OUTCOMES = (
    RUNNING, Status.COMPLETED.value, PRUNED, Status.STOPPED.value, Status.FAILED.value,
    LOST, HANDED_BACK, AGAIN,
)  # fmt: skip


def timeline(data: StudyData) -> list[Attempt]:
    """All attempts that began, by slot and start."""
    found = [attempt for task in data.tasks for attempt in attempts_of(task.record, data.at)]
    return sorted(found, key=lambda attempt: (attempt.worker, attempt.started_at))


def attempts_of(record: TaskRecord, now: float) -> list[Attempt]:
    """The attempts of one task that began, the oldest first.

    Args:
        now: seconds since the epoch.
    """
    found = [
        Attempt(
            task_id=record.id,
            trial=record.trial,
            attempt=one.attempt,
            worker=one.worker,
            started_at=one.started_at,
            ended_at=one.ended_at,
            outcome=_given_up(one.reason),
            reason=one.reason,
        )
        for one in record.earlier
    ]
    began = record.started_at is not None and record.worker
    if began and record.started_at and (record.status is Status.IN_PROGRESS or record.status.is_finished):
        found.append(
            Attempt(
                task_id=record.id,
                trial=record.trial,
                attempt=record.attempt,
                worker=record.worker,
                started_at=record.started_at,
                ended_at=max(record.started_at, record.ended_at or now),
                outcome=_outcome(record),
                reason=record.reason,
            )
        )
    return found


def _given_up(reason: str) -> str:
    """What the sentence says with which an attempt was given up."""
    if reason.startswith("handed back"):
        return HANDED_BACK
    return LOST if reason.endswith("was lost") else AGAIN


def _outcome(record: TaskRecord) -> str:
    if record.status is Status.IN_PROGRESS:
        return RUNNING
    if record.reason_class is Reason.PRUNED:
        return PRUNED
    return LOST if record.reason_class is Reason.WORKER_LOST else record.status.value
