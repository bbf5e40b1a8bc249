"""Enqueue and withdraw: the only place on the head node that talks to RQ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from worker.protocol import keys
from worker.protocol.connection import connect
from worker.protocol.dispatch import Dispatcher
from worker.protocol.record import TaskRecord, job_id
from worker.protocol.secrets import job_secret
from worker.protocol.signature import RECORD_SIGNATURE, Signer
from worker.protocol.store import Store

MOST_SIGNATURES = 10_000
"""Signatures kept of the tasks launched last, in case Redis loses them."""


class Launcher:
    """Puts attempts on queues. Knows nothing of studies and metrics.

    Jobs are signed where the environment has a secret for that. Raises `BadInput` for one that is too short.
    """

    def __init__(self, redis_url: str, *, patience_s: float = 60.0) -> None:
        self._connection: Any = connect(redis_url, patience_s=patience_s, text=False)
        self._jobs = Dispatcher(self._connection)
        self._signer = self._jobs.signer
        self._signatures: dict[str, str] = {}

    @property
    def signs(self) -> bool:
        """Whether jobs are signed here."""
        return self._signer is not None

    def key(self, queue: str) -> str:
        """Redis key of a queue: a list of the jobs that wait."""
        return str(self._jobs.queue(queue).key)

    def enqueue(self, record: TaskRecord, pipeline: Any = None) -> None:
        """Put a task's current attempt on its queue. Twice is harmless.

        Args:
            record: as Redis has it, or will have it. One that was read there must be `verified` first.
            pipeline: the transaction that writes its record; without one, the record must stand already.
        """
        self._sign(record, self._connection if pipeline is None else pipeline)
        self._jobs.enqueue(record, pipeline)

    def enqueue_all(self, records: Sequence[TaskRecord], pipeline: Any) -> None:
        """As `enqueue`, for several tasks in the transaction that writes their records."""
        for record in records:
            self._sign(record, pipeline)
        self._jobs.enqueue_all(records, pipeline)

    def _sign(self, record: TaskRecord, client: Any) -> None:
        if self._signer is None:
            return
        signature = self._signer.sign_record(record)
        self._signatures[record.id] = signature
        if len(self._signatures) > MOST_SIGNATURES:
            del self._signatures[next(iter(self._signatures))]
        client.hset(keys.task(record.id), RECORD_SIGNATURE, signature)

    def verified(self, record: TaskRecord) -> TaskRecord:
        """A record that was read from Redis, as it was when a controller put it there.

        Without a secret nobody can tell: the record is returned as it is.

        Raises:
            ForbiddenJob: it was altered there.
        """
        if self._signer is None:
            return record
        signature = self._signatures.get(record.id) or self._connection.hget(
            keys.task(record.id), RECORD_SIGNATURE
        )
        return self._signer.verified(
            signature.decode("utf-8", "replace") if isinstance(signature, bytes) else signature, record
        )

    def withdraw(self, queue: str, task_id: str, attempt: int) -> None:
        """Take an attempt off a queue, if it is still there."""
        self._jobs.queue(queue).withdraw(task_id, attempt)

    def waiting(self, queue: str, attempts: list[tuple[str, int]]) -> list[bool]:
        """For each (task id, attempt), whether its job stands on the queue."""
        key = self._jobs.queue(queue).key
        with self._connection.pipeline(transaction=False) as pipe:
            for task_id, attempt in attempts:
                pipe.lpos(key, job_id(task_id, attempt))
            return [position is not None for position in pipe.execute()]


def sign_records(store: Store, records: Iterable[TaskRecord]) -> None:
    """Sign the records of tasks in Redis, so that controllers with the same secret launch them."""
    secret = job_secret()
    if not secret:
        return
    signer = Signer(secret)
    with store.redis.pipeline(transaction=False) as pipe:
        for record in records:
            pipe.hset(keys.task(record.id), RECORD_SIGNATURE, signer.sign_record(record))
        pipe.execute()
