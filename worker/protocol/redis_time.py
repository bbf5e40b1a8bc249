"""Redis' clock, which all machines of a study share."""

from __future__ import annotations

import time
from typing import Any

import redis

SKEW_S = 60.0
"""Difference from Redis' clock above which `trouble` warns, in seconds."""


class RedisTime:
    """Redis' clock: this machine's monotonic one and the difference between both, measured now and then.

    This machine's own time of day plays no part, unless Redis could not be asked yet.

    Args:
        client: a redis-py client.
    """

    AGAIN_S = 600.0
    """Time between two measurements, in seconds."""
    AWAY_S = 10.0
    """Time until the next one after one that has failed, in seconds."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._ahead_s: float | None = None
        """How far Redis' clock is ahead of the monotonic one, as last measured."""
        self._measure_at = 0.0

    def now(self) -> float:
        """Seconds since the epoch; as far as is known while Redis is away."""
        if time.monotonic() >= self._measure_at:
            self._measure()
        if self._ahead_s is None:
            return time.time()
        return time.monotonic() + self._ahead_s

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, by this machine."""
        return time.monotonic()

    def _measure(self) -> None:
        before = time.monotonic()
        try:
            seconds, micros = self._client.time()
        except redis.RedisError:
            self._measure_at = time.monotonic() + self.AWAY_S
            return
        after = time.monotonic()
        self._ahead_s = seconds + micros / 1e6 - (before + after) / 2
        self._measure_at = after + self.AGAIN_S

    def skew_s(self) -> float:
        """How far Redis' clock is ahead of this machine's, in seconds."""
        return self.now() - time.time()

    def trouble(self) -> str:
        """A warning about the difference; empty if it is small."""
        skew = self.skew_s()
        if abs(skew) <= SKEW_S:
            return ""
        way = "behind" if skew > 0 else "ahead of"
        return f"this machine's clock is {abs(skew):.0f} s {way} Redis': times will look wrong; set it (NTP)"
