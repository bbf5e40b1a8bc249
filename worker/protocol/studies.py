"""Studies: their records, their lists of tasks, and requests to their controllers."""

from __future__ import annotations

from typing import Any

from worker.protocol import keys
from worker.protocol.errors import BadInput
from worker.protocol.event_stream import emit
from worker.protocol.events import Event, EventKind
from worker.protocol.record import StudyRecord
from worker.protocol.status import Status
from worker.protocol.task_records import delete_base_task


class Studies:
    """Reads and writes studies; no attempt guards them. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def save(self, record: StudyRecord) -> None:
        """Write a study's record, and list the study."""
        with self._redis.pipeline() as pipe:
            pipe.hset(keys.study(record.name), mapping=record.encode())
            pipe.zadd(keys.STUDIES, {record.name: record.created_at})
            pipe.execute()

    def get(self, name: str) -> StudyRecord:
        """The study's record. Raises `BadInput` if there is none, `RecordError` if it can't be read."""
        data = self._redis.hgetall(keys.study(name))
        if not data:
            known = self.names()
            hint = f"; there are: {', '.join(known[:8])}" if known else "; there are none yet"
            raise BadInput(f"no study {name!r} in this Redis{hint}")
        return StudyRecord.decode(data)

    def find(self, name: str) -> StudyRecord | None:
        """The study's record, or None. Raises `RecordError` if it can't be read."""
        data = self._redis.hgetall(keys.study(name))
        return StudyRecord.decode(data) if data else None

    def names(self) -> list[str]:
        """Names of all studies, the newest first."""
        names: list[str] = self._redis.zrevrange(keys.STUDIES, 0, -1)
        return names

    def tasks(self, name: str, status: Status | None = None) -> list[str]:
        """Ids of a study's tasks, all or those in one status, by trial number."""
        key = keys.study_status(name, status) if status else keys.study_tasks(name)
        ids: list[str] = self._redis.zrange(key, 0, -1)
        return ids

    def next_trial(self, name: str) -> int:
        """The number after the highest trial that has a task; 0 for none."""
        last = self._redis.zrange(keys.study_tasks(name), -1, -1, withscores=True)
        return int(last[0][1]) + 1 if last else 0

    def status_counts(self, name: str) -> dict[Status, int]:
        """How many of its tasks are in each status."""
        with self._redis.pipeline(transaction=False) as pipe:
            for status in Status:
                pipe.zcard(keys.study_status(name, status))
            return dict(zip(Status, pipe.execute(), strict=True))

    def request(self, name: str, request: str) -> None:
        """Ask the study's controller to ``stop``, ``pause``, ``resume`` or ``finish``: launch no more."""
        with self._redis.pipeline() as pipe:
            pipe.set(keys.study_request(name), request)
            emit(pipe, name, Event(kind=EventKind.CONTROL, data={"request": request}))
            pipe.execute()

    def pending_request(self, name: str) -> str:
        """The request that waits for the controller; empty if none does."""
        return self._redis.get(keys.study_request(name)) or ""

    def take_request(self, name: str) -> str:
        """Take the request that waits for the controller, so that it waits no longer; empty if none does."""
        with self._redis.pipeline() as pipe:
            pipe.get(keys.study_request(name))
            pipe.delete(keys.study_request(name))
            request, _ = pipe.execute()
        return request or ""

    def delete(self, name: str) -> int:
        """Remove a study with its tasks and base task. Returns how many tasks it had."""
        ids = self.tasks(name)
        for start in range(0, len(ids), 500):
            doomed = [key for task_id in ids[start : start + 500] for key in keys.of_task(task_id)]
            self._redis.unlink(*doomed)
        base_task = self._redis.hget(keys.study(name), "base_task")
        with self._redis.pipeline() as pipe:
            if base_task:
                delete_base_task(pipe, base_task)
            pipe.unlink(*keys.of_study(name))
            pipe.zrem(keys.STUDIES, name)
            pipe.execute()
        return len(ids)
