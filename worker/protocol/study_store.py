"""Studies, events and workers in Redis: the part of the store that needs no attempt to guard it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import redis

from worker.protocol import keys
from worker.protocol.connection import watch
from worker.protocol.errors import BadInput, RecordError
from worker.protocol.events import STREAM_LIMIT, Event, EventKind
from worker.protocol.host import CARD_LIFE_S, serves
from worker.protocol.record import StudyRecord, TaskRecord
from worker.protocol.status import Status

log = logging.getLogger(__name__)


class StudyStore:
    """Base of `Store`. Thread-safe as far as its client is."""

    def __init__(self, client: Any) -> None:
        self.redis = client

    # Studies

    def save_study(self, record: StudyRecord) -> None:
        with self.redis.pipeline() as pipe:
            pipe.hset(keys.study(record.name), mapping=record.encode())
            pipe.zadd(keys.STUDIES, {record.name: record.created_at})
            pipe.execute()

    def get_study(self, name: str) -> StudyRecord:
        """Raises `BadInput` when there is no such study."""
        data = self.redis.hgetall(keys.study(name))
        if not data:
            known = self.studies()
            hint = f"; there are: {', '.join(known[:8])}" if known else "; there are none yet"
            raise BadInput(f"no study {name!r} in this Redis{hint}")
        return StudyRecord.decode(data)

    def find_study(self, name: str) -> StudyRecord | None:
        data = self.redis.hgetall(keys.study(name))
        return StudyRecord.decode(data) if data else None

    def studies(self) -> list[str]:
        """Names, the newest first."""
        names: list[str] = self.redis.zrevrange(keys.STUDIES, 0, -1)
        return names

    def study_tasks(self, name: str, status: Status | None = None) -> list[str]:
        """Ids of a study's tasks in the order of their trials, or of those in one status."""
        key = keys.study_status(name, status) if status else keys.study_tasks(name)
        ids: list[str] = self.redis.zrange(key, 0, -1)
        return ids

    def status_counts(self, name: str) -> dict[Status, int]:
        with self.redis.pipeline(transaction=False) as pipe:
            for status in Status:
                pipe.zcard(keys.study_status(name, status))
            return dict(zip(Status, pipe.execute(), strict=True))

    def best(self, name: str, count: int, *, only_completed: bool = False) -> list[str]:
        """Ids of the best tasks of a study with one objective, the best first: O(log n + count)."""
        ids: list[str] = self.redis.zrange(
            keys.rank(name, only_completed=only_completed), 0, max(0, count) - 1
        )
        return ids if count > 0 else []

    def scores(
        self, name: str, objectives: int, *, only_completed: bool = False
    ) -> dict[str, tuple[float, ...]]:
        """Task id → its scores by each objective, smaller is better, of all tasks that have them all.

        One round trip, O(n). In the order of the first objective.
        """
        with self.redis.pipeline() as pipe:
            for index in range(objectives):
                pipe.zrange(keys.rank(name, index=index), 0, -1, withscores=True)
            if only_completed:
                pipe.zrange(keys.study_status(name, Status.COMPLETED), 0, -1)
            answer = pipe.execute()
        indexes = [dict(pairs) for pairs in answer[:objectives]]
        ranked = set(indexes[0]).intersection(*indexes[1:], *answer[objectives:])
        return {
            task_id: tuple(float(index[task_id]) for index in indexes)
            for task_id in indexes[0]
            if task_id in ranked
        }

    def control(self, name: str, request: str) -> None:
        """Ask the study's controller to ``stop``, ``pause``, ``resume``, or ``finish``: launch no more."""
        with self.redis.pipeline() as pipe:
            pipe.set(keys.study_request(name), request)
            self._emit(pipe, name, Event(kind=EventKind.CONTROL, data={"request": request}))
            pipe.execute()

    def pending_request(self, name: str) -> str:
        """The request that waits for the controller; empty if there is none."""
        return self.redis.get(keys.study_request(name)) or ""

    def take_request(self, name: str) -> str:
        """The request that waits for the controller, which is hereby taken; empty if there is none."""
        with self.redis.pipeline() as pipe:
            pipe.get(keys.study_request(name))
            pipe.delete(keys.study_request(name))
            request, _ = pipe.execute()
        return request or ""

    def delete_study(self, name: str) -> int:
        """Remove a study's record, its tasks and all their keys. Returns how many tasks went."""
        ids = self.study_tasks(name)
        for start in range(0, len(ids), 500):
            doomed = [key for task_id in ids[start : start + 500] for key in keys.of_task(task_id)]
            self.redis.unlink(*doomed)
        base_task = self.redis.hget(keys.study(name), "base_task")
        if base_task:
            self.delete_task(base_task)
        with self.redis.pipeline() as pipe:
            pipe.unlink(*keys.of_study(name))
            pipe.zrem(keys.STUDIES, name)
            pipe.execute()
        return len(ids)

    # Artifacts that belong to no task

    def study_artifacts(self, name: str) -> dict[str, str]:
        """Artifact name → its description as JSON text, of a study's own."""
        found: dict[str, str] = self.redis.hgetall(keys.study_artifacts(name))
        return dict(sorted(found.items()))

    def add_study_artifact(self, name: str, artifact: str, meta: str) -> None:
        """List an artifact of a study's own. A later one of the same name replaces it."""
        self.redis.hset(keys.study_artifacts(name), artifact, meta)

    def remove_study_artifact(self, name: str, artifact: str) -> None:
        self.redis.hdel(keys.study_artifacts(name), artifact)

    def removed_artifacts(self, name: str) -> set[str]:
        """Ids of a study's artifacts that were removed; Optuna may still link them."""
        return set(self.redis.smembers(keys.removed_artifacts(name)))

    def note_removed_artifact(self, name: str, artifact_id: str) -> None:
        self.redis.sadd(keys.removed_artifacts(name), artifact_id)

    # Tasks outside any study, and tasks that go

    def base_tasks(self) -> list[str]:
        """Ids of the tasks outside any study, the newest first."""
        ids: list[str] = self.redis.zrevrange(keys.BASE_TASKS, 0, -1)
        return ids

    def delete_task(self, task_id: str) -> None:
        """Remove a task outside any study and all its keys."""
        with self.redis.pipeline() as pipe:
            pipe.unlink(*keys.of_task(task_id))
            pipe.zrem(keys.BASE_TASKS, task_id)
            pipe.execute()

    def remove_task(self, record: TaskRecord) -> None:
        """Remove a task and all its keys, one of a study as well; nobody may be running it."""
        with self.redis.pipeline() as pipe:
            pipe.unlink(*keys.of_task(record.id))
            pipe.zrem(keys.BASE_TASKS, record.id)
            if record.study:
                pipe.zrem(keys.study_tasks(record.study), record.id)
                pipe.zrem(keys.study_status(record.study, record.status), record.id)
                for index in range(keys.MAX_OBJECTIVES):
                    pipe.zrem(keys.rank(record.study, index=index), record.id)
                pipe.zrem(keys.rank(record.study, only_completed=True), record.id)
            pipe.execute()

    # Events

    def last_event_id(self, study: str) -> str:
        """The id after which new events come; ask before reading the records, so that none is missed."""
        entries = self.redis.xrevrange(keys.events(study), count=1)
        return str(entries[0][0]) if entries else "0-0"

    def read_events(self, study: str, after: str, block_ms: int | None) -> tuple[list[Event], str]:
        """Events after an id, waiting up to `block_ms` for the first; None does not wait.

        Returns:
            The events, oldest first, and the id to go on from. Entries that can't be read are skipped
            with a warning.
        """
        answer = self.redis.xread({keys.events(study): after}, count=1000, block=block_ms)
        entries = _stream_entries(answer)
        events: list[Event] = []
        for entry_id, entry in entries:
            after = entry_id
            try:
                events.append(Event.decode(entry))
            except RecordError as error:
                log.warning("study %s: skipped an event: %s", study, error)
        return events, after

    def trim_events(self, study: str, read: str) -> None:
        """Drop the entries before id `read`, which the controller has dealt with."""
        self.redis.xtrim(keys.events(study), minid=read, approximate=True)

    # Workers

    def register_worker(
        self, name: str, fields: Mapping[str, Any], ttl_s: float, *, first: bool = False
    ) -> None:
        """Write a worker's card; it vanishes `ttl_s` seconds after the last call.

        Args:
            first: the name must be free.

        Raises:
            BadInput: it isn't.
        """
        with self.redis.pipeline() as pipe:
            if first:
                if watch(pipe, keys.worker(name), "EXISTS", keys.worker(name)):
                    raise _taken(name)
                pipe.multi()
            pipe.hset(keys.worker(name), mapping={k: str(v) for k, v in fields.items()})
            pipe.pexpire(keys.worker(name), ms(ttl_s))
            pipe.sadd(keys.WORKERS, name)
            try:
                pipe.execute()
            except redis.WatchError:
                raise _taken(name) from None

    def forget_worker(self, name: str) -> None:
        with self.redis.pipeline() as pipe:
            pipe.delete(keys.worker(name))
            pipe.srem(keys.WORKERS, name)
            pipe.execute()

    def pause_worker(self, name: str, until: float, reason: str) -> None:
        """Have a worker take no jobs until a moment (seconds since the epoch); kept on its card."""
        with self.redis.pipeline() as pipe:
            pipe.hset(keys.worker(name), mapping={"paused_until": repr(until), "paused": reason})
            # Should the worker have gone just now, its card goes as well.
            pipe.pexpire(keys.worker(name), ms(CARD_LIFE_S))
            pipe.publish(keys.control(name), "pause")
            pipe.execute()

    def worker_pause(self, name: str) -> float:
        """Until when a worker is to take no jobs (seconds since the epoch); 0 when it may."""
        return float(self.redis.hget(keys.worker(name), "paused_until") or 0.0)

    def workers(self, queue: str | None = None) -> list[dict[str, str]]:
        """Cards of the live workers, optionally those that serve a queue; forgets the dead ones."""
        names = sorted(self.redis.smembers(keys.WORKERS))
        with self.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(keys.worker(name))
            cards = pipe.execute()
        gone = [name for name, card in zip(names, cards, strict=True) if not card]
        if gone:
            self.redis.srem(keys.WORKERS, *gone)
        alive = [{"name": name, **card} for name, card in zip(names, cards, strict=True) if card]
        if queue is None:
            return alive
        return [card for card in alive if serves(card, queue)]

    def _emit(self, pipe: Any, study: str, event: Event) -> None:
        pipe.xadd(keys.events(study), event.encode(), maxlen=STREAM_LIMIT, approximate=True)


def _taken(name: str) -> BadInput:
    return BadInput(f"a worker named {name!r} is running already; give this one another --name")


def ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _stream_entries(answer: Any) -> list[tuple[str, dict[str, str]]]:
    if not answer:
        return []
    streams = list(answer.values()) if isinstance(answer, dict) else [stream[1] for stream in answer]
    entries: list[tuple[str, dict[str, str]]] = []
    for stream in streams:
        # RESP3 nests a stream's entries one list deeper than RESP2.
        if stream and isinstance(stream[0], list) and stream[0] and isinstance(stream[0][0], (list, tuple)):
            stream = stream[0]
        entries += [(str(entry_id), dict(fields)) for entry_id, fields in stream]
    return entries
