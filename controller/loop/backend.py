"""What a strategy works with: the store, the launcher, where Optuna's trials and the artifacts are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from controller.loop.launcher import Launcher
from worker.artifacts import open_store as open_artifacts
from worker.protocol import Clock, Reason, Status, Store, TaskRecord
from worker.protocol.connection import connect
from worker.protocol.errors import BadInput, ForbiddenJob, TransitionRefused
from worker.protocol.sealing import Sealing
from worker.protocol.secrets import STORAGE, secret
from worker.sdk.home import STATE_FOLDER, Home, home, sqlite_url
from worker.sdk.task import Task

PATIENCE_S = 3
"""How long one command is tried again while Redis is away, in seconds."""


class Backend:
    """One Redis, one Optuna storage, one artifact store.

    Args:
        redis_url: with its password.
        storage_url: Optuna's storage; see `worker.trials.storage.open_storage`.
        artifacts_url: the artifact store, or one of Optuna's, which workers open by its URL.
        home: the same Redis as tasks find it that a program looks at.
    """

    def __init__(
        self,
        redis_url: str,
        storage_url: str,
        artifacts_url: Any,
        clock: Clock | None = None,
        home: Home | None = None,
    ) -> None:
        self.redis_url = redis_url
        self.storage_url = storage_url
        self.artifacts_url = (
            artifacts_url if isinstance(artifacts_url, str) else open_artifacts(artifacts_url).url
        )
        # A short patience: the loop itself waits for a Redis that is away, and says so.
        self.store = Store(connect(redis_url, patience_s=PATIENCE_S), clock)
        self.clock = self.store.clock
        self.store.tasks.sealing = Sealing.of_environment()
        self.launcher = Launcher(redis_url, patience_s=PATIENCE_S)
        self.home = home or Home(redis_url, self.artifacts_url, Path.cwd(), None)
        self._bases: dict[str, TaskRecord] = {}

    @classmethod
    def at_home(cls) -> Backend:
        """What this process uses by default: `worker.sdk.home`, and ``OPTUNA_STORAGE`` or SQLite beside it.

        Raises:
            RedisUnavailable, BadInput: there is no Redis to use.
        """
        at = home()
        storage = secret(STORAGE) or sqlite_url(at.folder / STATE_FOLDER / "optuna.db")
        return cls(at.redis_url, storage, at.artifacts_url, home=at)

    def task(self, record: TaskRecord) -> Task:
        """A task to read and to act on."""
        return Task.of_record(record, self.home)

    def base_task(self, task_id: str, study: str = "") -> TaskRecord:
        """The record of a base task, read once.

        Args:
            study: that it is for. One that was begun before its controllers signed keeps its base task.

        Raises:
            BadInput: there is none; or jobs are signed, and it isn't as it was made.
        """
        if task_id not in self._bases:
            if not isinstance(task_id, str) or not task_id:
                raise BadInput(f"base_task_id {task_id!r}: the id of a task, as Task.get_task(…).id gives it")
            known = self.store.studies.find(study) if study else None
            self._bases[task_id] = self.store.tasks.vouched(
                task_id, take_unsealed=known is not None and not known.signed
            )
        return self._bases[task_id]

    def know_base_task(self, record: TaskRecord) -> None:
        """Remember a base task that was written just now: it need not be read."""
        self._bases[record.id] = record

    def known_base_tasks(self) -> list[TaskRecord]:
        """The base tasks that were read."""
        return list(self._bases.values())

    def launch(self, record: TaskRecord, queue: str | None = None) -> TaskRecord:
        """Write a task's record as queued and put its job on the queue, in one transaction.

        Returns:
            The record that Redis has now: the task may have been launched before.
        """
        return self.launch_all([record], queue)[0]

    def launch_all(self, records: Sequence[TaskRecord], queue: str | None = None) -> list[TaskRecord]:
        """As `launch`, for several tasks in one transaction: all of them, or none when Redis goes away."""
        ready = [self._as_queued(record, queue) for record in records]
        try:
            self.store.tasks.create_all(ready, also=partial(self.launcher.enqueue_all, ready))
        except TransitionRefused:
            # Launched before, perhaps by a controller that has crashed since, or lost its connection.
            if len(ready) == 1:
                return [self._launch_again(ready[0].id)]
            return [self.launch(record) for record in ready]
        return ready

    def _as_queued(self, record: TaskRecord, queue: str | None) -> TaskRecord:
        if queue and queue != record.spec.queue:
            record = replace(record, spec=replace(record.spec, queue=queue))
        return replace(record, status=Status.QUEUED, queued_at=self.clock.now())

    def _launch_again(self, task_id: str) -> TaskRecord:
        """Put a task that has a record on the queue once more, if it waits; returns its record."""
        record = self.store.tasks.get(task_id)
        if record.status is Status.QUEUED:
            try:
                self.launcher.enqueue(self.launcher.verified(record))
            except ForbiddenJob as error:
                record = self.store.transitions.force_finish(record.id, Reason.LAUNCH_ERROR, str(error))
        return record
