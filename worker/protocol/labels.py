"""What people say about tasks: tags and a note, of any task in any status."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from worker.protocol import keys
from worker.protocol.clock import Clock
from worker.protocol.errors import NoSuchTask
from worker.protocol.record import TaskRecord
from worker.protocol.tags import changed_tags, checked_note, checked_tag, encode_tags
from worker.protocol.transaction import compare_and_set


class Labels:
    """Writes tags and notes. Thread-safe as far as the client is.

    They stand beside the task's specification, which may be signed, and change nothing of its execution.
    """

    def __init__(self, client: Any, clock: Clock) -> None:
        self._redis = client
        self._clock = clock

    def tag(self, task_id: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> TaskRecord:
        """Add and remove tags; those that it has, or lacks, already are no matter.

        Returns:
            The record as written.

        Raises:
            BadInput: a tag is empty, too long or has control characters, or there are too many.
            NoSuchTask: the task has no record.
        """
        wanted, gone = [checked_tag(tag) for tag in add], [checked_tag(tag) for tag in remove]

        def change(old: TaskRecord) -> dict[str, str]:
            return {"tags": encode_tags(changed_tags(old.all_tags, wanted, gone))}

        return self._write(task_id, change)

    def note(self, task_id: str, text: str) -> TaskRecord:
        """Write a task's note, in place of the one that it had; an empty text removes it. As `tag`."""
        kept = checked_note(text)
        return self._write(task_id, lambda old: {"note": kept})

    def touched(self, study: str, since: float) -> list[str]:
        """Ids of the tasks of a study that people have changed, or removed, at or after a moment.

        Args:
            since: seconds since the epoch, by the store's clock.
        """
        found: list[str] = self._redis.zrange(keys.study_touched(study), since, "+inf", byscore=True)
        return found

    def touch(self, study: str, task_ids: Iterable[str]) -> None:
        """Have who keeps these tasks of a study in memory read them again."""
        scores = dict.fromkeys(task_ids, self._clock.now())
        if scores:
            self._redis.zadd(keys.study_touched(study), scores)

    def _write(self, task_id: str, change: Callable[[TaskRecord], dict[str, str]]) -> TaskRecord:
        key, now = keys.task(task_id), self._clock.now()

        def write(pipe: Any, data: Mapping[str, str]) -> TaskRecord:
            if not data:
                raise NoSuchTask(f"no task {task_id!r} in this Redis; `controller tasks` lists them")
            old = TaskRecord.of_task(task_id, data)
            fields = change(old)
            pipe.multi()
            pipe.hset(key, mapping=fields)
            if old.study:
                pipe.zadd(keys.study_touched(old.study), {task_id: now})
            return TaskRecord.decode({**data, **fields}, old.spec)

        return compare_and_set(self._redis, key, ("HGETALL", key), write)[0]
