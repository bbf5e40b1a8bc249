"""The session of a child process: what it reports goes to its parent's task."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.process.channel import Message
from worker.protocol.metrics import Summary
from worker.protocol.status import Status
from worker.sdk.exceptions import TaskStopped
from worker.sdk.session import LocalSession, RawPoint, Session

log = logging.getLogger(__name__)


class JoinedSession:
    """A session that a forked process gets for its parent's: it connects with its first report.

    Args:
        connect: gives a session of this process' own; None where the parent has ended.
        before: the parent's, of which no more than the stop request is looked at.
    """

    def __init__(self, connect: Callable[[], Session | None], before: Session) -> None:
        self._connect = connect
        self._before = before
        self._own: Session | None = None
        self._lock = threading.Lock()
        self.on_stop: Callable[[], None] | None = None

    @property
    def _session(self) -> Session:
        with self._lock:
            if self._own is None:
                self._own = self._connect()
                if self._own is None:
                    log.warning(
                        "the program that runs this task has ended: what process %d reports is lost",
                        os.getpid(),
                    )
                    self._own = LocalSession()
                self._own.on_stop = self.on_stop
            return self._own

    @property
    def stop(self) -> TaskStopped | None:
        return self._before.stop if self._own is None else self._own.stop

    def report(self, point: RawPoint) -> None:
        self._session.report(point)

    def artifact(self, name: str, meta: str, checkpoint: int | None = None) -> None:
        self._session.artifact(name, meta, checkpoint)

    def unlink(self, names: Sequence[str]) -> None:
        self._session.unlink(names)

    def waits(self, error: Exception, seconds: float) -> None:
        self._session.waits(error, seconds)

    def pass_on(self, message: Message) -> None:
        self._session.pass_on(message)

    def parameters(self, values: Mapping[str, Any]) -> None:
        self._session.parameters(values)

    def configuration(self, name: str, stored: Mapping[str, Any]) -> None:
        self._session.configuration(name, stored)

    def log(self, text: str) -> None:
        self._session.log(text)

    def scalars(self) -> dict[str, Summary]:
        return self._session.scalars()

    def series(self) -> dict[str, list[tuple[int, float, float]]]:
        return self._session.series()

    def mark(self, status: Status, reason: str) -> None:
        self._session.mark(status, reason)

    def flush(self) -> None:
        if self._own is not None:
            self._own.flush()

    def close(self) -> None:
        self.flush()

    def check_stop(self) -> None:
        if self.stop is not None:
            raise self.stop
