"""What the loop tells of its study, kept for those who show it."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import redis

from controller.loop.budget import Budget
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.observer import RunningSearch
from controller.results.foreseen import foreseen
from controller.results.live import (
    MOST_RUNNING,
    BestKept,
    EndedTrial,
    Frame,
    ended_trial,
    objective_values,
    running_trial,
)
from controller.results.parameters import as_written
from controller.results.status import remaining_s
from controller.session.foreseeing import Foreseer
from worker.protocol import ObjectiveMetric, Status, StudyState, TaskRecord
from worker.protocol.errors import OptunaRQError


class Following:
    """Follows one study from the loop's own objects, without a question to Redis.

    The loop's thread tells what happens; `frame` may be called by any thread.
    """

    def __init__(self) -> None:
        self._search: RunningSearch | None = None
        self.metrics: tuple[ObjectiveMetric, ...] = ()
        self._best = BestKept(())
        self._counts: Counter[Status] = Counter()
        self._known: set[str] = set()
        """Tasks that had ended before, and are counted."""
        self._running: dict[str, Job] = {}
        self._open = 0
        self._budget: Mapping[str, Mapping[str, Any]] = {}
        self._ticked_at = time.monotonic()
        self._workers = self._slots = 0
        self.waits_for = ""
        self.foreseer: Foreseer | None = None
        """Knows when the study ends; None for nobody."""

    # Told by the loop

    def begin(self, search: RunningSearch) -> None:
        self._search = search
        self.metrics = search.objective.metrics
        self._best = BestKept(self.metrics)
        self._budget = search.budget.to_dict()
        store = search.backend.store
        # Earlier trials are not the best where they can't be read: the loop says why, and waits.
        with contextlib.suppress(redis.RedisError, OptunaRQError):
            record = store.studies.find(search.study) if store.studies.next_trial(search.study) else None
            if record is not None:
                self._best = BestKept.of_study(store, record)

    def known(self, record: TaskRecord) -> None:
        self._counts[record.status] += 1
        self._known.add(record.id)

    def launched(self) -> None:
        self._open += 1

    def started(self, job: Job) -> None:
        self._running[job.task_id()] = job

    def ended(self, job: Job) -> EndedTrial:
        """Count a job that has ended; returns it as a value."""
        record = job.record
        if self._search:
            self._budget = self._search.budget.to_dict()
        self._running.pop(record.id, None)
        self._open = max(0, self._open - 1)
        if record.id in self._known:
            self._known.discard(record.id)
        else:
            self._counts[record.status] += 1
        ended = ended_trial(record, self.values_of(job), parameters_of(job))
        self._best.add(record, ended.values, job.scalars, ended.parameters)
        return ended

    def tick(self, budget: Budget, fleet: Fleet, jobs: list[Job]) -> None:
        self._running = {job.task_id(): job for job in jobs if job.is_running()}
        self._open = len(jobs)
        self._budget = budget.to_dict()
        self._ticked_at = time.monotonic()
        self._workers, self._slots = len(fleet.workers), fleet.slots

    # Asked by who shows it

    def values_of(self, job: Job) -> dict[str, float | None]:
        """The job's value of each objective by its key; None where it has no finite one yet."""
        return objective_values(self.metrics, job.scalars)

    def frame(self) -> Frame:
        """The study now."""
        search = self._search
        jobs = list(self._running.values())
        counts = {status: self._counts[status] for status in Status}
        counts[Status.IN_PROGRESS] = len(jobs)
        counts[Status.QUEUED] = max(0, self._open - len(jobs))
        wall_clock = float((self._budget.get("wall_clock") or {}).get("used") or 0.0) * 60
        elapsed = wall_clock + time.monotonic() - self._ticked_at
        seen = foreseen(self.foreseer.kept, time.time()) if self.foreseer else None
        return Frame(
            study=search.study if search else "",
            state=search.status if search else StudyState.RUNNING,
            reason="",
            counts=counts,
            elapsed_s=round(elapsed, 1),
            remaining_s=seen.left_s[1] if seen else remaining_s(self._budget, counts, elapsed),
            left=seen.text if seen else "",
            budget=self._budget,
            best=self._best.shown(),
            running=[
                running_trial(job.record, self.metrics, job.scalars, job.computed_s())
                for job in heapq.nsmallest(MOST_RUNNING, jobs, key=lambda job: job.trial)
            ],
            workers=self._workers,
            slots=self._slots,
            waits_for=self.waits_for,
        )


def parameters_of(job: Job) -> Mapping[str, Any]:
    """The parameters that were searched, by the names that the user gave them.

    Those of an objective written for Optuna are known once it has asked for them.
    """
    return job.parameters or as_written(job.record, everything=False)
