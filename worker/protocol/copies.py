"""Whole tasks taken out of Redis and put back: for a study that moves, and for one that Redis has lost."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.protocol import keys
from worker.protocol.errors import RecordError
from worker.protocol.metrics import Summary, violations
from worker.protocol.ranking_index import rank
from worker.protocol.record import TaskRecord
from worker.protocol.reports import summaries_of
from worker.protocol.status import Status
from worker.protocol.store import Store

CHUNK = 200
"""Tasks in one round trip."""


@dataclass(frozen=True, kw_only=True)
class TaskCopy:
    """One task with what it has reported."""

    record: TaskRecord
    scalars: Mapping[str, Summary] = field(default_factory=dict)
    """Metric key → summary."""
    artifacts: Mapping[str, str] = field(default_factory=dict)
    """Artifact name → its description as JSON text."""
    series: Sequence[str] = ()
    """Batches of points as they are stored, oldest first."""
    log: bytes = b""
    log_dropped: int = 0
    """Bytes of output that were trimmed before `log`."""

    def to_dict(self, leave_out: Container[str] = ()) -> dict[str, Any]:
        """As JSON; what is empty is left out. The output's bytes that are no UTF-8 stay what they are.

        Args:
            leave_out: names of the record's fields that are left out, too.
        """
        data: dict[str, Any] = {"record": self.record.encode(leave_out)}
        if self.scalars:
            data["scalars"] = [summary.to_list() for summary in self.scalars.values()]
        if self.artifacts:
            data["artifacts"] = dict(self.artifacts)
        if self.series:
            data["series"] = list(self.series)
        if self.log:
            data["log"] = self.log.decode("utf-8", "surrogateescape")
        if self.log_dropped:
            data["log_dropped"] = self.log_dropped
        return data

    @classmethod
    def from_dict(cls, data: Any) -> TaskCopy:
        """Inverse of `to_dict`. Raises `RecordError`, `NewerRecord` for one of a newer version."""
        try:
            record = TaskRecord.decode({name: str(value) for name, value in data["record"].items()})
            summaries = [Summary.from_list(values) for values in data.get("scalars", ())]
            return cls(
                record=record,
                scalars={summary.key: summary for summary in summaries},
                artifacts={str(name): str(text) for name, text in data.get("artifacts", {}).items()},
                series=[str(text) for text in data.get("series", ())],
                log=str(data.get("log", "")).encode("utf-8", "surrogateescape"),
                log_dropped=int(data.get("log_dropped", 0)),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RecordError(f"copy of a task: {type(error).__name__}: {error}") from error


def read_tasks(store: Store, task_ids: Sequence[str]) -> Iterable[TaskCopy]:
    """Copies of tasks, in the order asked for; those that have no record are left out."""
    for start in range(0, len(task_ids), CHUNK):
        ids = task_ids[start : start + CHUNK]
        with store.redis.pipeline(transaction=False) as pipe:
            for task_id in ids:
                pipe.hgetall(keys.task(task_id))
                pipe.hgetall(keys.scalars(task_id))
                pipe.hgetall(keys.artifacts(task_id))
                pipe.lrange(keys.series(task_id), 0, -1)
            answers = pipe.execute()
        for place, task_id in enumerate(ids):
            data, scalars, artifacts, series = answers[4 * place : 4 * place + 4]
            if data:
                yield TaskCopy(
                    record=TaskRecord.of_task(task_id, data),
                    scalars=summaries_of(scalars),
                    artifacts=artifacts,
                    series=series,
                    log=store.logs.raw(task_id),
                    log_dropped=store.logs.dropped(data.get("log_dropped")),
                )


def write_tasks(store: Store, copies: Iterable[TaskCopy]) -> int:
    """Write tasks as they were, listed and ranked as they were; replaces what is there.

    Returns:
        How many.
    """
    count, sealing = 0, store.tasks.sealing
    with store.redis.pipeline() as pipe:
        for copy in copies:
            _write(pipe, copy, {} if sealing is None or copy.record.study else sealing.seal(copy.record))
            count += 1
            if count % CHUNK == 0:
                pipe.execute()
        pipe.execute()
    return count


def _write(pipe: Any, copy: TaskCopy, seal: Mapping[str, str]) -> None:
    record = copy.record
    pipe.unlink(*keys.of_task(record.id))
    fields = {**record.encode(), **seal}
    if copy.log_dropped:
        fields["log_dropped"] = copy.log_dropped
    pipe.hset(keys.task(record.id), mapping=fields)
    if copy.scalars:
        mapping = {key: json.dumps(summary.to_list()) for key, summary in copy.scalars.items()}
        pipe.hset(keys.scalars(record.id), mapping=mapping)
    if copy.artifacts:
        pipe.hset(keys.artifacts(record.id), mapping=dict(copy.artifacts))
    if copy.series:
        pipe.rpush(keys.series(record.id), *copy.series)
    if copy.log:
        pipe.set(keys.log(record.id), copy.log)
    if not record.study:
        pipe.zadd(keys.BASE_TASKS, {record.id: record.created_at})
        return
    _list_in_study(pipe, copy)


def _list_in_study(pipe: Any, copy: TaskCopy) -> None:
    """Put a task where its study has it: by trial, by status, and among the best."""
    record = copy.record
    if not record.is_searched:
        pipe.zadd(keys.study_confirmations(record.study), {record.id: record.created_at})
        return
    pipe.zadd(keys.study_tasks(record.study), {record.id: record.trial})
    for status in Status:
        if status is not record.status:
            pipe.zrem(keys.study_status(record.study, status), record.id)
    pipe.zadd(keys.study_status(record.study, record.status), {record.id: record.trial})
    broken = any(over > 0 for over in violations(record.spec.constraints, copy.scalars))
    if record.status is Status.FAILED or (record.status.is_finished and broken):
        return
    rank(pipe, record, copy.scalars)
    metrics = record.spec.metrics
    if record.status is Status.COMPLETED and len(metrics) == 1 and metrics[0].key in copy.scalars:
        metric = metrics[0]
        value = copy.scalars[metric.key].value(metric.sign)
        if math.isfinite(value):
            pipe.zadd(keys.rank(record.study, only_completed=True), {record.id: metric.score(value)})
