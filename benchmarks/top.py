"""The best five of many tasks."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis

from benchmarks.rows import Row
from benchmarks.studies import redis_server
from controller.results.ranking import Ranking
from worker.protocol import (
    ObjectiveMetric,
    Sign,
    Status,
    Store,
    StudyRecord,
    Summary,
    TaskRecord,
    TaskSpec,
    new_task_id,
)
from worker.protocol.copies import TaskCopy, write_tasks

LOSS = ObjectiveMetric(title="loss", series="", sign=Sign.MIN)


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    few, many = (100, 1000) if quick else (1000, 100_000)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        store = Store(redis.Redis.from_url(url, decode_responses=True))
        for count in (few, many):
            say(f"writing {count} tasks")
            write_study(store, f"s{count}", count)
        found: dict[int, list[float]] = {few: [], many: []}
        for number in range(runs):
            say(f"run {number + 1} of {runs}: the best five")
            for count in (few, many):
                ranking = Ranking(store, f"s{count}", [LOSS])
                begun = time.perf_counter()
                for _ in range(100):
                    assert len(ranking.details(5)) == 5
                found[count].append((time.perf_counter() - begun) / 100 * 1000)
    return [
        Row(
            name=f"the best 5 of {many} tasks, ms (reference: of {few})",
            ours=statistics.median(found[many]),
            reference=statistics.median(found[few]),
            sense="<=",
            aim=1.5,
        )
    ]


def write_study(store: Store, name: str, count: int) -> None:
    """A study of so many completed tasks, as if they had run."""
    chance = random.Random(1)
    store.studies.save(StudyRecord(name=name, created_at=1.0, metrics=(LOSS,)))
    spec = TaskSpec(objective={"kind": "function", "target": "a:b"}, metrics=(LOSS,), parameters={"x": 1.0})
    copies = []
    for trial in range(count):
        summary = Summary.of("loss", "").add(chance.random(), 0)
        record = TaskRecord(
            id=new_task_id(),
            name=f"{name} {trial}",
            study=name,
            trial=trial,
            spec=spec,
            status=Status.COMPLETED,
            created_at=1.0,
            started_at=1.0,
            ended_at=2.0,
            iterations=1,
        )
        copies.append(TaskCopy(record=record, scalars={"loss": summary}))
    write_tasks(store, copies)
