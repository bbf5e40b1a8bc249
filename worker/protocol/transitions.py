"""Transitions: every change of a task's status, guarded by its attempt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.protocol import keys
from worker.protocol.attempt_guard import GUARD, check_holder
from worker.protocol.batch import Batch
from worker.protocol.clock import Clock
from worker.protocol.earlier_attempt import with_given_up
from worker.protocol.errors import NoSuchTask, StaleAttempt, TransitionRefused
from worker.protocol.event_stream import emit
from worker.protocol.events import Event, EventKind
from worker.protocol.ranking_index import rank_completed, unrank
from worker.protocol.record import TaskRecord
from worker.protocol.reports import Reports, write_batch, write_resumed
from worker.protocol.status import FINISHED, Reason, Status, allowed
from worker.protocol.stop_request import StopRequest
from worker.protocol.task_records import TaskRecords
from worker.protocol.transaction import Once, compare_and_set, milliseconds
from worker.protocol.worker_registry import show_running, worker_name


class Transitions:
    """Changes the status of tasks. Thread-safe if the client is."""

    def __init__(self, client: Any, clock: Clock, records: TaskRecords, reports: Reports) -> None:
        self._redis = client
        self._clock = clock
        self._records = records
        self._reports = reports

    def queue(self, task_id: str) -> TaskRecord:
        """created → queued. Repeating it is harmless."""
        now = self._clock.now()

        def change(old: TaskRecord) -> dict[str, Any]:
            return {"status": Status.QUEUED.value, "queued_at": repr(now)}

        return self._move(task_id, Status.QUEUED, change, done=lambda old: old.status is Status.QUEUED)

    def start(
        self,
        task_id: str,
        attempt: int,
        worker: str,
        *,
        register: bool = False,
        check: Callable[[TaskRecord], None] = lambda record: None,
        once: Once | None = None,
    ) -> TaskRecord:
        """queued → in_progress for the slot `worker`, with a lease of the task's `lease_s`.

        Removes what the attempt before reported after its last checkpoint, where this one resumes; without a
        checkpoint, all of it.

        Args:
            register: show the task in its worker's registration until it ends.
            check: is given the record, and raises an error to refuse the start.
            once: what allows this start, and no other.

        Raises:
            StaleAttempt: the task is at another attempt.
            TransitionRefused: the task has ended, was stopped, or another slot has it.
            ForbiddenJob: `once` was used before.
        """
        now = self._clock.now()
        # Nobody adds to these meanwhile: writes of the attempts before are refused.
        points = self._reports.checkpoints(task_id) if attempt > 1 else []
        kept = self._reports.series_until(task_id, points[-1].at, attempt) if points else []

        def change(old: TaskRecord) -> dict[str, Any]:
            check(old)
            return {"status": Status.IN_PROGRESS.value, "started_at": repr(now), "worker": worker}

        def extra(pipe: Any, old: TaskRecord) -> None:
            pipe.set(keys.lease(task_id), f"{attempt}:{worker}", px=milliseconds(old.spec.lease_s))
            if register:
                show_running(pipe, worker, task_id)
            if old.attempt > 1:
                pipe.delete(keys.scalars(task_id), keys.series(task_id))
                pipe.hdel(keys.task(task_id), "iterations", "last_iteration", "resumed")
                unrank(pipe, old)
            if points:
                write_resumed(pipe, old, points[-1], kept)
            if old.study:
                data = {"at": now, "worker": worker}
                if points:
                    data["resumed"] = points[-1].iteration
                event = Event(kind=EventKind.STARTED, task=task_id, attempt=attempt, data=data)
                emit(pipe, old.study, event)

        return self._move(
            task_id,
            Status.IN_PROGRESS,
            change,
            attempt=attempt,
            extra=extra,
            done=lambda old: old.status is Status.IN_PROGRESS and old.worker == worker,
            once=once,
        )

    def renew(self, task_id: str, attempt: int, worker: str, lease_s: float) -> StopRequest | None:
        """Renew the lease for `lease_s` seconds.

        Returns:
            The stop request, if there is one.

        Raises:
            StaleAttempt: another attempt is current, another slot has the task, or it has ended.
        """
        guard = self._redis.hmget(keys.task(task_id), *GUARD)
        request = check_holder(task_id, guard, attempt, worker)
        # If another attempt begins just now, this overwrites its lease. That is harmless: all that counts is
        # that a lease exists.
        self._redis.set(keys.lease(task_id), f"{attempt}:{worker}", px=milliseconds(lease_s))
        return request

    def finish(
        self,
        task_id: str,
        attempt: int,
        status: Status,
        *,
        worker: str,
        reason_class: Reason | None = None,
        reason: str = "",
        error: str = "",
        compute_s: float = 0.0,
        ranks: bool = True,
        last: Batch | None = None,
        register: bool = False,
    ) -> TaskRecord:
        """in_progress → completed, failed or stopped, once.

        Args:
            worker: the slot that ran it; its own repeated call is harmless, another's is refused.
            error: the traceback, if the program left one.
            compute_s: what this attempt has computed, in seconds.
            ranks: False takes the task off the ranking, because it violates a constraint.
            last: what it has reported since the last batch, written together with its end.
            register: as for `start`.

        Raises:
            StaleAttempt: another attempt is current.
            TransitionRefused: the task has ended already.
        """
        if status not in FINISHED:
            raise ValueError(f"finish() takes a final status, not {status}")
        now = self._clock.now()
        ended = self._ended(status, reason_class, reason, ranks=ranks, last=last)

        def change(old: TaskRecord) -> dict[str, Any]:
            return {**_ending(old, status, reason_class, reason, now, compute_s), "error": error}

        def extra(pipe: Any, old: TaskRecord) -> None:
            if last:
                write_batch(pipe, old, last)
            if register:
                show_running(pipe, worker, "")
            ended(pipe, old)

        return self._move(
            task_id,
            status,
            change,
            attempt=attempt,
            extra=extra,
            only_from=frozenset({Status.IN_PROGRESS}),
            done=lambda old: old.status is status and old.worker == worker,
        )

    def requeue(
        self,
        task_id: str,
        attempt: int,
        *,
        reason: str,
        compute_s: float | None = None,
        handed_back: bool = False,
    ) -> TaskRecord:
        """in_progress → queued for another attempt: the worker was lost or handed the task back, or it
        failed in a way that is retried.

        Args:
            attempt: the attempt that is given up.
            reason: why, in one line.
            compute_s: compute time of the attempt, in seconds; by default the time since it started.
            handed_back: a worker that shuts down gave it up: it doesn't count against the task's attempts.

        Returns:
            The record with the new attempt, which has yet to be enqueued.
        """
        now = self._clock.now()

        def change(old: TaskRecord) -> dict[str, Any]:
            spent = _elapsed(old, now) if compute_s is None else compute_s
            # A study that is continued wants the next attempt to run.
            with_study = old.stop is not None and old.stop.reason_class is Reason.STUDY_STOPPED
            return {
                **({"stop": "", "stop_at": ""} if handed_back and with_study else {}),
                "status": Status.QUEUED.value,
                "attempt": attempt + 1,
                "queued_at": repr(now),
                "compute_s": repr(old.compute_s + spent),
                "reason": reason,
                "worker": "",
                "handed_back": old.handed_back + handed_back,
                "earlier": with_given_up(old, now, reason, handed_back),
            }

        def extra(pipe: Any, old: TaskRecord) -> None:
            pipe.delete(keys.lease(task_id))
            unrank(pipe, old)
            if old.study:
                data = {"reason": reason}
                event = Event(kind=EventKind.REQUEUED, task=task_id, attempt=attempt + 1, data=data)
                emit(pipe, old.study, event)

        return self._move(
            task_id,
            Status.QUEUED,
            change,
            attempt=attempt,
            extra=extra,
            only_from=frozenset({Status.IN_PROGRESS}),
            done=lambda old: old.status is Status.QUEUED and old.attempt == attempt + 1,
        )

    def force_finish(self, task_id: str, reason_class: Reason, reason: str) -> TaskRecord:
        """End a task from outside: no worker holds it, or its worker is gone for good.

        Returns:
            The record afterwards. Repeating the call is harmless.

        Raises:
            NoSuchTask: the task has no record.
            TransitionRefused: the task has ended otherwise.
        """
        status = reason_class.status
        now = self._clock.now()

        def change(old: TaskRecord) -> dict[str, Any]:
            spent = _elapsed(old, now) if old.status is Status.IN_PROGRESS else 0.0
            return _ending(old, status, reason_class, reason, now, spent)

        return self._move(
            task_id,
            status,
            change,
            extra=self._ended(status, reason_class, reason),
            done=lambda old: old.status is status and old.reason_class is reason_class,
        )

    def _ended(
        self,
        status: Status,
        reason_class: Reason | None,
        reason: str,
        *,
        ranks: bool = True,
        last: Batch | None = None,
    ) -> Callable[[Any, TaskRecord], None]:
        def extra(pipe: Any, old: TaskRecord) -> None:
            pipe.delete(keys.lease(old.id))
            if not old.study:
                return
            if status is Status.FAILED or not ranks:
                unrank(pipe, old)
            elif status is Status.COMPLETED:
                rank_completed(self._redis, pipe, old, last.summaries if last else {})
            class_name = reason_class.value if reason_class else ""
            data = {"status": status.value, "class": class_name, "reason": reason}
            event = Event(kind=EventKind.ENDED, task=old.id, attempt=old.attempt, data=data)
            emit(pipe, old.study, event)

        return extra

    def request_stop(
        self, task_id: str, reason_class: Reason, reason: str, iteration: int | None = None
    ) -> TaskRecord:
        """Ask a task to stop. The first request wins; a task that nobody runs yet ends at once.

        Args:
            iteration: the last one of the objective that counts; None where all do.

        Returns:
            The record afterwards. A task that has ended is left as it is.
        """
        request = StopRequest(reason_class=reason_class, reason=reason, iteration=iteration)
        while True:
            record = self._records.get(task_id)
            if record.status in FINISHED:
                return record
            if record.status is Status.IN_PROGRESS:
                stop = self._ask_to_stop(task_id, request)
                if stop:
                    return replace(record, stop=stop)
                continue
            with contextlib.suppress(TransitionRefused):
                return self.force_finish(task_id, reason_class, reason)

    def _ask_to_stop(self, task_id: str, request: StopRequest) -> StopRequest | None:
        """Write a stop request unless there is one. Returns the one that counts; None if nobody runs it."""
        key = keys.task(task_id)

        def change(pipe: Any, found: Sequence[str | None]) -> StopRequest | None:
            status, stop, stop_at, worker = found
            if status != Status.IN_PROGRESS.value:
                return None
            pipe.multi()
            if not stop:
                pipe.hset(key, mapping=request.to_fields())
            # Published every time: the message about the first request may have been lost.
            pipe.publish(keys.control(worker_name(str(worker))), task_id)
            return StopRequest.decode(stop, stop_at) or request

        read = ("HMGET", key, "status", "stop", "stop_at", "worker")
        return compare_and_set(self._redis, key, read, change)[0]

    def _move(
        self,
        task_id: str,
        new: Status,
        change: Callable[[TaskRecord], dict[str, Any]],
        *,
        attempt: int | None = None,
        extra: Callable[[Any, TaskRecord], None] | None = None,
        only_from: frozenset[Status] | None = None,
        done: Callable[[TaskRecord], bool] = lambda old: False,
        once: Once | None = None,
    ) -> TaskRecord:
        """One guarded transition: read, check, write, all or nothing.

        Args:
            change: the fields to write, given the record as it is.
            attempt: refuse unless the task is at this attempt.
            extra: further commands for the same transaction.
            only_from: narrower than the transition table, where the caller's right ends with a status.
            done: recognizes a record to which this same change has been applied already.
            once: as for `start`.
        """
        key = keys.task(task_id)

        def write(pipe: Any, data: Mapping[str, str]) -> TaskRecord:
            if not data:
                raise NoSuchTask(f"task {task_id} has no record (deleted?)")
            old = TaskRecord.of_task(task_id, data)
            if (attempt is None or old.attempt == attempt or new is Status.QUEUED) and done(old):
                return old
            if attempt is not None and old.attempt != attempt:
                raise StaleAttempt(
                    f"task {task_id}: attempt {attempt} is over, attempt {old.attempt} is current"
                )
            if not allowed(old.status, new) or (only_from and old.status not in only_from):
                raise TransitionRefused(f"task {task_id}: {old.status} → {new} is not allowed")
            fields = change(old)
            pipe.multi()
            pipe.hset(key, mapping=fields)
            if old.is_searched:
                pipe.zrem(keys.study_status(old.study, old.status), task_id)
                pipe.zadd(keys.study_status(old.study, new), {task_id: old.trial})
            if extra:
                extra(pipe, old)
            return TaskRecord.decode({**data, **{n: str(v) for n, v in fields.items()}}, old.spec)

        return compare_and_set(self._redis, key, ("HGETALL", key), write, once)[0]


def _elapsed(record: TaskRecord, now: float) -> float:
    """Seconds since the task's current attempt started; 0 if it has not, or if the clock was set back."""
    return max(0.0, now - (record.started_at or now))


def _ending(
    record: TaskRecord,
    status: Status,
    reason_class: Reason | None,
    reason: str,
    now: float,
    compute_s: float,
) -> dict[str, Any]:
    """The fields of a record whose task ends.

    Args:
        record: the task before its end.
        now: seconds since the epoch.
        compute_s: compute time to add to the task's, in seconds.
    """
    return {
        "status": status.value,
        "ended_at": repr(now),
        "compute_s": repr(record.compute_s + compute_s),
        "reason_class": reason_class.value if reason_class else "",
        "reason": reason,
    }
