"""Jobs onto queues, signed where the environment has a secret for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.protocol.queues import check_queue_name
from worker.protocol.record import TaskRecord
from worker.protocol.redis_time import RedisTime
from worker.protocol.secrets import job_secret
from worker.protocol.signature import Signer
from worker.protocol.transport import TaskQueue


class Dispatcher:
    """Puts attempts on queues.

    Args:
        connection: a client for RQ, which wants bytes.

    Raises:
        BadInput: the secret is too short, or can't be read.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        secret = job_secret()
        self.signer = Signer(secret, RedisTime(connection).now) if secret else None
        self._queues: dict[str, TaskQueue] = {}

    def queue(self, name: str) -> TaskQueue:
        """A queue by its name. Raises `BadInput` for a name that can't be a queue's."""
        if name not in self._queues:
            self._queues[name] = TaskQueue(check_queue_name(name), connection=self.connection)
        return self._queues[name]

    def enqueue(self, record: TaskRecord, pipeline: Any = None) -> None:
        """Put a task's current attempt on its queue. Twice is harmless.

        Args:
            record: as Redis has it, or will have it.
            pipeline: the transaction that writes its record; without one, the record must exist already.
        """
        queue = self.queue(record.spec.queue)
        queue.enqueue_attempt(record.id, record.attempt, pipeline, token=self._token(record))

    def enqueue_all(self, records: Sequence[TaskRecord], pipeline: Any) -> None:
        """As `enqueue`, for several tasks in the transaction that writes their records."""
        by_queue: dict[str, list[TaskRecord]] = {}
        for record in records:
            by_queue.setdefault(record.spec.queue, []).append(record)
        for name, those in by_queue.items():
            attempts = [(record.id, record.attempt, self._token(record)) for record in those]
            self.queue(name).enqueue_attempts(attempts, pipeline)

    def _token(self, record: TaskRecord) -> str | None:
        return self.signer.sign(record) if self.signer else None
