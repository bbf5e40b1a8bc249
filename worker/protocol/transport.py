"""RQ, narrowed: JSON only, ids only, one entry function, no callbacks and no webhooks.

RQ's JSON serializer alone still lets a job name any function that can be imported. Both sides use these
classes instead of RQ's own, so that a worker runs `ENTRY` or nothing.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import redis
from rq import Queue
from rq.exceptions import DequeueTimeout, NoSuchJobError, StopRequested
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.utils import now, utcformat

from worker.protocol.connection import can_pass, trouble
from worker.protocol.errors import ForbiddenJob
from worker.protocol.keys import RQ
from worker.protocol.record import job_id

log = logging.getLogger(__name__)

ENTRY = "worker.slot.run_attempt"
MAX_JOB_BYTES = 4096
"""Longest data of a job: an id, a number and a signature take some 300 bytes."""
MAX_ATTEMPT = 1_000_000
_TASK_ID = re.compile(r"[0-9a-f]{32}")


class TaskJob(Job):
    """A job that can only mean: run this attempt of this task."""

    redis_job_namespace_prefix = f"{RQ}job:"

    def refresh(self) -> None:
        """Read the job's data and nothing else: RQ would parse all that stands in its record, and unpack any
        amount of it. Raises `NoSuchJobError`."""
        data: Any = self.connection.hget(self.key, "data")
        if data is None:
            raise NoSuchJobError(f"no job {self.id}")
        with contextlib.suppress(zlib.error):  # it need not be compressed
            data = zlib.decompressobj().decompress(data, MAX_JOB_BYTES + 1)
        self.data = data

    entry: ClassVar[Callable[..., Any] | None] = None
    """What `ENTRY` names; a slot hands it over, the controller has none."""

    @property
    def func(self) -> Callable[..., Any]:
        self.verify()
        if self.entry is None:
            raise ForbiddenJob(f"job {self.id:.80}: this process runs no jobs")
        return self.entry

    def verify(self) -> tuple[str, int, str | None]:
        """The task id, attempt and signature it carries. Raises `ForbiddenJob` when it is anything else."""
        about = f"job {self.id:.80}"
        if len(self.data) > MAX_JOB_BYTES:
            raise ForbiddenJob(f"{about}: it is longer than {MAX_JOB_BYTES} bytes")
        try:
            name, instance, args, kwargs = self.func_name, self.instance, self.args, self.kwargs
        except Exception as error:
            # Somebody has put something else there, such as a pickle.
            raise ForbiddenJob(f"{about}: it can't be read: {type(error).__name__}") from error
        if name != ENTRY or instance is not None:
            raise ForbiddenJob(f"{about}: it names {name!r:.200}; this worker runs nothing but {ENTRY}")
        if kwargs or not isinstance(args, list) or len(args) not in (2, 3):
            raise ForbiddenJob(f"{about}: malformed arguments")
        task_id, attempt, token = (*args, None)[:3]
        if not isinstance(task_id, str) or not _TASK_ID.fullmatch(task_id):
            raise ForbiddenJob(f"{about}: malformed arguments")
        if type(attempt) is not int or not 0 < attempt < MAX_ATTEMPT:
            raise ForbiddenJob(f"{about}: malformed arguments")
        if token is not None and not isinstance(token, str):
            raise ForbiddenJob(f"{about}: malformed arguments")
        return task_id, attempt, token

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """Never: a record must not make a worker call a URL."""


class TaskQueue(Queue):
    """A queue of `TaskJob`s, always with the JSON serializer."""

    job_class = TaskJob
    redis_queue_namespace_prefix = f"{RQ}queue:"
    redis_queues_keys = f"{RQ}queues"
    stopping = False
    """Set in a slot that shuts down: it takes no further job."""
    paused: Callable[[], bool] = staticmethod(lambda: False)
    """Whether the slot is to take no job now."""
    waiting = False
    """No job has been handed over: a signal's handler may raise `StopRequested` right here."""

    def __init__(self, name: str = "default", connection: Any = None, **kwargs: Any) -> None:
        kwargs.update(job_class=TaskJob, serializer=JSONSerializer)
        super().__init__(name, connection=connection, **kwargs)
        self._fields: dict[str, Any] | None = None

    @classmethod
    def dequeue_any(cls, queues: Any, timeout: int | None, **kwargs: Any) -> Any:  # type: ignore[override] # RQ's own has other types
        if cls.stopping:
            raise StopRequested
        if cls.paused():
            if timeout is None:
                return None
            time.sleep(0.2)
            raise DequeueTimeout(timeout, "paused")
        kwargs.update(job_class=TaskJob, serializer=JSONSerializer)
        while True:
            try:
                return super().dequeue_any(queues, timeout, **kwargs)
            except (ValueError, redis.ResponseError) as error:
                if isinstance(error, redis.ResponseError) and can_pass(error) and timeout is not None:
                    # RQ waits for a server that is away, and would end for one that is full.
                    raise redis.ConnectionError(trouble(error)) from error
                # RQ would end the slot. What it was about to read, it names.
                name = getattr(error, "object", None) or getattr(error, "job_id", None)
                is_no_job = isinstance(error, ValueError) or str(error).startswith("WRONGTYPE")
                if name is None or not is_no_job:
                    raise
                for queue in queues:
                    queue.connection.lrem(queue.intermediate_queue_key, 1, name)
                log.warning("refused: %.100r on a queue is no job: %.100s", name, error)

    @classmethod
    def lmove(cls, connection: Any, queue_key: str, timeout: int | None) -> Any:
        with cls._waits(timeout):
            return super().lmove(connection, queue_key, timeout)

    @classmethod
    def lpop(cls, queue_keys: Any, timeout: int | None, connection: Any = None) -> Any:
        with cls._waits(timeout):
            return super().lpop(queue_keys, timeout, connection)

    @classmethod
    @contextlib.contextmanager
    def _waits(cls, timeout: int | None) -> Iterator[None]:
        cls.waiting = timeout is not None
        try:
            if cls.stopping:
                raise StopRequested
            yield
        finally:
            cls.waiting = False

    def enqueue_attempt(
        self, task_id: str, attempt: int, pipeline: Any = None, *, token: str | None = None
    ) -> None:
        """Put an attempt's job on the queue. Twice is harmless: the second one finds the task taken.

        Args:
            pipeline: a transaction to do it in.
            token: its signature, see `worker.protocol.signature`.
        """
        if pipeline is not None:
            self.enqueue_attempts([(task_id, attempt, token)], pipeline)
            return
        with self.connection.pipeline() as pipe:
            self.enqueue_attempts([(task_id, attempt, token)], pipe)
            pipe.execute()

    def enqueue_attempts(self, attempts: Sequence[tuple[str, int, str | None]], pipeline: Any) -> None:
        """As `enqueue_attempt`, for several (task id, attempt, signature), in their order.

        RQ takes long to make a job: it makes one for the queue, and the others are copies of that.
        """
        fields, stamp = self._job_fields(), utcformat(now())
        ids = []
        for task_id, attempt, token in attempts:
            ids.append(job_id(task_id, attempt))
            args = (task_id, attempt) if token is None else (task_id, attempt, token)
            about = {
                "data": zlib.compress(self.serializer.dumps((ENTRY, None, args, {}))),
                "description": f"attempt {attempt} of task {task_id}",
                "created_at": stamp,
                "enqueued_at": stamp,
            }
            pipeline.hset(TaskJob.key_for(ids[-1]), mapping={**fields, **about})
        pipeline.sadd(self.redis_queues_keys, self.key)
        pipeline.rpush(self.key, *ids)

    def _job_fields(self) -> dict[str, Any]:
        """The fields of a waiting job, as RQ makes them."""
        if self._fields is None:
            job = self.create_job(
                ENTRY, timeout=-1, result_ttl=0, failure_ttl=60, description="", status=JobStatus.QUEUED
            )
            job.origin = self.name
            self._fields = dict(job.to_dict())
        return self._fields

    def withdraw(self, task_id: str, attempt: int) -> None:
        """Take an attempt's job off the queue, if it is still there."""
        identifier = job_id(task_id, attempt)
        with self.connection.pipeline() as pipe:
            pipe.lrem(self.key, 1, identifier)
            pipe.delete(TaskJob.key_for(identifier))
            pipe.execute()

    def discard(self, job: TaskJob) -> None:
        """Drop a job that was taken off the queue and must not be run."""
        with self.connection.pipeline() as pipe:
            pipe.lrem(self.intermediate_queue_key, 1, job.id)
            pipe.delete(job.key)
            pipe.execute()

    def tidy(self) -> None:
        """Forget jobs that were taken off the queue and have no record any more: they were withdrawn."""
        ids: list[Any] = self.connection.lrange(self.intermediate_queue_key, 0, -1)
        with self.connection.pipeline() as pipe:
            for identifier in ids:
                pipe.exists(TaskJob.redis_job_namespace_prefix.encode() + identifier)
            there = pipe.execute()
            for identifier, exists in zip(ids, there, strict=True):
                if not exists:
                    pipe.lrem(self.intermediate_queue_key, 1, identifier)
            pipe.execute()


__all__ = ["ENTRY", "DequeueTimeout", "ForbiddenJob", "TaskJob", "TaskQueue"]
