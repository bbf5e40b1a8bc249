"""A study as its controller and its workers write it, without either."""

from __future__ import annotations

from typing import Any

from tests.fakes import LOSS, record
from worker.protocol import Batch, Point, Reason, Status, Store, StudyRecord, Summary, TaskRecord, keys


class Head:
    """A study as its controller and its workers write it."""

    def __init__(self, store: Store, study: str = "s") -> None:
        self.store = store
        self.study = study
        self.save()
        store.redis.set(keys.study_lock(study), "head:1")

    def save(self, **changes: Any) -> None:
        """Write the study's record."""
        fields: dict[str, Any] = {"created_at": 5.0, "metrics": (LOSS,), **changes}
        self.store.studies.save(StudyRecord(name=self.study, **fields))

    def queue(self, trial: int, **changes: Any) -> TaskRecord:
        made = record(trial=trial, study=self.study, status=Status.QUEUED, **changes)
        self.store.tasks.create(made)
        return made

    def run(self, trial: int, *losses: float, **changes: Any) -> TaskRecord:
        """A task that runs and has reported these."""
        started = self.store.transitions.start(self.queue(trial, **changes).id, 1, "w/0")
        self.report(started, *losses)
        return started

    def report(self, task: TaskRecord, *values: float, key: str = "loss", seq: int = 1) -> None:
        title, _, series = key.partition("/")
        found = self.store.reports.scalars([task.id])[0].get(key) or Summary.of(title, series)
        points = []
        for value in values:
            step = found.last_iteration + 1
            found = found.add(value, step)
            points.append(Point(title=title, series=series, value=value, iteration=step, at=1.0))
        self.store.reports.add(task, Batch(seq=seq, points=points, summaries={key: found}))

    def finish(
        self, task: TaskRecord, status: Status = Status.COMPLETED, reason: Reason | None = None
    ) -> None:
        options: dict[str, Any] = {"reason_class": reason, "reason": "so"} if reason else {}
        self.store.transitions.finish(task.id, 1, status, worker="w/0", compute_s=2.0, **options)

    def done(self, trial: int, loss: float) -> TaskRecord:
        task = self.run(trial, loss)
        self.finish(task)
        return task
