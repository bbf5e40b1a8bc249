"""The store: the one way to the records in Redis.

Who owns what: a `Store` owns nothing but its client, which may be shared between threads. Every write
that concerns a running task carries the attempt it speaks for, and is applied in one transaction that
fails when the task has moved on in between (WATCH, compare, MULTI/EXEC). Every write may be repeated
without harm, because a connection that breaks during EXEC leaves the caller not knowing.

No Lua: a worker's Redis user needs neither EVAL nor SCRIPT.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import redis

from worker.protocol import keys
from worker.protocol.checkpoint import ResumePoint
from worker.protocol.clock import Clock, SystemClock
from worker.protocol.connection import watch
from worker.protocol.errors import NoSuchTask, RecordError, StaleAttempt, TransitionRefused
from worker.protocol.events import Event, EventKind
from worker.protocol.metrics import ObjectiveMetric, Summary
from worker.protocol.record import StopRequest, TaskRecord, TaskSpec
from worker.protocol.status import FINISHED, Reason, Status, allowed
from worker.protocol.study_store import ms
from worker.protocol.task_reader import TaskReader

SERIES_LIMIT = 20_000
"""Batches of points kept per task; a batch holds what was reported within a fraction of a second."""

TRIM_EVERY = 500
"""Batches between two cuts of a task's points to their limit."""

LOG_LIMIT = 1 << 20
"""Bytes of output kept per task, the newest; up to twice as much between two trims."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One reported value."""

    title: str
    series: str
    value: float
    iteration: int
    at: float
    """Seconds since the epoch."""
    settles: bool = False
    """The program's return value: it replaces the last value rather than add an iteration."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Points that an attempt has reported since the last ones were written."""

    seq: int
    """Number of this batch within the attempt, from 1; a repeated one is recognized."""
    points: Sequence[Point]
    """The oldest first."""
    summaries: Mapping[str, Summary]
    """The summaries after this batch, of the metrics that occur in it."""


