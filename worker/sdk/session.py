"""What a `Task` in a program talks through: batches reports, carries stop requests, never blocks for long."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from worker.process.channel import Endpoint, Message
from worker.protocol.clock import STEADY
from worker.protocol.faults import fault_of
from worker.protocol.metrics import Summary, metric_key
from worker.protocol.status import Status
from worker.sdk.exceptions import TaskPruned, TaskStopped

BATCH_S = 0.02
"""Longest time that a report waits in the program for company, in seconds."""

RawPoint = tuple[str, str, float, int, float]
"""Title, series, value, iteration, seconds since the epoch."""


class Session(Protocol):
    """Where a task's reports go."""

    on_stop: Callable[[], None] | None
    """Called once, from a thread of the session's, when the task is to stop."""

    @property
    def stop(self) -> TaskStopped | None:
        """The stop request that has arrived, as the exception to raise."""
        ...

    def report(self, point: RawPoint) -> None:
        """Take one point. Raises `TaskStopped` once the task is to stop."""
        ...

    def artifact(self, name: str, meta: str, checkpoint: int | None = None) -> None:
        """List an artifact whose bytes are stored; returns when it is recorded.

        Args:
            checkpoint: the iteration, where another attempt may go on from this artifact.
        """
        ...

    def unlink(self, names: Sequence[str]) -> None:
        """Take artifacts off the task's list; returns when that is recorded."""
        ...

    def waits(self, error: Exception, seconds: float) -> None:
        """Say that the program waits for its artifact store, and why; it tries again after `seconds`."""
        ...

    def pass_on(self, message: Message) -> None:
        """Have the slot hear what a child says of itself."""
        ...

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Note parameters that the program has besides the study's, by full name."""
        ...

    def configuration(self, name: str, stored: Mapping[str, Any]) -> None:
        """Note a configuration, as `TaskSpec.configurations` holds it."""
        ...

    def log(self, text: str) -> None:
        """Add a line to the task's log, where that doesn't take what the program prints anyway."""
        ...

    def scalars(self) -> dict[str, Summary]:
        """Summaries of all metrics reported so far, by metric key."""
        ...

    def series(self) -> dict[str, list[tuple[int, float, float]]]:
        """All points reported so far: metric key → [(iteration, value, seconds since the epoch)]."""
        ...

    def mark(self, status: Status, reason: str) -> None:
        """Decide how the task ends; what the program does afterwards changes nothing."""
        ...

    def flush(self) -> None:
        """Return when all that was reported is on its way."""
        ...

    def close(self) -> None:
        """The program takes no further part in the task."""
        ...

    def check_stop(self) -> None:
        """Raise `TaskStopped` if the task is to stop."""
        ...


class LocalSession:
    """The session of a standalone program without Redis: reports stay in this process."""

    on_stop: Callable[[], None] | None = None
    stop: TaskStopped | None = None

    def __init__(self) -> None:
        self.points: list[RawPoint] = []
        self.artifacts: dict[str, str] = {}

    def report(self, point: RawPoint) -> None:
        self.points.append(point)

    def artifact(self, name: str, meta: str, checkpoint: int | None = None) -> None:
        self.artifacts[name] = meta

    def unlink(self, names: Sequence[str]) -> None:
        for name in names:
            self.artifacts.pop(name, None)

    def waits(self, error: Exception, seconds: float) -> None:
        pass

    def pass_on(self, message: Message) -> None:
        pass

    def parameters(self, values: Mapping[str, Any]) -> None:
        pass

    def configuration(self, name: str, stored: Mapping[str, Any]) -> None:
        pass

    def log(self, text: str) -> None:
        pass

    def scalars(self) -> dict[str, Summary]:
        found: dict[str, Summary] = {}
        for title, series, value, iteration, _ in self.points:
            key = metric_key(title, series)
            found[key] = found.get(key, Summary.of(title, series)).add(value, iteration)
        return found

    def series(self) -> dict[str, list[tuple[int, float, float]]]:
        found: dict[str, list[tuple[int, float, float]]] = {}
        for title, series, value, iteration, at in self.points:
            found.setdefault(metric_key(title, series), []).append((iteration, value, at))
        return found

    def mark(self, status: Status, reason: str) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def check_stop(self) -> None:
        pass


