"""The table of many trials: its first page, and a filter with an order over all of them."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis

from benchmarks.rows import Row
from benchmarks.studies import redis_server
from benchmarks.top import write_study
from controller.results.task_rows import TaskRows
from controller.results.task_table import Query, find_page
from worker.protocol import Store

FIRST = Query(sort="-trial", count=50)
FILTERED = Query(where='loss < 0.5 and status == "completed" and x == 1', sort="loss", count=50)
MOST_MS = 1000.0
"""What a person waits for a page at most, in milliseconds."""


def rows(runs: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    few, many = (100, 1000) if quick else (1000, 100_000)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        store = Store(redis.Redis.from_url(url, decode_responses=True))
        for count in (few, many):
            say(f"writing {count} tasks")
            write_study(store, f"s{count}", count)
        first = {count: [_first(store, count) for _ in range(runs)] for count in (few, many)}
        say(f"reading {many} tasks")
        table = TaskRows(store, store.studies.get(f"s{many}"))
        begun = time.perf_counter()
        table.all()
        cold = time.perf_counter() - begun
        filtered = [_filtered(store, table, many) for _ in range(runs)]
    return [
        Row(
            name=f"the first page of {many} trials, ms (reference: of {few})",
            ours=statistics.median(first[many]),
            reference=statistics.median(first[few]),
            sense="<=",
            aim=1.5,
        ),
        Row(
            name=f"{many} trials filtered and sorted, ms (reference: the second that it may take)",
            ours=statistics.median(filtered),
            reference=MOST_MS,
            sense="<=",
            aim=1.0,
        ),
        Row(
            name=f"{many} trials read for the first filter, s (reference: 0.2 ms each)",
            ours=cold,
            reference=many * 0.0002,
            sense="<=",
            aim=1.0,
        ),
    ]


def _first(store: Store, count: int) -> float:
    """Milliseconds of a first page, by a server that has not read the study yet."""
    study = store.studies.get(f"s{count}")
    begun = time.perf_counter()
    for _ in range(20):
        assert len(find_page(store, study, TaskRows(store, study), FIRST).rows) == 50
    return (time.perf_counter() - begun) / 20 * 1000


def _filtered(store: Store, table: TaskRows, count: int) -> float:
    study = store.studies.get(f"s{count}")
    begun = time.perf_counter()
    found = find_page(store, study, table, FILTERED)
    assert 0 < found.matching < count
    return (time.perf_counter() - begun) * 1000