class Store(TaskReader):
    """Reads and guarded writes of tasks. Thread-safe as far as the client is."""

    def __init__(self, client: Any, clock: Clock | None = None) -> None:
        """
        Args:
            client: a redis-py client with ``decode_responses=True`` (see `connection.connect`).
            clock: for tests.
        """
        super().__init__(client)
        self.clock = clock or SystemClock()

    # Tasks: the life of one

    def create(
        self, record: TaskRecord, *, event: Event | None = None, also: Callable[[Any], None] | None = None
    ) -> None:
        """Write a new task's record and list it. Raises `TransitionRefused` when the id is taken.

        Args:
            also: adds further commands to the transaction, given its pipeline.
        """
        key = keys.task(record.id)
        with self.redis.pipeline() as pipe:
            for _ in _tries():
                try:
                    if watch(pipe, key, "EXISTS", key):
                        raise TransitionRefused(f"task {record.id} exists already")
                    pipe.multi()
                    pipe.hset(key, mapping=record.encode())
                    if record.study:
                        pipe.zadd(keys.study_tasks(record.study), {record.id: record.trial})
                        pipe.zadd(keys.study_status(record.study, record.status), {record.id: record.trial})
                    else:
                        pipe.zadd(keys.BASE_TASKS, {record.id: record.created_at})
                    if event:
                        self._emit(pipe, record.study, event)
                    if also:
                        also(pipe)
                    pipe.execute()
                    return
                except redis.WatchError:
                    continue

    def edit(self, task_id: str, change: Callable[[TaskRecord], TaskRecord]) -> TaskRecord:
        """Change what a task is called or what it is to run with, as long as nobody else depends on it.

        Args:
            change: returns the record with another name, project, parent or spec; other fields of what
                it returns are not looked at. May be called several times.

        Returns:
            The record as written.
        """
        key = keys.task(task_id)
        with self.redis.pipeline() as pipe:
            for _ in _tries():
                try:
                    data = watch(pipe, key, "HGETALL", key)
                    if not data:
                        raise NoSuchTask(f"no task {task_id!r} in this Redis (deleted?)")
                    old = TaskRecord.decode(data)
                    new = change(old)
                    pipe.multi()
                    mapping = {"name": new.name, "project": new.project, "parent": new.parent}
                    pipe.hset(key, mapping={**mapping, "spec": new.spec.encode()})
                    pipe.execute()
                    return replace(old, name=new.name, project=new.project, parent=new.parent, spec=new.spec)
                except redis.WatchError:
                    continue
        raise AssertionError("unreachable")

    def queue(self, task_id: str) -> TaskRecord:
        """created → queued. Repeating it is harmless."""
        now = self.clock.now()

        def change(old: TaskRecord) -> dict[str, Any]:
            return {"status": Status.QUEUED.value, "queued_at": repr(now)}

        return self._move(task_id, Status.QUEUED, change, done=lambda old: old.status is Status.QUEUED)

    def start(
        self,
        task_id: str,
        attempt: int,
        worker: str,
        *,
        on_card: bool = False,
        check: Callable[[TaskRecord], None] = lambda record: None,
    ) -> TaskRecord:
        """queued → in_progress for the slot `worker`, with a lease of the task's `lease_s`.

        What an earlier attempt reported is removed, since this one reports from the beginning, but for
        what it had reported when its last checkpoint was saved: from there this one goes on.

        Args:
            on_card: show the task on the worker's card until it ends.
            check: raises what keeps the task, as it stands, from being started.

        Raises:
            StaleAttempt: the task is at another attempt.
            TransitionRefused: the task has ended, was stopped, or another slot has it.
        """
        now = self.clock.now()
        # Nobody adds to these meanwhile: writes of the attempts before are refused.
        points = self.checkpoints(task_id) if attempt > 1 else []
        kept = self._series_until(task_id, points[-1].at, attempt) if points else []

        def change(old: TaskRecord) -> dict[str, Any]:
            check(old)
            return {"status": Status.IN_PROGRESS.value, "started_at": repr(now), "worker": worker}

        def extra(pipe: Any, old: TaskRecord) -> None:
            pipe.set(keys.lease(task_id), f"{attempt}:{worker}", px=ms(old.spec.lease_s))
            if on_card:
                _show(pipe, worker, task_id)
            if old.attempt > 1:
                pipe.delete(keys.scalars(task_id), keys.series(task_id))
                pipe.hdel(keys.task(task_id), "iterations")
                unrank(pipe, old)
            if points:
                _take_up(pipe, old, points[-1], kept)
            if old.study:
                data = {"at": now, "worker": worker}
                if points:
                    data["resumed"] = points[-1].iteration
                event = Event(kind=EventKind.STARTED, task=task_id, attempt=attempt, data=data)
                self._emit(pipe, old.study, event)

        return self._move(
            task_id,
            Status.IN_PROGRESS,
            change,
            attempt=attempt,
            extra=extra,
            done=lambda old: old.status is Status.IN_PROGRESS and old.worker == worker,
        )

    def renew(self, task_id: str, attempt: int, worker: str, lease_s: float) -> StopRequest | None:
        """Renew the lease; returns the stop request, if there is one. Raises `StaleAttempt`."""
        guard = self.redis.hmget(keys.task(task_id), "status", "attempt", "stop", "worker")
        request = _guard(task_id, guard, attempt, worker)
        # Should another attempt begin just now, this writes over its lease, which stays valid: what
        # counts is that there is one.
        self.redis.set(keys.lease(task_id), f"{attempt}:{worker}", px=ms(lease_s))
        return request

    def report(self, record: TaskRecord, batch: Batch) -> StopRequest | None:
        """Add reported points to a running task.

        Args:
            record: as `start` returned it; names the attempt that speaks.
            batch: what was reported.

        Returns:
            The stop request, if there is one.

        Raises:
            StaleAttempt: another attempt is current, or the task has ended. Nothing was written.
        """
        task_id, attempt = record.id, record.attempt
        key = keys.task(task_id)
        with self.redis.pipeline() as pipe:
            for _ in _tries():
                try:
                    guard = watch(pipe, key, "HMGET", key, "status", "attempt", "stop", "worker")
                    request = _guard(task_id, guard, attempt, record.worker)
                    pipe.multi()
                    self._add_batch(pipe, record, batch)
                    pipe.execute()
                    return request
                except redis.WatchError:
                    continue
        raise AssertionError("unreachable")

    def _add_batch(self, pipe: Any, record: TaskRecord, batch: Batch) -> None:
        """The commands that write reported points; part of a guarded transaction."""
        summaries = batch.summaries
        pipe.hset(keys.scalars(record.id), mapping={k: json.dumps(s.to_list()) for k, s in summaries.items()})
        pipe.rpush(keys.series(record.id), _encode_points(batch))
        if batch.seq % TRIM_EVERY == 0:
            pipe.ltrim(keys.series(record.id), -SERIES_LIMIT, -1)
        index = {metric.key: i for i, metric in enumerate(record.spec.metrics)}
        points = [p for p in batch.points if _key(p) in index]
        if not points:
            return
        first = record.spec.metrics[0]
        if first.key in summaries:
            pipe.hset(keys.task(record.id), "iterations", summaries[first.key].iterations)
        if not record.study:
            return
        rank(pipe, record, summaries)
        shown = [[index[_key(p)], p.iteration, _number(p.value), int(p.settles)] for p in points]
        event = Event(
            kind=EventKind.REPORT,
            task=record.id,
            attempt=record.attempt,
            seq=batch.seq,
            data={"points": shown},
        )
        self._emit(pipe, record.study, event)

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
        on_card: bool = False,
    ) -> TaskRecord:
        """in_progress → completed, failed or stopped, once.

        Args:
            worker: the slot that ran it; its own repeated call is harmless, another's is refused.
            error: the traceback, if the program left one.
            compute_s: what this attempt has computed, in seconds.
            ranks: False takes it out of the ranking, as one that violates a constraint.
            last: what it has reported since the last `report`, written before its end.
            on_card: as for `start`.

        Raises:
            StaleAttempt: another attempt is current.
            TransitionRefused: the task has ended already.
        """
        if status not in FINISHED:
            raise ValueError(f"finish() takes a final status, not {status}")
        now = self.clock.now()
        ended = self._ended(status, reason_class, reason, ranks=ranks, last=last)

        def change(old: TaskRecord) -> dict[str, Any]:
            return {
                "status": status.value,
                "ended_at": repr(now),
                "compute_s": repr(old.compute_s + compute_s),
                "reason_class": reason_class.value if reason_class else "",
                "reason": reason,
                "error": error,
            }

        def extra(pipe: Any, old: TaskRecord) -> None:
            if last:
                self._add_batch(pipe, old, last)
            if on_card:
                _show(pipe, worker, "")
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
        """in_progress → queued for another attempt: its worker was lost or handed it back, or it has failed
        in a way after which it is tried again.

        Args:
            attempt: the attempt that is given up.
            handed_back: by a worker that shuts down; it doesn't count against the task's attempts.
            compute_s: what it has computed, in seconds; by default the time since it started.

        Returns:
            The record with the new attempt, which has yet to be enqueued.
        """
        now = self.clock.now()

        def change(old: TaskRecord) -> dict[str, Any]:
            spent = compute_s if compute_s is not None else max(0.0, now - (old.started_at or now))
            # Who goes on with the study wants the next attempt to run.
            with_study = old.stop is not None and old.stop.reason_class is Reason.STUDY_STOPPED
            return {
                **({"stop": ""} if handed_back and with_study else {}),
                "status": Status.QUEUED.value,
                "attempt": attempt + 1,
                "queued_at": repr(now),
                "compute_s": repr(old.compute_s + spent),
                "reason": reason,
                "worker": "",
                "handed_back": old.handed_back + handed_back,
            }

        def extra(pipe: Any, old: TaskRecord) -> None:
            pipe.delete(keys.lease(task_id))
            unrank(pipe, old)
            if old.study:
                data = {"reason": reason}
                event = Event(kind=EventKind.REQUEUED, task=task_id, attempt=attempt + 1, data=data)
                self._emit(pipe, old.study, event)

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
        """End a task from outside: one that no worker holds, or whose worker is gone for good."""
        status = reason_class.status
        now = self.clock.now()

        def change(old: TaskRecord) -> dict[str, Any]:
            spent = now - (old.started_at or now) if old.status is Status.IN_PROGRESS else 0.0
            return {
                "status": status.value,
                "ended_at": repr(now),
                "compute_s": repr(old.compute_s + max(0.0, spent)),
                "reason_class": reason_class.value,
                "reason": reason,
            }

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
                self._rank_completed(pipe, old, last)
            data = {
                "status": status.value,
                "class": reason_class.value if reason_class else "",
                "reason": reason,
            }
            event = Event(kind=EventKind.ENDED, task=old.id, attempt=old.attempt, data=data)
            self._emit(pipe, old.study, event)

        return extra

    def request_stop(self, task_id: str, reason_class: Reason, reason: str) -> TaskRecord:
        """Ask for a task's end. The first request stays; a task that nobody runs yet ends at once.

        Returns:
            The record afterwards. A task that has ended is left as it is.
        """
        key = keys.task(task_id)
        while True:
            record = self.get(task_id)
            if record.status in FINISHED:
                return record
            if record.status is not Status.IN_PROGRESS:
                try:
                    return self.force_finish(task_id, reason_class, reason)
                except TransitionRefused:
                    continue
            request = StopRequest(reason_class=reason_class, reason=reason)
            with self.redis.pipeline() as pipe:
                try:
                    status, stop, worker = watch(pipe, key, "HMGET", key, "status", "stop", "worker")
                    if status != Status.IN_PROGRESS.value:
                        continue
                    pipe.multi()
                    if not stop:
                        pipe.hset(key, "stop", request.encode())
                    # Published every time: whoever asks again may do so because the first was not heard.
                    pipe.publish(keys.control(_worker_name(worker)), task_id)
                    pipe.execute()
                except redis.WatchError:
                    continue
            return replace(record, stop=StopRequest.decode(stop) or request)

    def show_idle(self, slot: str) -> None:
        """Have its worker's card say that a slot runs nothing."""
        _show(self.redis, slot, "")

    def show_refusal(self, slot: str, why: str) -> None:
        """Have its worker's card say that a job was refused, and why."""
        self.redis.hset(keys.worker(_worker_name(slot)), "refused", why[:300])

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
    ) -> TaskRecord:
        """One guarded transition: read, check, write, all or nothing.

        Args:
            change: the fields to write, given the record as it is.
            attempt: refuse unless the task is at this attempt.
            extra: further commands for the same transaction.
            only_from: narrower than the transition table, where the caller's right ends with a status.
            done: recognizes a record to which this same change has been applied already.
        """
        key = keys.task(task_id)
        with self.redis.pipeline() as pipe:
            for _ in _tries():
                try:
                    data = watch(pipe, key, "HGETALL", key)
                    if not data:
                        raise NoSuchTask(f"task {task_id} has no record (deleted?)")
                    old = TaskRecord.decode(data)
                    if old.id != task_id:
                        raise RecordError(f"task record {task_id}: it is that of another task")
                    same_attempt = attempt is None or old.attempt == attempt
                    if (same_attempt or new is Status.QUEUED) and done(old):
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
                    if old.study:
                        pipe.zrem(keys.study_status(old.study, old.status), task_id)
                        pipe.zadd(keys.study_status(old.study, new), {task_id: old.trial})
                    if extra:
                        extra(pipe, old)
                    pipe.execute()
                    merged = {**data, **{name: str(value) for name, value in fields.items()}}
                    return TaskRecord.decode(merged)
                except redis.WatchError:
                    continue
        raise AssertionError("unreachable")

    def _rank_completed(self, pipe: Any, old: TaskRecord, last: Batch | None) -> None:
        # Of several objectives, what is best is only known when all tasks are compared.
        if len(old.spec.metrics) != 1:
            return
        metric = old.spec.metrics[0]
        key = keys.rank(old.study, only_completed=True)
        if last and metric.key in last.summaries:
            rank_by(pipe, key, old.id, metric, last.summaries[metric.key])
            return
        score = self.redis.zscore(keys.rank(old.study), old.id)
        if score is not None:
            pipe.zadd(key, {old.id: score})

    # Output and artifacts of a running task

    def append_log(self, task_id: str, attempt: int, data: bytes) -> None:
        """Add what the program wrote; only the newest `LOG_LIMIT` bytes are kept.

        Raises:
            StaleAttempt: another attempt is current.
        """
        key = keys.log(task_id)
        with self.redis.pipeline() as pipe:
            for _ in _tries():
                try:
                    self._watch_attempt(pipe, task_id, attempt, "its output is")
                    pipe.append(key, data)
                    (size,) = pipe.execute()
                    break
                except redis.WatchError:
                    continue
        if size > 2 * LOG_LIMIT:
            kept = self._bytes(key, size - LOG_LIMIT)
            with self.redis.pipeline() as pipe:
                pipe.set(key, kept)
                pipe.hincrby(keys.task(task_id), "log_dropped", size - len(kept))
                pipe.execute()

    def _watch_attempt(self, pipe: Any, task_id: str, attempt: int | None, what: str) -> None:
        """Open a transaction that is applied only if the task is, and stays, at this attempt."""
        key = keys.task(task_id)
        current = watch(pipe, key, "HGET", key, "attempt")
        if current is None:
            raise NoSuchTask(f"task {task_id} has no record (deleted?)")
        if attempt is not None and int(current) != attempt:
            raise StaleAttempt(f"task {task_id}: attempt {attempt} is over; {what} refused")
        pipe.multi()

    def add_artifact(self, task_id: str, attempt: int | None, name: str, meta: str) -> None:
        """List an artifact whose bytes are stored. A later one of the same name replaces it.

        Args:
            attempt: the attempt that speaks, or None for one added from outside a worker.
            meta: its description as JSON text.

        Raises:
            StaleAttempt: another attempt is current.
        """
        with self.redis.pipeline() as pipe:
            for _ in _tries():
                try:
                    self._watch_attempt(pipe, task_id, attempt, "its artifact is")
                    pipe.hset(keys.artifacts(task_id), name, meta)
                    pipe.execute()
                    return
                except redis.WatchError:
                    continue

    def remove_artifacts(self, task_id: str, attempt: int | None, names: Sequence[str]) -> None:
        """Take artifacts off the task's list; their bytes are the caller's matter.

        Args:
            attempt: the attempt that speaks, or None for somebody outside a worker.

        Raises:
            StaleAttempt: another attempt is current.
        """
        with self.redis.pipeline() as pipe:
            for _ in _tries():
                try:
                    self._watch_attempt(pipe, task_id, attempt, "its artifacts stay; the removal is")
                    pipe.hdel(keys.artifacts(task_id), *names)
                    pipe.execute()
                    return
                except redis.WatchError:
                    continue

    def add_parameters(self, task_id: str, attempt: int, parameters: Mapping[str, Any]) -> None:
        """Note parameters that the program has besides those of the record, which stay as they are.

        Raises:
            StaleAttempt: another attempt is current.
        """
        key = keys.task(task_id)
        with self.redis.pipeline() as pipe:
            for _ in _tries():
                try:
                    self._watch_attempt(pipe, task_id, attempt, "its parameters are")
                    spec = TaskSpec.decode(str(self.redis.hget(key, "spec")))
                    merged = {**spec.parameters, **parameters, **spec.parameters}
                    added = tuple(name for name in merged if name not in spec.parameters)
                    new = replace(spec, parameters=merged, connected=(*spec.connected, *added))
                    pipe.hset(key, "spec", new.encode())
                    pipe.execute()
                    return
                except redis.WatchError:
                    continue


