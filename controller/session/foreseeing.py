"""Foresees the end of a study while it runs, beside the loop, and keeps it in the study's record."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any

import redis

from worker.protocol import Store
from worker.protocol.errors import OptunaRQError

FIRST_S = 10.0
"""Seconds after the study's begin at which it is foreseen first: a shorter one needs no forecast."""
SHORTEST_PAUSE_S = 15.0
PAUSE = 50.0
"""Pause until the next forecast, as a multiple of what one costs: a fiftieth of a core at most."""


class Foreseer:
    """A thread that foresees a study from time to time until it is stopped.

    Args:
        first_s: for tests.
    """

    def __init__(self, store: Store, study: str, first_s: float = FIRST_S) -> None:
        self._store = store
        self._study = study
        self._first_s = first_s
        self._over = threading.Event()
        self.kept: Mapping[str, Any] = {}
        """The last forecast, as the study's record has it; see `controller.results.foreseen`."""
        self._thread = threading.Thread(target=self._run, name="foreseer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it. A forecast that is being made is not waited for."""
        self._over.set()

    def _run(self) -> None:
        pause = self._first_s
        while not self._over.wait(pause):
            began = time.thread_time()
            # Redis may be away, or a record unreadable: the loop says so.
            with contextlib.suppress(redis.RedisError, OptunaRQError):
                self.foresee()
            pause = max(SHORTEST_PAUSE_S, PAUSE * (time.thread_time() - began))

    def foresee(self) -> None:
        """Make one forecast, and keep it."""
        from controller.insight.forecast_reading import forecast_study  # noqa: PLC0415 - imports numpy

        kept = forecast_study(self._store, self._study).kept()
        if not self._over.is_set():
            self.kept = kept
            self._store.studies.keep_forecast(self._study, kept)
