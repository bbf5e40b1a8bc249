"""What a strategy works with: the store, the launcher, where Optuna's trials and the artifacts are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from controller.launcher import Launcher
from worker.protocol import Clock, Status, Store, SystemClock, TaskRecord
from worker.protocol.connection import connect
from worker.protocol.errors import TransitionRefused

if TYPE_CHECKING:
    from controller.job import Job


PATIENCE_S = 3
"""How long one command is tried again while Redis is away, in seconds."""


class Backend:
    """One Redis, one Optuna storage, one artifact store.

    Args:
        redis_url: with its password.
        storage_url: Optuna's storage; see `controller.study.open_storage`.
        artifacts_url: the artifact store.
    """

    def __init__(
        self,
        redis_url: str,
        storage_url: str,
        artifacts_url: str,
        clock: Clock | None = None,
    ) -> None:
        self.redis_url = redis_url
        self.storage_url = storage_url
        self.artifacts_url = artifacts_url
        self.clock = clock or SystemClock()
        # A short patience: the loop itself waits for a Redis that is away, and says so.
        self.store = Store(connect(redis_url, patience_s=PATIENCE_S), self.clock)
        self.launcher = Launcher(redis_url, patience_s=PATIENCE_S)
        self._bases: dict[str, TaskRecord] = {}

    def base_task(self, task_id: str) -> TaskRecord:
        """The record of a base task, read once. Raises `BadInput` when there is none."""
        if task_id not in self._bases:
            self._bases[task_id] = self.store.get(task_id)
        return self._bases[task_id]

    def launch(self, job: Job, queue: str | None = None) -> bool:
        """Write a job's record as queued, then put it on the queue.

        A crash in between leaves a queued record without a job, which the next look at long-queued
        tasks repairs.
        """
        record = job.record
        if queue and queue != record.spec.queue:
            record = replace(record, spec=replace(record.spec, queue=queue))
        record = replace(record, status=Status.QUEUED, queued_at=self.clock.now())
        try:
            self.store.create(record)
        except TransitionRefused:
            # Launched before, perhaps by a controller that has crashed since.
            record = self.store.get(record.id)
        job.update(record)
        if record.status is Status.QUEUED:
            self.launcher.enqueue(record.spec.queue, record.id, record.attempt)
        return not record.status.is_finished
