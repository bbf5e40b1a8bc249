"""Keeps what is worth a line in the study's log, beside the observer that shows it."""

from __future__ import annotations

import logging
from collections import deque

import redis

from controller.loop.budget import Budget
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.observer import REDIS, Observer, OwnWorkers, RunningSearch
from worker.protocol import Store, TaskRecord
from worker.protocol.printable import one_line
from worker.protocol.study_log import LogEntry, LogKind

log = logging.getLogger(__name__)

MOST_WAITING = 500
"""Entries that wait for a Redis that is away; older ones are dropped."""


class LoggedObserver(Observer):
    """Passes on all that happens, and writes each note into the study's log.

    An entry is written with the next heartbeat, so that a note of a Redis that is away doesn't wait for it.

    Args:
        inner: the observer to pass it on to.
        by: ``host:pid`` of this controller.
    """

    def __init__(self, inner: Observer, store: Store, study: str, by: str) -> None:
        self._inner = inner
        self._store = store
        self._study = study
        self._by = by
        self._waiting: deque[LogEntry] = deque(maxlen=MOST_WAITING)

    @property
    def workers(self) -> OwnWorkers | None:  # type: ignore[override] # the inner one has them
        return self._inner.workers

    def note(self, text: str) -> None:
        self.remark(LogKind.NOTE, text)

    def remark(self, kind: LogKind, text: str) -> None:
        self._inner.note(text)
        self.log(kind, text)

    def log(self, kind: LogKind, text: str) -> None:
        entry = LogEntry(at=self._store.clock.now(), kind=kind.value, text=one_line(text), by=self._by)
        self._waiting.append(entry)

    def heartbeat(self, waits_for: str = "") -> None:
        self._inner.heartbeat(waits_for)
        if self._waiting and waits_for != REDIS:
            self._write()

    def begin(self, search: RunningSearch) -> None:
        self._inner.begin(search)

    def end(self) -> None:
        self._write()
        self._inner.end()

    def known(self, record: TaskRecord) -> None:
        self._inner.known(record)

    def launched(self, job: Job) -> None:
        self._inner.launched(job)

    def started(self, job: Job) -> None:
        self._inner.started(job)

    def reported(self, job: Job) -> None:
        self._inner.reported(job)

    def ended(self, job: Job) -> None:
        self._inner.ended(job)

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        self._inner.tick(budget, fleet, running)

    def _write(self) -> None:
        """Write what waits, in order. A Redis that takes nothing now gets it later."""
        try:
            while self._waiting:
                self._store.study_log.add(self._study, self._waiting[0])
                self._waiting.popleft()
        except redis.RedisError as error:
            log.debug("study %s: its log was not written: %s", self._study, error)
