"""What a `Task` in a program talks through: batches reports, carries stop requests, never blocks for long."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from worker.channel import Endpoint, Message
from worker.exceptions import TaskPruned, TaskStopped

BATCH_S = 0.02
"""Longest time that a report waits in the program for company, in seconds."""

RawPoint = tuple[str, str, float, int, float]
"""Title, series, value, iteration, seconds since the epoch."""


class Session(Protocol):
    """Where a task's reports go."""

    def report(self, point: RawPoint) -> None:
        """Take one point. Raises `TaskStopped` once the task is to stop."""
        ...

    def artifact(self, name: str, meta: str) -> None:
        """List an artifact whose bytes are stored; returns when it is recorded."""
        ...

    def flush(self) -> None:
        """Return when all that was reported is on its way."""
        ...

    def check_stop(self) -> None:
        """Raise `TaskStopped` if the task is to stop."""
        ...


class LocalSession:
    """A task run by hand, without a worker: reports are kept in this process."""

    def __init__(self) -> None:
        self.points: list[RawPoint] = []
        self.artifacts: dict[str, str] = {}

    def report(self, point: RawPoint) -> None:
        self.points.append(point)

    def artifact(self, name: str, meta: str) -> None:
        self.artifacts[name] = meta

    def flush(self) -> None:
        pass

    def check_stop(self) -> None:
        pass


class ChannelSession:
    """A task under a worker.

    Thread-safe. `report` appends to a list and returns; a thread sends what has gathered every `BATCH_S`.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._pending: deque[RawPoint] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._sender: threading.Thread | None = None
        self._stop: TaskStopped | None = None
        self._acks: dict[int, str | None] = {}
        self._acked = threading.Condition()
        self._artifact_id = 0
        self.on_stop: Callable[[], None] | None = None

    def report(self, point: RawPoint) -> None:
        if self._stop is not None:
            raise self._stop
        self._pending.append(point)
        if not self._wake.is_set():
            self._wake.set()
            if self._sender is None:
                self._start_sender()

    def _start_sender(self) -> None:
        with self._lock:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_loop, name="optuna-rq-sender", daemon=True)
                self._sender.start()

    def _send_loop(self) -> None:
        while not self._endpoint.closed:
            self._wake.wait()
            time.sleep(BATCH_S)
            self._wake.clear()
            self.flush()

    def flush(self) -> None:
        with self._lock:
            pending = self._pending
            points = [pending.popleft() for _ in range(len(pending))]
            if points:
                self._endpoint.send({"op": "points", "points": points})

    def artifact(self, name: str, meta: str) -> None:
        with self._acked:
            self._artifact_id += 1
            number = self._artifact_id
        if not self._endpoint.send({"op": "artifact", "id": number, "name": name, "meta": meta}):
            raise self._stop or TaskStopped("worker_lost", "the worker is gone")
        with self._acked:
            while number not in self._acks:
                if self._endpoint.closed:
                    raise self._stop or TaskStopped("worker_lost", "the worker is gone")
                self._acked.wait(0.5)
            error = self._acks.pop(number)
        if error:
            raise self._stop or TaskStopped("worker_lost", error)

    def check_stop(self) -> None:
        if self._stop is not None:
            raise self._stop

    @property
    def stop(self) -> TaskStopped | None:
        """The stop request that has arrived, as the exception to raise."""
        return self._stop

    def handle(self, message: Message) -> None:
        """Take a message of the slot's; called by the thread that reads the channel."""
        op = message.get("op")
        if op == "stop":
            self._stop = stopped(message)
            if self.on_stop:
                self.on_stop()
        elif op == "ack":
            with self._acked:
                self._acks[int(message["id"])] = message.get("error")
                self._acked.notify_all()


def stopped(message: Message) -> TaskStopped:
    """The exception for a stop message."""
    reason_class, reason = str(message.get("class", "user")), str(message.get("reason", ""))
    if reason_class == "pruned":
        return TaskPruned(reason)
    return TaskStopped(reason_class, reason)


def describe(task: Any) -> Message:
    """What a program is told of its task, from a `TaskRecord`."""
    return {
        "id": task.id,
        "name": task.name,
        "project": task.project,
        "parent": task.parent,
        "study": task.study,
        "trial": task.trial,
        "attempt": task.attempt,
        "worker": task.worker,
        "parameters": task.spec.parameters,
        "metrics": [metric.key for metric in task.spec.metrics],
        "artifacts": task.spec.artifacts,
        "tags": list(task.spec.tags),
    }
