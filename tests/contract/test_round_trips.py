"""What each operation of the store costs on a real Redis: round trips and commands, as upper bounds.

Workers run these for every task and report, often over networks where a round trip takes a millisecond.
WATCH, MULTI, EXEC and UNWATCH count as commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.connection import AbstractConnection

from tests.fakes import LOSS, ManualClock, record
from worker.protocol import Batch, Point, Reason, Status, Store, Summary, TaskRecord
from worker.protocol.checkpoint import name_of, with_resume_point
from worker.protocol.connection import connect
from worker.protocol.transaction import Once

SLOT = "w/0"


class Meter:
    """Counts the round trips and the commands of every connection while it is installed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trips = 0
        self.commands = 0
        send = AbstractConnection.send_packed_command

        def counting(connection: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
            parts = [command] if isinstance(command, (str, bytes)) else list(command)
            self.trips += 1
            # Each command is an array of bulk strings; no argument of these tests looks like one.
            self.commands += len(re.findall(rb"\*\d+\r\n\$", b"".join(parts)))
            return send(connection, parts, *args, **kwargs)

        monkeypatch.setattr(AbstractConnection, "send_packed_command", counting)

    def cost(self, operation: Callable[[], object]) -> tuple[int, int]:
        """Run an operation. Returns its round trips and its commands."""
        self.trips = self.commands = 0
        operation()
        return self.trips, self.commands


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    client = connect(redis_url, patience_s=0)
    # Connected before anything is counted: a transaction that reads something else takes a second connection.
    connections = [client.connection_pool.get_connection() for _ in range(2)]
    for connection in connections:
        client.connection_pool.release(connection)
    yield Store(client, ManualClock())
    client.close()


@pytest.fixture
def meter(store: Store, monkeypatch: pytest.MonkeyPatch) -> Meter:
    return Meter(monkeypatch)


def batch(seq: int = 1, value: float = 1.0) -> Batch:
    summary = Summary.of(LOSS.title, LOSS.series).add(value, seq)
    point = Point(title=LOSS.title, series=LOSS.series, value=value, iteration=seq, at=1.0)
    return Batch(seq=seq, points=[point], summaries={LOSS.key: summary})


def created(store: Store, **changes: Any) -> TaskRecord:
    task = record(**changes)
    store.tasks.create(task)
    return task


def queued(store: Store) -> TaskRecord:
    return created(store, status=Status.QUEUED)


def running(store: Store) -> TaskRecord:
    task = queued(store)
    return store.transitions.start(task.id, 1, SLOT)


def reported(store: Store) -> TaskRecord:
    task = running(store)
    store.reports.add(task, batch())
    return task


def resumed(store: Store) -> TaskRecord:
    """A task with a checkpoint that waits for its second attempt."""
    task = reported(store)
    meta = with_resume_point("{}", 1, 2.0, batch().summaries)
    store.artifacts.add(task.id, 1, name_of(1), meta)
    return store.transitions.requeue(task.id, 1, reason="lost")


def finished(store: Store) -> TaskRecord:
    task = reported(store)
    return finish(store, task)


def finish(store: Store, task: TaskRecord, last: Batch | None = None) -> TaskRecord:
    return store.transitions.finish(
        task.id, 1, Status.COMPLETED, worker=SLOT, compute_s=1.0, last=last, register=True
    )


OPERATIONS: dict[str, tuple[Callable[[Store], Any], Callable[[Store, Any], object], tuple[int, int]]] = {
    "create": (
        lambda store: record(status=Status.QUEUED),
        lambda store, task: store.tasks.create(task, also=lambda pipe: pipe.set("x", 1)),
        (2, 8),
    ),
    "create sixteen": (
        lambda store: [record(status=Status.QUEUED) for _ in range(16)],
        lambda store, tasks: store.tasks.create_all(tasks, also=lambda pipe: pipe.set("x", 1)),
        (2, 23),
    ),
    "queue": (created, lambda store, task: store.transitions.queue(task.id), (2, 7)),
    "start": (
        queued,
        lambda store, task: store.transitions.start(task.id, 1, SLOT, register=True),
        (2, 10),
    ),
    "start a signed job": (
        queued,
        lambda store, task: store.transitions.start(
            task.id, 1, SLOT, register=True, once=Once(key="orq:used:n", by=SLOT, life_s=60.0)
        ),
        (2, 12),
    ),
    "start a second attempt": (
        lambda store: store.transitions.requeue(reported(store).id, 1, reason="lost"),
        lambda store, task: store.transitions.start(task.id, 2, SLOT, register=True),
        (3, 14),
    ),
    "start from a checkpoint": (
        resumed,
        lambda store, task: store.transitions.start(task.id, 2, SLOT, register=True),
        (4, 19),
    ),
    "renew": (running, lambda store, task: store.transitions.renew(task.id, 1, SLOT, 15.0), (2, 2)),
    "report": (running, lambda store, task: store.reports.add(task, batch()), (2, 9)),
    "log": (running, lambda store, task: store.logs.append(task.id, 1, b"text"), (2, 5)),
    "add an artifact": (running, lambda store, task: store.artifacts.add(task.id, 1, "a", "{}"), (2, 5)),
    "remove artifacts": (
        running,
        lambda store, task: store.artifacts.remove(task.id, 1, ["a", "b"]),
        (2, 5),
    ),
    "requeue": (
        reported,
        lambda store, task: store.transitions.requeue(task.id, 1, reason="lost"),
        (2, 10),
    ),
    "finish with a last batch": (running, lambda store, task: finish(store, task, batch()), (2, 16)),
    "finish": (reported, finish, (3, 12)),
    "finish again": (finished, finish, (2, 3)),
    "force an end": (
        running,
        lambda store, task: store.transitions.force_finish(task.id, Reason.USER, "asked"),
        (2, 9),
    ),
    "stop a running task": (
        running,
        lambda store, task: store.transitions.request_stop(task.id, Reason.USER, "asked"),
        (3, 7),
    ),
    "stop a waiting task": (
        queued,
        lambda store, task: store.transitions.request_stop(task.id, Reason.USER, "asked"),
        (3, 10),
    ),
    "look at three tasks": (
        lambda store: [reported(store).id for _ in range(3)],
        lambda store, ids: store.tasks.look(ids),
        (1, 9),
    ),
}
"""Name → what is there before, the operation, and the most round trips and commands it may take."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_costs_more_than_it_does_today(store: Store, meter: Meter, name: str) -> None:
    prepare, operation, (most_trips, most_commands) = OPERATIONS[name]
    subject = prepare(store)
    trips, commands = meter.cost(lambda: operation(store, subject))
    assert trips <= most_trips
    assert commands <= most_commands
    assert commands > 0, "nothing was counted"
