"""The ranking index: for each objective of a study, its tasks by score, kept as reports come in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from worker.protocol import keys
from worker.protocol.metrics import ObjectiveMetric, Summary
from worker.protocol.record import TaskRecord
from worker.protocol.status import Status


class RankingIndex:
    """Reads the index. Thread-safe as far as the client is."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    def best(self, name: str, count: int, *, start: int = 0, only_completed: bool = False) -> list[str]:
        """Ids of the best tasks of a study with one objective, the best first: O(log n + count).

        Args:
            start: how many to pass over.
        """
        ids: list[str] = self._redis.zrange(
            keys.rank(name, only_completed=only_completed), start, start + max(0, count) - 1
        )
        return ids if count > 0 else []

    def scores(
        self, name: str, objectives: int, *, only_completed: bool = False
    ) -> dict[str, tuple[float, ...]]:
        """Task id → its scores by each objective, smaller is better, of the tasks that have all of them.

        Ordered by the first objective. One round trip, O(n).
        """
        with self._redis.pipeline() as pipe:
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


# Commands for a transaction


def rank(pipe: Any, record: TaskRecord, summaries: Mapping[str, Summary]) -> None:
    """Rank a task by each objective in `summaries`; take it off where its value isn't finite."""
    if not record.is_searched:
        return
    for index, metric in enumerate(record.spec.metrics):
        if metric.key in summaries:
            key = keys.rank(record.study, index=index)
            rank_by(pipe, key, record.id, metric, summaries[metric.key])


def rank_by(pipe: Any, key: str, task_id: str, metric: ObjectiveMetric, summary: Summary) -> None:
    """Rank a task by one objective in the index `key`; take it off if its value isn't finite."""
    value = summary.value(metric.sign)
    if math.isfinite(value):
        pipe.zadd(key, {task_id: metric.score(value)})
    else:
        pipe.zrem(key, task_id)


def unrank(pipe: Any, record: TaskRecord) -> None:
    """Take a task off the indexes of its study, if it belongs to one."""
    if record.is_searched:
        for index in range(len(record.spec.metrics)):
            pipe.zrem(keys.rank(record.study, index=index), record.id)


def rank_completed(client: Any, pipe: Any, record: TaskRecord, summaries: Mapping[str, Summary]) -> None:
    """Rank a task that completes among the completed ones, if its study has one objective.

    Args:
        client: reads the task's present score.
        summaries: of what the task reports together with its end.
    """
    # With several objectives, only a comparison of all tasks tells which are best.
    if len(record.spec.metrics) != 1 or not record.is_searched:
        return
    metric = record.spec.metrics[0]
    key = keys.rank(record.study, only_completed=True)
    if metric.key in summaries:
        rank_by(pipe, key, record.id, metric, summaries[metric.key])
        return
    score = client.zscore(keys.rank(record.study), record.id)
    if score is not None:
        pipe.zadd(key, {record.id: score})
