"""Studies: their records, their lists of tasks, and requests to their controllers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from worker.protocol import keys
from worker.protocol.errors import BadInput
from worker.protocol.event_stream import emit
from worker.protocol.events import Event, EventKind
from worker.protocol.status import Status
from worker.protocol.study_record import StudyRecord, StudyState
from worker.protocol.task_records import delete_base_task

GOING_ON = (StudyState.RUNNING, StudyState.PAUSED, StudyState.INTERRUPTED)
FINISH = "finish"
"""What an objective asks for: launch no more."""


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

    def keep_forecast(self, name: str, forecast: Mapping[str, Any]) -> None:
        """Write what a study's controller foresees into its record, unless that is gone."""
        with self._redis.pipeline() as pipe:
            pipe.watch(keys.study(name))
            if pipe.exists(keys.study(name)):
                pipe.multi()
                pipe.hset(keys.study(name), "forecast", json.dumps(forecast))
                with contextlib.suppress(redis.WatchError):  # the next one is written
                    pipe.execute()

    def find(self, name: str) -> StudyRecord | None:
        """The study's record, or None. Raises `RecordError` if it can't be read."""
        data = self._redis.hgetall(keys.study(name))
        return StudyRecord.decode(data) if data else None

    def going_on(self) -> dict[str, str]:
        """Name of each study that has not ended → its queue, the newest first; in two round trips."""
        names = self.names()
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hget(keys.study(name), "state")
                pipe.hget(keys.study(name), "queue")
            answers = pipe.execute()
        found = zip(names, answers[::2], answers[1::2], strict=True)
        return {name: queue or "" for name, state, queue in found if state in GOING_ON}

    def names(self) -> list[str]:
        """Names of all studies, the newest first."""
        names: list[str] = self._redis.zrevrange(keys.STUDIES, 0, -1)
        return names

    def tasks(self, name: str, status: Status | None = None) -> list[str]:
        """Ids of a study's tasks, all or those in one status, by trial number.

        Workers write the lists by status: what the study's own list lacks is left out.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zrange(keys.study_tasks(name), 0, -1)
            if status:
                pipe.zrange(keys.study_status(name, status), 0, -1)
            own, *listed = pipe.execute()
        if status is None:
            return list(own)
        known = set(own)
        return [task_id for task_id in listed[0] if task_id in known]

    def newest(self, name: str, count: int) -> list[str]:
        """Ids of the tasks of a study's last `count` trials, by trial number: O(log n + count)."""
        ids: list[str] = self._redis.zrange(keys.study_tasks(name), -count, -1) if count > 0 else []
        return ids

    def oldest_in(self, name: str, status: Status, count: int) -> list[str]:
        """Ids of the first `count` tasks in one status, by trial number, as workers list them."""
        ids: list[str] = (
            self._redis.zrange(keys.study_status(name, status), 0, count - 1) if count > 0 else []
        )
        return self.own(name, ids)

    def trials(self, name: str) -> dict[str, int]:
        """Id of each of a study's tasks → number of its trial, by trial number."""
        pairs = self._redis.zrange(keys.study_tasks(name), 0, -1, withscores=True)
        return {task_id: int(number) for task_id, number in pairs}

    def around(self, name: str, task_id: str) -> tuple[str | None, str | None]:
        """The tasks before and after one of a study's, by trial number; None where there is none."""
        place = self._redis.zrank(keys.study_tasks(name), task_id)
        if place is None:
            return None, None
        first = max(0, place - 1)
        found = self._redis.zrange(keys.study_tasks(name), first, place + 1)
        here = place - first
        return (found[here - 1] if here else None), (found[here + 1] if here + 1 < len(found) else None)

    def near(self, name: str, task_id: str, count: int) -> list[str]:
        """The tasks of up to `count` trials before and after one of a study's, its own included, by trial."""
        place = self._redis.zrank(keys.study_tasks(name), task_id)
        if place is None:
            return []
        return list(self._redis.zrange(keys.study_tasks(name), max(0, place - count), place + count))

    def of_trials(self, name: str, numbers: Sequence[int]) -> list[str]:
        """The tasks of some of a study's trials, as far as there are any, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for number in numbers:
                pipe.zrangebyscore(keys.study_tasks(name), number, number)
            return [task_id for found in pipe.execute() for task_id in found]

    def has(self, name: str, task_id: str) -> bool:
        """Whether a task is the study's: its own record, which workers write, may say anything."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zscore(keys.study_tasks(name), task_id)
            pipe.zscore(keys.study_confirmations(name), task_id)
            return any(found is not None for found in pipe.execute())

    def own(self, name: str, task_ids: Sequence[str]) -> list[str]:
        """Those of some tasks that are the study's, in one round trip."""
        if not task_ids:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids:
                pipe.zscore(keys.study_tasks(name), task_id)
            return [one for one, trial in zip(task_ids, pipe.execute(), strict=True) if trial is not None]

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

    def has_controller(self, name: str) -> bool:
        """Whether a controller acts on the study."""
        return bool(self._redis.exists(keys.study_lock(name)))

    def request(self, name: str, request: str) -> None:
        """Ask the study's controller to ``stop``, ``pause``, ``resume`` or ``finish``: launch no more."""
        # Workers may ask for the end of launching, and for nothing else.
        key = keys.study_finish(name) if request == FINISH else keys.study_request(name)
        with self._redis.pipeline() as pipe:
            pipe.set(key, request)
            emit(pipe, name, Event(kind=EventKind.CONTROL, data={"request": request}))
            pipe.execute()

    def pending_request(self, name: str) -> str:
        """The request that waits for the controller; empty if none does."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(keys.study_request(name))
            pipe.get(keys.study_finish(name))
            request, finish = pipe.execute()
        return request or (FINISH if finish else "")

    def take_request(self, name: str) -> str:
        """Take the request that waits for the controller, so that it waits no longer; empty if none does."""
        both = keys.study_request(name), keys.study_finish(name)
        with self._redis.pipeline() as pipe:
            for key in both:
                pipe.get(key)
            pipe.delete(*both)
            request, finish, _ = pipe.execute()
        return request or (FINISH if finish else "")

    def delete(self, name: str) -> int:
        """Remove a study with its tasks and base task. Returns how many tasks it had."""
        ids = [*self.tasks(name), *self._redis.zrange(keys.study_confirmations(name), 0, -1)]
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
