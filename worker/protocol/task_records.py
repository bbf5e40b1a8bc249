"""Task records: read, created, edited and removed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.protocol import keys
from worker.protocol.attempt_guard import change_in_attempt
from worker.protocol.connection import hashes
from worker.protocol.errors import NewerRecord, NoSuchTask, RecordError, TransitionRefused
from worker.protocol.event_stream import emit
from worker.protocol.events import Event
from worker.protocol.metrics import Summary
from worker.protocol.record import TaskRecord, TaskSpec
from worker.protocol.reports import summaries_of
from worker.protocol.sealing import Sealing, Unsealed
from worker.protocol.signature import RECORD_SIGNATURE
from worker.protocol.tags import encode_tags
from worker.protocol.task_artifacts import listed
from worker.protocol.transaction import compare_and_set, compare_and_set_all

log = logging.getLogger(__name__)


class TaskRecords:
    """Reads and writes records, except for their status. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client
        self.sealing: Sealing | None = None
        """Seals what is made and edited, where jobs are signed; None elsewhere, and in slots."""

    # Reading

    def get(self, task_id: str) -> TaskRecord:
        """The task's record. Raises `NoSuchTask` if there is none, `RecordError` if it can't be read."""
        return self._decoded(task_id, self._redis.hgetall(keys.task(task_id)))

    def _decoded(self, task_id: str, data: Mapping[str, str]) -> TaskRecord:
        if not data:
            raise NoSuchTask(f"no task {task_id!r} in this Redis; `controller tasks` lists them")
        return TaskRecord.of_task(task_id, data)

    def vouched(self, task_id: str, *, take_unsealed: bool = False) -> TaskRecord:
        """The record of a task that is to be run, or copied, as its maker has sealed it.

        Without a secret nobody can tell: the record is returned as it is.

        Args:
            take_unsealed: seal it as it is, if it has no seal.

        Raises:
            NoSuchTask, RecordError: as `get`.
            BadInput: it isn't sealed, or was altered since.
        """
        data = self._redis.hgetall(keys.task(task_id))
        record = self._decoded(task_id, data)
        if self.sealing is not None:
            try:
                self.sealing.check(record, data)
            except Unsealed:
                if not take_unsealed:
                    raise
                self._redis.hset(keys.task(task_id), mapping=self.sealing.seal(record))
        return record

    def get_many(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        """The records in the order asked for, in one round trip; None where there is none that can be read.

        Raises `NewerRecord`.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hgetall(keys.task(task_id))
            found = hashes(pipe)
        return [_readable(task_id, data) for task_id, data in zip(task_ids, found, strict=True)]

    def look(
        self, task_ids: Sequence[str]
    ) -> list[tuple[TaskRecord | None, dict[str, Summary], dict[str, str]]]:
        """For each task its record, its scalars and its artifacts, in one round trip.

        The record is read first: if it says that the task has ended, the others are complete.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hgetall(keys.task(task_id))
                pipe.hgetall(keys.scalars(task_id))
                pipe.hgetall(keys.artifacts(task_id))
            found = hashes(pipe)
        return [
            (_readable(task_id, data), summaries_of(scalars), listed(artifacts))
            for task_id, data, scalars, artifacts in zip(
                task_ids, found[::3], found[1::3], found[2::3], strict=True
            )
        ]

    def leases(self, task_ids: Sequence[str]) -> list[bool]:
        """For each task, whether its lease is alive, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.exists(keys.lease(task_id))
            return [bool(found) for found in pipe.execute()]

    def base_tasks(self) -> list[str]:
        """Ids of the tasks outside any study, the newest first."""
        ids: list[str] = self._redis.zrevrange(keys.BASE_TASKS, 0, -1)
        return ids

    # Creating, editing, removing

    def create(
        self, record: TaskRecord, *, event: Event | None = None, also: Callable[[Any], None] | None = None
    ) -> None:
        """Write a new task's record and list it. Raises `TransitionRefused` when the id is taken.

        Args:
            also: adds further commands to the transaction, given its pipeline.
        """

        def more(pipe: Any) -> None:
            if event:
                emit(pipe, record.study, event)
            if also:
                also(pipe)

        self.create_all([record], also=more)

    def create_all(self, records: Sequence[TaskRecord], *, also: Callable[[Any], None]) -> None:
        """As `create`, for several tasks in one transaction: all of them or none."""
        places = {record.id: keys.task(record.id) for record in records}

        def change(pipe: Any, existing: int) -> None:
            if existing:
                raise TransitionRefused(f"task {', '.join(places)} exists already")
            pipe.multi()
            listed: dict[str, dict[str, float]] = {}
            for record in records:
                seal = self.sealing.seal(record) if self.sealing and not record.study else {}
                pipe.hset(places[record.id], mapping={**record.encode(), **seal})
                if record.study and record.spec.confirms:
                    listed.setdefault(keys.study_confirmations(record.study), {})[record.id] = (
                        record.created_at
                    )
                elif record.study:
                    listed.setdefault(keys.study_tasks(record.study), {})[record.id] = record.trial
                    by_status = keys.study_status(record.study, record.status)
                    listed.setdefault(by_status, {})[record.id] = record.trial
                else:
                    listed.setdefault(keys.BASE_TASKS, {})[record.id] = record.created_at
            for key, scores in listed.items():
                pipe.zadd(key, scores)
            also(pipe)

        taken = tuple(places.values())
        compare_and_set_all(self._redis, taken, ("EXISTS", *taken), change)

    def edit(self, task_id: str, change: Callable[[TaskRecord], TaskRecord]) -> TaskRecord:
        """Change a task's name, project, parent or spec. For tasks that nothing depends on yet.

        Args:
            change: returns the record with another name, project, parent or spec; its other fields are
                ignored. May be called several times.

        Returns:
            The record as written.

        Raises:
            NoSuchTask: the task has no record.
            BadInput: the task was altered since it was sealed.
        """
        key = keys.task(task_id)

        def write(pipe: Any, data: Mapping[str, str]) -> TaskRecord:
            if not data:
                raise NoSuchTask(f"no task {task_id!r} in this Redis (deleted?)")
            old = TaskRecord.of_task(task_id, data)
            wanted = change(old)
            new = replace(
                old, name=wanted.name, project=wanted.project, parent=wanted.parent, spec=wanted.spec
            )
            seal: dict[str, str] = {}
            if self.sealing and not old.study and data.get(RECORD_SIGNATURE):
                self.sealing.check(old, data)
                seal = self.sealing.seal(new)
            pipe.multi()
            mapping = {"name": new.name, "project": new.project, "parent": new.parent}
            if old.tags is not None and new.spec.tags != old.spec.tags:
                mapping["tags"] = encode_tags(new.spec.tags)  # a program's change counts as a person's
            pipe.hset(key, mapping={**mapping, "spec": new.spec.encode(), **seal})
            return new

        return compare_and_set(self._redis, key, ("HGETALL", key), write)[0]

    def add_parameters(self, task_id: str, attempt: int, parameters: Mapping[str, Any]) -> None:
        """Add parameters that the program has connected. Those in the record keep their values.

        Raises:
            StaleAttempt: another attempt is current.
        """
        key = keys.task(task_id)

        def write(pipe: Any) -> None:
            spec = TaskSpec.decode(str(self._redis.hget(key, "spec")))
            merged = {**spec.parameters, **parameters, **spec.parameters}
            added = tuple(name for name in merged if name not in spec.parameters)
            new = replace(spec, parameters=merged, connected=(*spec.connected, *added))
            pipe.hset(key, "spec", new.encode())

        change_in_attempt(self._redis, task_id, attempt, "its parameters are", write)

    def delete(self, task_id: str) -> None:
        """Remove a task outside any study and all its keys."""
        with self._redis.pipeline() as pipe:
            delete_base_task(pipe, task_id)
            pipe.execute()

    def remove(self, record: TaskRecord) -> None:
        """Remove a task, of a study or outside any, and all its keys. Nobody may be running it."""
        with self._redis.pipeline() as pipe:
            delete_base_task(pipe, record.id)
            if record.study:
                pipe.zrem(keys.study_tasks(record.study), record.id)
                pipe.zrem(keys.study_confirmations(record.study), record.id)
                pipe.zrem(keys.study_status(record.study, record.status), record.id)
                for index in range(keys.MAX_OBJECTIVES):
                    pipe.zrem(keys.rank(record.study, index=index), record.id)
                pipe.zrem(keys.rank(record.study, only_completed=True), record.id)
            pipe.execute()


def _readable(task_id: str, data: Mapping[str, str]) -> TaskRecord | None:
    """A record among several: a spoiled one must neither hide the others nor end a controller."""
    if not data:
        return None
    try:
        return TaskRecord.of_task(task_id, data)
    except NewerRecord:
        raise
    except RecordError as error:
        log.warning("task %s: its record is taken for lost: %.300s", task_id, error)
        return None


# Commands for a transaction


def delete_base_task(pipe: Any, task_id: str) -> None:
    """Remove a task's keys, and take it off the list of tasks outside any study."""
    pipe.unlink(*keys.of_task(task_id))
    pipe.zrem(keys.BASE_TASKS, task_id)