def rank(pipe: Any, record: TaskRecord, summaries: Mapping[str, Summary]) -> None:
    """Put a task where its objectives' values belong in their indexes; off one when a value isn't finite."""
    for index, metric in enumerate(record.spec.metrics):
        if metric.key in summaries:
            key = keys.rank(record.study, index=index)
            rank_by(pipe, key, record.id, metric, summaries[metric.key])


def rank_by(pipe: Any, key: str, task_id: str, metric: ObjectiveMetric, summary: Summary) -> None:
    """Put a task where one objective's value belongs in an index; off it when the value isn't finite."""
    value = summary.value(metric.sign)
    if math.isfinite(value):
        pipe.zadd(key, {task_id: metric.score(value)})
    else:
        pipe.zrem(key, task_id)


def _show(pipe: Any, slot: str, task_id: str) -> None:
    """Write on a worker's card what its slot runs; empty for nothing."""
    name, number = slot.rsplit("/", 1)
    pipe.hset(keys.worker(name), f"slot:{number}", task_id)


def _take_up(pipe: Any, old: TaskRecord, point: ResumePoint, series: Sequence[str]) -> None:
    """Put back what was reported when a checkpoint was saved."""
    shown = {key: json.dumps(summary.to_list()) for key, summary in point.summaries.items()}
    if shown:
        pipe.hset(keys.scalars(old.id), mapping=shown)
    if series:
        pipe.rpush(keys.series(old.id), *series)
    first = point.summaries.get(old.spec.metrics[0].key) if old.spec.metrics else None
    if first:
        pipe.hset(keys.task(old.id), "iterations", first.iterations)
    if old.study:
        rank(pipe, old, point.summaries)