class ChannelSession:
    """A task under a worker, or another program's task that this process is a child of.

    Thread-safe. `report` appends to a list and returns; a thread sends what has gathered every `BATCH_S`.
    It begins with the first report and ends with `close`.

    Args:
        at_once: send each report before `report` returns: a child may end without notice.
    """

    def __init__(self, endpoint: Endpoint, *, at_once: bool = False) -> None:
        self._at_once = at_once
        self._endpoint = endpoint
        self._pending: deque[RawPoint] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._sender: threading.Event | None = None
        """Ends the thread that sends; None while there is none."""
        self._stop: TaskStopped | None = None
        self._answers: dict[int, Message] = {}
        self._answered = threading.Condition()
        self._number = 0
        self._pid = os.getpid()
        self.on_stop: Callable[[], None] | None = None

    def _is_copy(self) -> bool:
        """Whether this process was forked from the task's: it has neither our threads nor our answers."""
        return os.getpid() != self._pid

    def report(self, point: RawPoint) -> None:
        if self._stop is not None:
            raise self._stop
        if self._at_once or self._is_copy():
            self._endpoint.send({"op": "points", "points": [point]})
            return
        self._pending.append(point)
        if not self._wake.is_set():
            self._wake.set()
            if self._sender is None:
                self._start_sender()

    def _start_sender(self) -> None:
        with self._lock:
            if self._sender is None:
                self._sender = threading.Event()
                signals = (self._wake, self._sender)
                threading.Thread(
                    target=self._send_loop, args=signals, name="optuna-rq-sender", daemon=True
                ).start()

    def _send_loop(self, wake: threading.Event, over: threading.Event) -> None:
        while not self._endpoint.closed:
            wake.wait()
            if over.wait(BATCH_S):
                return
            wake.clear()
            self.flush()

    def close(self) -> None:
        """Send what is left, and end the thread; a later report starts another."""
        if self._is_copy():
            return
        with self._lock:
            over, self._sender = self._sender, None
            wake, self._wake = self._wake, threading.Event()
        if over is not None:
            over.set()
            wake.set()
        self.flush()

    def flush(self) -> None:
        if self._is_copy():
            return  # what is pending is the parent's
        with self._lock:
            pending = self._pending
            points = [pending.popleft() for _ in range(len(pending))]
            if points:
                self._endpoint.send({"op": "points", "points": points})

    def artifact(self, name: str, meta: str, checkpoint: int | None = None) -> None:
        about = {} if checkpoint is None else {"checkpoint": checkpoint, "at": STEADY.now()}
        # What was reported before a checkpoint is part of it.
        self.flush()
        self._record({"op": "artifact", "name": name, "meta": meta, **about})

    def unlink(self, names: Sequence[str]) -> None:
        self._record({"op": "unlink", "names": list(names)})

    def _record(self, message: Message) -> None:
        error = self._request(message).get("error")
        if error:
            raise self._stop or TaskStopped("worker_lost", str(error))

    def waits(self, error: Exception, seconds: float) -> None:
        fault = fault_of(error)
        if fault:
            about = [fault.reason_class.value, fault.lacking.value, fault.place]
            self.pass_on({"op": "waits", "fault": about, "reason": fault.reason, "seconds": seconds})

    def pass_on(self, message: Message) -> None:
        self._endpoint.send(message)

    def parameters(self, values: Mapping[str, Any]) -> None:
        self._endpoint.send({"op": "parameters", "values": dict(values)})

    def configuration(self, name: str, stored: Mapping[str, Any]) -> None:
        pass  # the base task has it, and what a job changes of it is in its parameters

    def log(self, text: str) -> None:
        if self._at_once:
            self._endpoint.send({"op": "log", "text": text})  # a slot reads what its program prints

    def scalars(self) -> dict[str, Summary]:
        found = self._ask("scalars")
        return {key: Summary.from_list(data) for key, data in found.items()}

    def series(self) -> dict[str, list[tuple[int, float, float]]]:
        found = self._ask("series")
        return {key: [(int(i), float(v), float(at)) for i, v, at in rows] for key, rows in found.items()}

    def mark(self, status: Status, reason: str) -> None:
        self.flush()
        self._endpoint.send({"op": "mark", "status": status.value, "reason": reason})

    def _ask(self, what: str) -> dict[str, Any]:
        self.flush()
        found: dict[str, Any] = self._request({"op": "ask", "what": what}).get("data") or {}
        return found

    def _request(self, message: Message) -> Message:
        """Send a message that the slot answers; returns the answer, none in a forked process."""
        if self._is_copy():
            # The answer reaches the parent, which passes it over.
            self._endpoint.send({**message, "id": -os.getpid()})
            return {}
        with self._answered:
            self._number += 1
            number = self._number
        gone = "the program that runs the task has ended" if self._at_once else "the worker is gone"
        if not self._endpoint.send({**message, "id": number}):
            raise self._stop or TaskStopped("worker_lost", gone)
        with self._answered:
            while number not in self._answers:
                if self._endpoint.closed:
                    raise self._stop or TaskStopped("worker_lost", gone)
                self._answered.wait(0.5)
            return self._answers.pop(number)

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
        elif op == "answer":
            number = int(message["id"])
            if number > 0:
                with self._answered:
                    self._answers[number] = message
                    self._answered.notify_all()


def stopped(message: Message) -> TaskStopped:
    """The exception for a stop message."""
    reason_class, reason = str(message.get("class", "user")), str(message.get("reason", ""))
    if reason_class == "pruned":
        return TaskPruned(reason)
    return TaskStopped(reason_class, reason)


def describe(task: Any) -> Message:
    """The description of a task that its program gets, from a `TaskRecord`."""
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
        "searched": list(task.spec.searched),
        "metrics": [metric.key for metric in task.spec.metrics],
        "artifacts": task.spec.artifacts,
        "tags": list(task.all_tags),
        "configurations": task.spec.configurations,
        "queue": task.spec.queue,
        "task_type": task.spec.task_type,
        "seed": task.seed,
        **({"confirms": task.spec.confirms} if task.spec.confirms else {}),
    }
