"""Redis' clock, which all machines of a study share."""

from __future__ import annotations

import time
from typing import Any

import redis

SKEW_S = 60.0
"""Difference from Redis' clock above which `trouble` warns, in seconds."""


class RedisTime:
    """Redis' clock, by this machine's and the difference between both, measured now and then.

    Args:
        client: a redis-py client.
    """

    AGAIN_S = 600.0
    """Time between two measurements, in seconds."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._skew_s = 0.0
        self._measure_at = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.skew_s()

    def skew_s(self) -> float:
        """How far Redis' clock is ahead of this machine's, in seconds; as last known while it is away."""
        if time.monotonic() >= self._measure_at:
            try:
                before = time.time()
                seconds, micros = self._client.time()
            except redis.RedisError:
                return self._skew_s
            self._skew_s = seconds + micros / 1e6 - (before + time.time()) / 2
            self._measure_at = time.monotonic() + self.AGAIN_S
        return self._skew_s

    def trouble(self) -> str:
        """A warning about the difference; empty if it is small."""
        skew = self.skew_s()
        if abs(skew) <= SKEW_S:
            return ""
        way = "behind" if skew > 0 else "ahead of"
        return f"this machine's clock is {abs(skew):.0f} s {way} Redis': times will look wrong; set it (NTP)"
