"""Questions about tasks: what the store answers without changing anything."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence

from worker.protocol import keys
from worker.protocol.checkpoint import ResumePoint, resume_points
from worker.protocol.errors import NoSuchTask, RecordError
from worker.protocol.metrics import Summary
from worker.protocol.record import TaskRecord
from worker.protocol.study_store import StudyStore

log = logging.getLogger(__name__)


class TaskReader(StudyStore):
    """Reads tasks. Thread-safe as far as the client is."""

    def get(self, task_id: str) -> TaskRecord:
        """The task's record. Raises `NoSuchTask` when there is none, `RecordError` when it can't be read."""
        data = self.redis.hgetall(keys.task(task_id))
        if not data:
            raise NoSuchTask(f"no task {task_id!r} in this Redis; `controller tasks` lists them")
        return TaskRecord.decode(data)

    def get_many(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        """The records in the order asked for, in one round trip; None where there is none."""
        with self.redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hgetall(keys.task(task_id))
            return [TaskRecord.decode(data) if data else None for data in pipe.execute()]

    def look(
        self, task_ids: Sequence[str]
    ) -> list[tuple[TaskRecord | None, dict[str, Summary], dict[str, str]]]:
        """For each task what `get_many`, `scalars` and `artifacts_of` give, in one round trip.

        The record is read first: of a task that has ended by then, the others are complete.
        """
        with self.redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hgetall(keys.task(task_id))
                pipe.hgetall(keys.scalars(task_id))
                pipe.hgetall(keys.artifacts(task_id))
            found = pipe.execute()
        return [
            (TaskRecord.decode(data) if data else None, _summaries(scalars), dict(sorted(artifacts.items())))
            for data, scalars, artifacts in zip(found[::3], found[1::3], found[2::3], strict=True)
        ]

    def scalars(self, task_ids: Sequence[str]) -> list[dict[str, Summary]]:
        """For each task, its metrics' summaries by metric key, in one round trip."""
        with self.redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hgetall(keys.scalars(task_id))
            return [_summaries(data) for data in pipe.execute()]

    def series(self, task_id: str) -> dict[str, list[tuple[int, float, float]]]:
        """All points kept of a task: metric key → [(iteration, value, seconds since the epoch)]."""
        found: dict[str, list[tuple[int, float, float]]] = {}
        seen: set[int | str] = set()
        for text in self.redis.lrange(keys.series(task_id), 0, -1):
            seq, points = json.loads(text)
            if seq in seen:
                continue
            seen.add(seq)
            for key, iteration, value, at in points:
                found.setdefault(key, []).append((iteration, float(value), at))
        return found

    def checkpoints(self, task_id: str) -> list[ResumePoint]:
        """The task's checkpoints, the oldest first; none where they can't be read."""
        try:
            return resume_points(self.artifacts(task_id))
        except RecordError as error:
            log.warning("task %s begins anew: %s", task_id, error)
            return []

    def _series_until(self, task_id: str, at: float, attempt: int) -> list[str]:
        """The batches of points that were reported up to a moment, as they are stored, for an attempt."""
        kept: list[str] = []
        for text in self.redis.lrange(keys.series(task_id), 0, -1):
            try:
                _, points = json.loads(text)
                earlier = [point for point in points if point[3] <= at + 0.001]  # stored to the millisecond
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise RecordError(f"task {task_id}: its points are malformed: {error}") from error
            if earlier:
                # Numbers of their own: the attempt counts its batches from 1.
                kept.append(json.dumps([f"{attempt}/{len(kept)}", earlier], separators=(",", ":")))
        return kept

    def task_log(self, task_id: str, start: int = 0) -> tuple[str, int]:
        """What the program wrote, from byte `start` of all it ever wrote.

        Returns:
            The text, and the offset to ask from next. Output that was trimmed is skipped.
        """
        dropped = int(self.redis.hget(keys.task(task_id), "log_dropped") or 0)
        raw = self._bytes(keys.log(task_id), max(0, start - dropped))
        return raw.decode("utf-8", "replace"), max(start, dropped) + len(raw)

    def raw_log(self, task_id: str) -> bytes:
        """What is kept of the program's output."""
        return self._bytes(keys.log(task_id), 0)

    def _bytes(self, key: str, start: int) -> bytes:
        # Text is cut at arbitrary bytes, which a decoding client would stumble over.
        answer = self.redis.execute_command("GETRANGE", key, start, -1, NEVER_DECODE=True)
        return answer if isinstance(answer, bytes) else str(answer).encode()

    def artifacts(self, task_id: str) -> dict[str, str]:
        """Artifact name → its description as JSON text."""
        found: dict[str, str] = self.redis.hgetall(keys.artifacts(task_id))
        return dict(sorted(found.items()))

    def artifacts_of(self, task_ids: Sequence[str]) -> list[dict[str, str]]:
        """For each task what `artifacts` gives, in one round trip."""
        with self.redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.hgetall(keys.artifacts(task_id))
            return [dict(sorted(found.items())) for found in pipe.execute()]

    def leases(self, task_ids: Sequence[str]) -> list[bool]:
        """For each task, whether a live lease exists, in one round trip."""
        with self.redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.exists(keys.lease(task_id))
            return [bool(found) for found in pipe.execute()]


def _summaries(data: Mapping[str, str]) -> dict[str, Summary]:
    return {key: Summary.from_list(json.loads(text)) for key, text in sorted(data.items())}
