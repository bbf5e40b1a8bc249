"""The session of a standalone program: without a worker, it writes to the store itself."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import redis

from worker.process.channel import Message
from worker.protocol.checkpoint import with_resume_point
from worker.protocol.clock import STEADY
from worker.protocol.errors import TransitionRefused
from worker.protocol.metrics import Summary
from worker.protocol.record import TaskRecord
from worker.protocol.status import Reason, Status
from worker.protocol.stop_request import StopRequest
from worker.protocol.store import Store
from worker.sdk.exceptions import TaskPruned, TaskStopped
from worker.sdk.reporter import Reporter, point_from
from worker.sdk.session import BATCH_S, RawPoint

log = logging.getLogger(__name__)

LEASE_S = 30.0
"""A program that has not been heard of for so long is taken for dead, in seconds."""
RENEW_S = 5.0
"""Between two renewals of the lease, which also show stop requests, in seconds."""


class StandaloneSession:
    """Reports of the task that this process runs. Thread-safe; a thread writes what has gathered.

    A process forked from this one keeps silent: the task is its parent's, which hears it (`Members`).

    Args:
        record: as `Transitions.start` returned it.

    Attributes:
        gather: takes what children of this process have said until now.
    """

    gather: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, store: Store, record: TaskRecord) -> None:
        self._store = store
        self._record = record
        self._reporter = Reporter(store, record, time.monotonic)
        self._pending: deque[RawPoint] = deque()
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._pid = os.getpid()
        self._started = time.monotonic()
        self._ended = False
        self.stop: TaskStopped | None = None
        self.on_stop: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._write, name="optuna-rq-sender", daemon=True)
        self._thread.start()

    # The session's side, see `worker.sdk.session.Session`

    def report(self, point: RawPoint) -> None:
        if self.stop is not None:
            raise self.stop
        self._pending.append(point)
        if not self._wake.is_set():
            self._wake.set()

    def artifact(self, name: str, meta: str, checkpoint: int | None = None) -> None:
        if checkpoint is not None:
            self.gather()
            with self._lock:
                self._write_out()
                meta = with_resume_point(meta, checkpoint, STEADY.now(), self._reporter.summaries())
        self._store.artifacts.add(self._record.id, self._record.attempt, name, meta)

    def unlink(self, names: Sequence[str]) -> None:
        self._store.artifacts.remove(self._record.id, self._record.attempt, names)

    def waits(self, error: Exception, seconds: float) -> None:
        pass  # it has said so itself

    def pass_on(self, message: Message) -> None:
        pass  # there is no slot

    def parameters(self, values: Mapping[str, Any]) -> None:
        def change(old: TaskRecord) -> TaskRecord:
            return replace(old, spec=replace(old.spec, parameters={**old.spec.parameters, **values}))

        self._edit(change)

    def configuration(self, name: str, stored: Mapping[str, Any]) -> None:
        def change(old: TaskRecord) -> TaskRecord:
            known = {**old.spec.configurations, name: dict(stored)}
            return replace(old, spec=replace(old.spec, configurations=known))

        self._edit(change)

    def _edit(self, change: Callable[[TaskRecord], TaskRecord]) -> None:
        if os.getpid() == self._pid:
            self._store.tasks.edit(self._record.id, change)

    def log(self, text: str) -> None:
        if os.getpid() == self._pid:
            with self._lock:
                self._reporter.write(text.encode("utf-8", "replace") + b"\n")
            self._wake.set()

    def scalars(self) -> dict[str, Summary]:
        self.flush()
        return self._store.reports.scalars([self._record.id])[0]

    def series(self) -> dict[str, list[tuple[int, float, float]]]:
        self.flush()
        return self._store.reports.series(self._record.id)

    def mark(self, status: Status, reason: str) -> None:
        reason_class = {Status.FAILED: Reason.OBJECTIVE_ERROR, Status.STOPPED: Reason.USER}.get(status)
        self.end(status, reason_class, reason)

    def close(self) -> None:
        self.end(Status.COMPLETED)

    def flush(self) -> None:
        if os.getpid() == self._pid:
            self.gather()
            self._write_out()

    def _write_out(self) -> None:
        with self._lock:
            for _ in range(len(self._pending)):
                point = point_from(self._pending.popleft())
                if point:
                    self._reporter.add(point)
            if self._reporter.due is not None:
                self._reporter.flush()
            self._notice()

    def check_stop(self) -> None:
        if self.stop is not None:
            raise self.stop

    # The end

    def end(
        self, status: Status, reason_class: Reason | None = None, reason: str = "", error: str = ""
    ) -> None:
        """Write what is left, then how the task has ended; once. Never raises for a Redis that is away."""
        if os.getpid() != self._pid:
            return
        self.gather()
        with self._lock:
            if self._ended:
                return
            self._write_out()
            self._ended = True
            self._wake.set()
            try:
                self._store.transitions.finish(
                    self._record.id,
                    self._record.attempt,
                    status,
                    worker=self._record.worker,
                    reason_class=reason_class,
                    reason=reason,
                    error=error,
                    compute_s=time.monotonic() - self._started,
                )
            except (TransitionRefused, redis.RedisError) as problem:
                log.warning("task %s: its end was not recorded: %s", self._record.id, problem)

    def hand_over(self, reason: str) -> TaskRecord:
        """End this execution and queue the task for another one; returns the record, yet to be enqueued."""
        self.gather()
        with self._lock:
            self._write_out()
            self._ended = True
            self._wake.set()
            spent = time.monotonic() - self._started
            return self._store.transitions.requeue(
                self._record.id, self._record.attempt, reason=reason, compute_s=spent, handed_back=True
            )

    # The thread

    def _write(self) -> None:
        next_renewal = time.monotonic() + RENEW_S
        while not self._ended:
            self._wake.wait(max(0.0, next_renewal - time.monotonic()))
            if self._ended or os.getpid() != self._pid:
                return
            if self._wake.is_set():
                time.sleep(BATCH_S)
                self._wake.clear()
                self._write_out()
            if time.monotonic() >= next_renewal:
                next_renewal = time.monotonic() + RENEW_S
                with self._lock:
                    self._reporter.renew()
                self._write_out()  # also what a Redis that was away has left

    def _notice(self) -> None:
        """Turn what the store says into what the program is told."""
        if self.stop is not None:
            return
        if self._reporter.stale and not self._ended:
            self.stop = TaskStopped("worker_lost", "the task is no longer this program's")
        elif self._reporter.stop:
            self.stop = as_exception(self._reporter.stop)
        if self.stop is not None and self.on_stop:
            threading.Thread(target=self.on_stop, name="optuna-rq-abort", daemon=True).start()


def as_exception(request: StopRequest) -> TaskStopped:
    """A stop request as what a program sees."""
    if request.reason_class is Reason.PRUNED:
        return TaskPruned(request.reason)
    return TaskStopped(request.reason_class.value, request.reason)
