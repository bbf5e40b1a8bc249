"""Weathers what a loop can't do without: Redis, Optuna's storage, the lease on its study.

Each is waited for, however long it takes, until somebody interrupts the search.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from controller.loop.context import StudyLease
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.observer import LEASE, REDIS, STORAGE, Observer
from controller.loop.state import Requests
from controller.search.search import Search
from worker.protocol.connection import can_pass, trouble
from worker.protocol.errors import NoSuchTask, StorageUnavailable
from worker.protocol.study_log import LogKind

RETRY_S = 0.5
"""Pause before a step that Redis cut short is tried again, in seconds."""


class Outages:
    """Runs the loop's steps through outages. Used by the loop's thread only.

    Args:
        restore_lost: writes what Redis has lost again; False when nothing is missing.
        poll_soon: has all records read in the next step.
    """

    def __init__(
        self,
        requests: Requests,
        leases: LeaseMonitor,
        observer: Observer,
        restore_lost: Callable[[], bool],
        poll_soon: Callable[[], None],
    ) -> None:
        self._requests = requests
        self._leases = leases
        self._observer = observer
        self._restore_lost = restore_lost
        self._poll_soon = poll_soon

    def keep_lease(self, lease: StudyLease | None) -> bool:
        """Wait until the study is ours for sure. False once another controller has it, or to stop."""
        told = False
        while lease and not lease.held:
            self._observer.heartbeat(LEASE)
            if lease.lost:
                self._observer.remark(
                    LogKind.TAKEOVER, "another controller has taken over the study; this one ends"
                )
                self._requests.interrupt()
                return False
            if not told:
                self._observer.remark(
                    LogKind.OUTAGE, "this controller's lease on the study has run out; waiting to renew it"
                )
                told = True
            if self._requests.stops:
                return False
            time.sleep(0.2)
        return True

    def survive(self, step: Callable[[], Any]) -> Any:
        """Run a step of the loop; wait for Redis if it is away, and run the step again.

        Where Redis has lost records, they are written first.

        Returns:
            What the step returns; False when the search was interrupted meanwhile.
        """
        away = ""
        while True:
            self._observer.heartbeat(REDIS if away else "")
            try:
                result = step()
            except StorageUnavailable as error:  # it was waited for until the search was interrupted
                self._observer.remark(LogKind.OUTAGE, f"{error}; the next start tells what ended")
                return False
            except NoSuchTask:
                if not self.survive(self._restore_lost):
                    raise
                continue
            except redis.RedisError as error:
                if not can_pass(error):
                    raise
                if trouble(error) != away:
                    away = trouble(error)
                    self._observer.remark(LogKind.OUTAGE, f"{away}; waiting for it")
                if self._requests.interrupted:
                    return False
                time.sleep(RETRY_S)
                continue
            if away:
                self._observer.remark(LogKind.OUTAGE, "Redis is back")
                # Leases could not be renewed meanwhile: their holders get time to do so.
                self._leases.give_time(2)
                self._poll_soon()
            return result

    def wait_for_storage(self, search: Search | None) -> Callable[[], None]:
        """Have each call of Optuna's storage wait while that is locked or away.

        Returns:
            What ends this.
        """
        told = ""

        def waiting(reason: str) -> None:
            nonlocal told
            self._observer.heartbeat(STORAGE)
            if reason != told:
                told = reason
                self._observer.remark(
                    LogKind.OUTAGE, f"Optuna's storage can't be used ({reason}); waiting for it"
                )
            if self._requests.interrupted:
                raise StorageUnavailable(f"Optuna's storage can't be used: {reason}")

        def back() -> None:
            nonlocal told
            told = ""
            self._observer.heartbeat()
            self._observer.remark(LogKind.OUTAGE, "Optuna's storage is back")
            # Events were not read meanwhile; their tasks' leases were renewed all the same.
            self._leases.give_time()

        return search.wait_for_storage(waiting, back) if search is not None else lambda: None
