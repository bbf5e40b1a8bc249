"""What an earlier controller has left: records and trials compared, nothing dropped, nothing repeated."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.loop.backend import Backend
from controller.loop.job import Job
from controller.search.search import Asked, Search
from worker.protocol import FINISHED, Summary, TaskRecord

CHUNK = 500


@dataclass
class Left:
    """The state of a study at the start of a controller."""

    closed: list[TaskRecord] = field(default_factory=list)
    """Tasks that have ended, told or not: their use counts."""
    ended: list[tuple[Job, dict[str, Summary]]] = field(default_factory=list)
    """Tasks that have ended without their trial being told, with their scalars."""
    running: list[Job] = field(default_factory=list)
    """Tasks that are queued or run."""
    unlaunched: list[Asked] = field(default_factory=list)
    """Trials that were asked for and never became a task."""


def reconcile(backend: Backend, search: Search | None, study: str) -> Left:
    """Compare the study's records in Redis with Optuna's trials."""
    store = backend.store
    left = Left()
    records: dict[str, TaskRecord] = {}
    ids = store.study_tasks(study)
    for start in range(0, len(ids), CHUNK):
        for record in store.get_many(ids[start : start + CHUNK]):
            if record is not None:
                records[record.id] = record
    open_trials = {asked.task_id: asked for asked in (search.running() if search else ())}
    for record in records.values():
        asked = open_trials.get(record.id)
        parameters = asked.parameters if asked else record.spec.parameters
        if record.status in FINISHED:
            left.closed.append(record)
            if asked:
                scalars = store.scalars([record.id])[0]
                left.ended.append((Job.adopt(record, parameters, backend), scalars))
        else:
            left.running.append(Job.adopt(record, parameters, backend))
    left.unlaunched = [asked for asked in open_trials.values() if asked.task_id not in records]
    left.unlaunched.sort(key=lambda asked: asked.number)
    return left
