"""Fetches a study's code for one attempt, and keeps its lease meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

from worker.protocol.errors import ObjectiveLoadError
from worker.protocol.record import TaskRecord
from worker.sdk.reporter import Reporter
from worker.slot.context import SlotContext
from worker.slot.stopping import SHUTTING_DOWN, Stopping

LOOK_S = 0.2
"""How often it is looked whether the code is still wanted, in seconds."""


class CodeFetch:
    """Fetches in a thread, while this one renews the lease and hears stop requests."""

    def __init__(
        self,
        record: TaskRecord,
        context: SlotContext,
        reporter: Reporter,
        stopping: Stopping,
        monotonic: Callable[[], float],
    ) -> None:
        self._spec = record.spec
        self._context = context
        self._reporter = reporter
        self._stopping = stopping
        self._now = monotonic

    def folder(self, study_store: str | None) -> Path:
        """The folder with the study's code.

        Args:
            study_store: URL of the study's artifact store, where this worker was given another one.

        Raises:
            ObjectiveLoadError: it isn't to be had, or nobody waits for it: then `Stopping.request` says why.
        """
        unwanted, renew_s = threading.Event(), self._spec.lease_s / 3
        next_renewal = self._now() + renew_s

        def waiting() -> None:
            if unwanted.is_set():
                raise ObjectiveLoadError("code: nobody waits for it any more")

        with ThreadPoolExecutor(max_workers=1) as pool:
            stores = (self._spec.artifacts, study_store)
            found = pool.submit(self._context.code.folder, self._spec.code, *stores, waiting=waiting)
            while True:
                with contextlib.suppress(FutureTimeout):
                    folder = found.result(LOOK_S)
                    waiting()
                    return folder
                if self._now() >= next_renewal:
                    self._reporter.renew()
                    next_renewal = self._now() + renew_s
                if self._is_unwanted():
                    unwanted.set()

    def _is_unwanted(self) -> bool:
        stopping, hand_back_at = self._stopping, self._context.hand_back_at()
        if hand_back_at is not None and self._now() >= hand_back_at:
            stopping.hand_back = True
            stopping.request = stopping.request or SHUTTING_DOWN
        stopping.request = stopping.request or self._reporter.stop
        return bool(stopping.request or self._reporter.stale)