def unrank(pipe: Any, record: TaskRecord) -> None:
    """Take a task off the indexes of its study, if it belongs to one."""
    if record.study:
        for index in range(len(record.spec.metrics)):
            pipe.zrem(keys.rank(record.study, index=index), record.id)


def _guard(task_id: str, guard: Iterable[str | None], attempt: int, worker: str) -> StopRequest | None:
    status, current, stop, holder = guard
    if current is None or int(current) != attempt:
        raise StaleAttempt(f"task {task_id}: attempt {attempt} is over, attempt {current} is current")
    if status != Status.IN_PROGRESS.value or holder != worker:
        raise StaleAttempt(f"task {task_id}: attempt {attempt} is {status} (worker {holder or '-'})")
    return StopRequest.decode(stop)


def _encode_points(batch: Batch) -> str:
    shown = [[_key(p), p.iteration, _number(p.value), round(p.at, 3)] for p in batch.points]
    return json.dumps([batch.seq, shown], separators=(",", ":"))


def _key(point: Point) -> str:
    return f"{point.title}/{point.series}" if point.series else point.title


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)


def _worker_name(slot: str) -> str:
    return slot.rsplit("/", 1)[0]


def _tries(limit: int = 1000) -> Iterator[int]:
    """Bounded: a transaction that loses this often is a bug, not a race."""
    yield from range(limit)
    raise TransitionRefused("gave up after too many concurrent changes to one task")
