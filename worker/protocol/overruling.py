"""A decision that came after the program's end, or rests on less than the program reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker.protocol import keys
from worker.protocol.errors import NoSuchTask
from worker.protocol.metrics import Summary
from worker.protocol.ranking_index import rank_by, unrank
from worker.protocol.record import TaskRecord
from worker.protocol.status import FINISHED, Reason, Status
from worker.protocol.stop_request import StopRequest
from worker.protocol.transaction import compare_and_set


class Overruling:
    """Has the controller's decision stand for a task that has ended. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def overrule(self, task_id: str, request: StopRequest, counted: Summary | None) -> TaskRecord:
        """End a task that has ended as `request` says: what it reported after the decision doesn't count.

        This is the one change to a task that has ended: its program was faster than the decision. One that
        still runs, or that has failed other than by its values, stays as it is. Repeating the call is
        harmless.

        Args:
            counted: the first objective's summary with what counts; None leaves the task unranked.

        Returns:
            The record afterwards.

        Raises:
            NoSuchTask: the task has no record.
        """
        key = keys.task(task_id)

        def change(pipe: Any, data: Mapping[str, str]) -> TaskRecord:
            if not data:
                raise NoSuchTask(f"task {task_id} has no record (deleted?)")
            old = TaskRecord.decode(data)
            by_value = old.reason_class is Reason.INVALID_VALUE
            if old.status not in FINISHED or (old.status is Status.FAILED and not by_value):
                return old
            new = request.reason_class.status
            fields = {
                **request.to_fields(),
                "status": new.value,
                "reason_class": request.reason_class.value,
                "reason": request.reason,
            }
            pipe.multi()
            pipe.hset(key, mapping=fields)
            if counted is not None:
                pipe.hset(keys.scalars(task_id), counted.key, json.dumps(counted.to_list()))
            if old.study:
                _list_again(pipe, old, new, counted)
            return TaskRecord.decode({**data, **{name: str(value) for name, value in fields.items()}})

        return compare_and_set(self._redis, key, ("HGETALL", key), change)[0]


def _list_again(pipe: Any, old: TaskRecord, new: Status, counted: Summary | None) -> None:
    """List a task under its new status, and rank it by what counts."""
    pipe.zrem(keys.study_status(old.study, old.status), old.id)
    pipe.zadd(keys.study_status(old.study, new), {old.id: old.trial})
    pipe.zrem(keys.rank(old.study, only_completed=True), old.id)
    if counted is None or new is Status.FAILED:
        unrank(pipe, old)
    else:
        rank_by(pipe, keys.rank(old.study), old.id, old.spec.metrics[0], counted)
