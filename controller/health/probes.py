"""Whether a controller lives, and whether it acts on its study: what /livez and /readyz answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from controller.health.redis_metrics import RedisMetrics, Seen
from controller.loop.observer import STORAGE
from controller.session.lock import StudyLock
from worker.health.server import Answer

STALE_S = 30.0
"""Seconds after which a loop that has not turned counts as stuck."""
PATIENCE_S = 600.0
"""The same while it starts, stands by, asks the sampler, writes to the storage or ends, which may be slow."""


class Health:
    """Records that the controller's loop turns, and answers the probes. Safe from any thread."""

    def __init__(self, study: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._study = study
        self._now = monotonic
        self._turned = monotonic()
        self._patience_s = PATIENCE_S
        self._waits_for = ""
        self.lock: StudyLock | None = None
        self.redis: RedisMetrics | None = None
        self.begun = self.over = False
        """Whether the loop was begun, and whether it has ended."""
        self.stands_by = False
        """Whether another controller had the study when this one came."""

    def heartbeat(self, waits_for: str = "") -> None:
        """The loop turns, or waits for a server: one that `controller.loop.observer` names."""
        self._turned, self._patience_s, self._waits_for = self._now(), STALE_S, waits_for

    @contextmanager
    def at_length(self) -> Iterator[None]:
        """A context in which the loop may not turn for `PATIENCE_S`."""
        self.long()
        try:
            yield
        finally:
            self.heartbeat()

    def long(self) -> None:
        """The loop may not turn for `PATIENCE_S`."""
        self._turned, self._patience_s = self._now(), PATIENCE_S

    @property
    def age_s(self) -> float:
        """Seconds since the loop last turned."""
        return self._now() - self._turned

    @property
    def acting(self) -> bool:
        """Whether it holds the lease on the study."""
        return self.lock is not None and self.lock.held

    @property
    def storage_up(self) -> bool:
        """Whether Optuna's storage could be used when the loop last used it."""
        return self._waits_for != STORAGE

    def seen(self) -> Seen:
        """The latest reading of Redis; an empty one if there is no Redis yet."""
        return self.redis.seen() if self.redis else Seen()

    def live(self) -> Answer:
        """Whether the loop turns; one that waits for a Redis that is away does."""
        age, patience = self.age_s, self._patience_s
        if age >= patience and self.redis:
            self.redis.seen()
            # A command to a Redis that doesn't answer takes a while to fail.
            age = min(age, self._now() - self.redis.away_at)
        if age < patience:
            return Answer(True, "alive")
        return Answer(False, f"the loop has not turned for {self.age_s:.0f} s")

    def ready(self) -> Answer:
        """Whether it acts on its study with every server it needs, or stands by, ready to act."""
        if self.over:
            return Answer(False, "ended")
        if self.lock is None or not (self.begun or (self.stands_by and not self.lock.held)):
            return Answer(False, "starting")
        if not self.seen().up:
            return Answer(False, "Redis is away")
        if self.begun and not self.lock.held:
            return Answer(False, "its lease on the study has run out, or another controller has it")
        if not self.begun:
            return Answer(True, f"standing by: another controller acts on study {self._study}")
        if self._waits_for:
            return Answer(False, f"waiting for {self._waits_for}")
        return Answer(True, f"acts on study {self._study}")
