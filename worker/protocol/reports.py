"""What attempts report: a summary of each metric, all points, and checkpoints."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worker.protocol import keys
from worker.protocol.attempt_guard import GUARD, check_holder
from worker.protocol.batch import Batch, as_json
from worker.protocol.bounds import MAX_NUMBER, MAX_STAMP, bounded_float, bounded_int
from worker.protocol.checkpoint import ResumePoint, resume_points
from worker.protocol.connection import hashes
from worker.protocol.errors import RecordError
from worker.protocol.event_stream import emit
from worker.protocol.events import Event, EventKind
from worker.protocol.metrics import Summary
from worker.protocol.ranking_index import rank
from worker.protocol.record import TaskRecord
from worker.protocol.stop_request import StopRequest
from worker.protocol.task_artifacts import TaskArtifacts
from worker.protocol.transaction import compare_and_set

log = logging.getLogger(__name__)

SERIES_LIMIT = 20_000
"""Batches of points kept per task; a batch holds what was reported within a fraction of a second."""

MAX_METRICS = 100_000
"""Metrics of one task that are read."""

TRIM_EVERY = 500
"""Batches between two trims of a task's points to `SERIES_LIMIT`."""


class Reports:
    """Writes and reads what was reported. Thread-safe as far as the client is."""

    def __init__(self, client: Any, artifacts: TaskArtifacts) -> None:
        self._redis = client
        self._artifacts = artifacts

    def add(self, record: TaskRecord, batch: Batch) -> StopRequest | None:
        """Add reported points to a running task.

        Args:
            record: as `Transitions.start` returned it; names the attempt and its slot.
            batch: what was reported.

        Returns:
            The stop request, if there is one.

        Raises:
            StaleAttempt: another attempt is current, another slot has the task, or it has ended.
        """
        key = keys.task(record.id)

        def change(pipe: Any, guard: Sequence[str | None]) -> StopRequest | None:
            request = check_holder(record.id, guard, record.attempt, record.worker)
            pipe.multi()
            write_batch(pipe, record, batch)
            return request

        return compare_and_set(self._redis, key, ("HMGET", key, *GUARD), change)[0]

    def scalars(self, task_ids: Sequence[str], *, leave_out: str = "") -> list[dict[str, Summary]]:
        """For each task, its metrics' summaries by metric key, in one round trip.

        Args:
            leave_out: what the keys of metrics begin with that nobody asked for.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hgetall(keys.scalars(task_id))
            found: list[Mapping[str, str]] = hashes(pipe)
        if leave_out:
            found = [{k: v for k, v in data.items() if not k.startswith(leave_out)} for data in found]
        return [summaries_of(data) for data in found]

    def some_scalars(self, task_ids: Sequence[str], metrics: Sequence[str]) -> list[dict[str, Summary]]:
        """As `scalars`, of these metrics only."""
        if not task_ids or not metrics:
            return [{} for _ in task_ids]
        with self._redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hmget(keys.scalars(task_id), list(metrics))
            rows = hashes(pipe)
        return [
            summaries_of({key: text for key, text in zip(metrics, row, strict=False) if text is not None})
            for row in rows
        ]

    def series(self, task_id: str) -> dict[str, list[tuple[int, float, float]]]:
        """All points kept of a task: metric key → [(iteration, value, seconds since the epoch)]."""
        return points_of(task_id, self._redis.lrange(keys.series(task_id), 0, -1))

    def checkpoints(self, task_id: str) -> list[ResumePoint]:
        """The task's checkpoints, the oldest first; empty if they can't be read."""
        try:
            return resume_points(self._artifacts.of_task(task_id))
        except RecordError as error:
            log.warning("task %s starts from the beginning: %s", task_id, error)
            return []

    def series_until(self, task_id: str, at: float, attempt: int) -> list[str]:
        """The batches reported up to a moment, in their stored form, renumbered for `attempt`.

        Args:
            at: seconds since the epoch.
            attempt: the attempt that resumes.

        Raises:
            RecordError: a batch is malformed.
        """
        kept: list[str] = []
        for text in self._redis.lrange(keys.series(task_id), 0, -1):
            try:
                _, points = json.loads(text)
                earlier = [point for point in points if point[3] <= at + 0.001]  # stored to the millisecond
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise RecordError(f"task {task_id}: its points are malformed: {error}") from error
            if earlier:
                # Their own numbers: the attempt counts its batches from 1.
                kept.append(json.dumps([f"{attempt}/{len(kept)}", earlier], separators=(",", ":")))
        return kept


def points_of(task_id: str, batches: Iterable[str]) -> dict[str, list[tuple[int, float, float]]]:
    """The points in batches as they are stored, see `Reports.series`. What is no batch is passed over.

    Args:
        task_id: for messages.
    """
    found: dict[str, list[tuple[int, float, float]]] = {}
    seen: set[int | str] = set()
    for text in batches:
        try:
            seq, points = json.loads(text)
            read = [_point(*point) for point in points] if seq not in seen else []
            seen.add(seq)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            log.warning("task %s: a batch of its points is passed over: %.300s", task_id, error)
            continue
        for key, iteration, value, at in read:
            found.setdefault(key, []).append((iteration, value, at))
    return found


def summaries_of(data: Mapping[str, str]) -> dict[str, Summary]:
    """A task's scalars as stored in Redis, decoded: metric key → summary.

    What is no summary of that metric is passed over, and so is what comes after the first `MAX_METRICS`.
    """
    found: dict[str, Summary] = {}
    for key, text in sorted(data.items()):
        try:
            summary = Summary.from_list(json.loads(text))
        except (ValueError, RecursionError, RecordError):
            continue
        if summary.key == key and len(found) < MAX_METRICS:
            found[key] = summary
    return found


def _point(key: str, iteration: int, value: float | str, at: float) -> tuple[str, int, float, float]:
    """One stored point. Raises `ValueError`, `TypeError` or `OverflowError`."""
    step = bounded_int(iteration, -MAX_NUMBER, MAX_NUMBER)
    return str(key), step, float(value), bounded_float(at, 0.0, MAX_STAMP)


# Commands for a transaction


def write_batch(pipe: Any, record: TaskRecord, batch: Batch) -> None:
    """Write reported points, rank the task by them, and tell the controller."""
    summaries = batch.summaries
    pipe.hset(keys.scalars(record.id), mapping={k: json.dumps(s.to_list()) for k, s in summaries.items()})
    pipe.rpush(keys.series(record.id), batch.encode())
    if batch.seq % TRIM_EVERY == 0:
        pipe.ltrim(keys.series(record.id), -SERIES_LIMIT, -1)
    index = {metric.key: i for i, metric in enumerate(record.spec.metrics)}
    points = [p for p in batch.points if p.key in index]
    if not points:
        return
    first = record.spec.metrics[0]
    if first.key in summaries:
        pipe.hset(keys.task(record.id), mapping=_counted(summaries[first.key]))
    if not record.study:
        return
    rank(pipe, record, summaries)
    shown = [[index[p.key], p.iteration, as_json(p.value), int(p.is_final)] for p in points]
    event = Event(
        kind=EventKind.REPORT,
        task=record.id,
        attempt=record.attempt,
        seq=batch.seq,
        data={"points": shown},
    )
    emit(pipe, record.study, event)


def write_resumed(pipe: Any, record: TaskRecord, point: ResumePoint, series: Sequence[str]) -> None:
    """Restore what had been reported when a checkpoint was saved."""
    shown = {key: json.dumps(summary.to_list()) for key, summary in point.summaries.items()}
    if shown:
        pipe.hset(keys.scalars(record.id), mapping=shown)
    if series:
        pipe.rpush(keys.series(record.id), *series)
    first = point.summaries.get(record.spec.metrics[0].key) if record.spec.metrics else None
    counted = _counted(first) if first else {}
    pipe.hset(keys.task(record.id), mapping={**counted, "resumed": point.iteration})
    if record.study:
        rank(pipe, record, point.summaries)


def _counted(first: Summary) -> dict[str, int]:
    """The fields of a record that count iterations."""
    return {"iterations": first.iterations, "last_iteration": first.last_iteration}
