"""What a scrape reads from Redis itself: the queue, the workers, the best value, unread events.

The server's threads read it, on a connection of its own, at most once a second; the loop never waits for
that. The cost grows with the number of workers only.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from controller.results.foreseen import Foreseen, foreseen
from worker.protocol import StudyState, keys
from worker.protocol.connection import connect
from worker.protocol.host import PAUSE, REGISTRATION_LIFE_S, busy_slots, held, pause_left, serves
from worker.protocol.worker_registry import MAX_WORKERS, checked_registration

TIMEOUT_S = 1.0
"""Longest wait for one answer, in seconds."""
PAUSE_S = 1.0
"""Shortest time between two readings, in seconds; until then the last one is served."""
WORKER_STATES = ("running", "draining", "paused")


@dataclass(frozen=True, kw_only=True)
class SeenWorker:
    """A live worker of the study's queue."""

    name: str
    slots: int
    busy: int
    """Slots that run something, of any study."""
    state: str
    """One of `WORKER_STATES`."""
    heartbeat_age_s: float | None
    """Seconds since it renewed its registration, by Redis' clock alone; None if this user may not ask."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One reading. A field is None if Redis was away or refused the command."""

    up: bool = False
    queued: int | None = None
    """Jobs on the queue, of any study."""
    lag_s: float | None = None
    """Age in seconds of the oldest event that the loop has not read, by Redis' clock; 0 if there is none."""
    best: float | None = None
    """Score of the best task; smaller is better."""
    workers: tuple[SeenWorker, ...] | None = None
    forecast: Foreseen | None = None
    """When the study ends and what it costs; None before that can be told."""


class RedisMetrics:
    """Reads one study and its queue. Safe from any thread.

    Args:
        queue_key: Redis key of the queue.
        position: returns the id of the last event that the loop has read; empty before the first.
    """

    def __init__(
        self, redis_url: str, study: str, queue: str, queue_key: str, position: Callable[[], str]
    ) -> None:
        self._client = connect(redis_url, patience_s=0, timeout_s=TIMEOUT_S)
        self._study = study
        self._queue = queue
        self._queue_key = queue_key
        self._position = position
        self._lock = threading.Lock()
        self._next = 0.0
        self._seen = Seen()
        self.away_at = float("-inf")
        """Monotonic time at which Redis was last found to be away."""

    def seen(self) -> Seen:
        """A reading at most `PAUSE_S` old."""
        with self._lock:
            if time.monotonic() >= self._next:
                try:
                    self._seen = self._read()
                except redis.RedisError:
                    self._seen = Seen()
                    self.away_at = time.monotonic()
                self._next = time.monotonic() + PAUSE_S
            return self._seen

    def _read(self) -> Seen:
        position = self._position()
        with self._client.pipeline(transaction=False) as pipe:
            pipe.ping()
            pipe.llen(self._queue_key)
            pipe.zrange(keys.rank(self._study), 0, 0, withscores=True)
            pipe.smembers(keys.WORKERS)
            pipe.time()
            pipe.hmget(keys.study(self._study), "forecast", "state")
            if position:
                pipe.xrange(keys.events(self._study), min=f"({position}", count=1)
            # A command that this user may not call leaves its field empty.
            answers = [_unless_refused(answer) for answer in pipe.execute(raise_on_error=False)]
        _, queued, best, names, now, kept, *unread = answers
        return Seen(
            up=True,
            queued=queued,
            best=float(best[0][1]) if best else None,
            workers=self._workers(sorted(names)[:MAX_WORKERS], _seconds(now)) if names is not None else None,
            forecast=_forecast(kept, _seconds(now)),
            lag_s=_age(unread[0], now) if unread else None,
        )

    def _workers(self, names: list[str], now: float) -> tuple[SeenWorker, ...]:
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(keys.worker(name))
                pipe.pttl(keys.worker(name))
            found = [_unless_refused(answer) for answer in pipe.execute(raise_on_error=False)]
        served = [
            _worker(name, registration, left_ms, now)
            for name, registration, left_ms in zip(names, found[::2], found[1::2], strict=True)
            if registration and serves(registration, self._queue)
        ]
        return tuple(worker for worker in served if worker is not None)


def _forecast(kept: Any, now: float) -> Foreseen | None:
    """What the study's record keeps of its forecast, while it runs."""
    if not kept or not kept[0] or kept[1] != StudyState.RUNNING:
        return None
    try:
        found = json.loads(kept[0])
    except ValueError:
        return None
    return foreseen(found, now) if isinstance(found, dict) else None


def _seconds(now: Any) -> float:
    """Redis' time in seconds since the epoch; this machine's where that was not told."""
    return now[0] + now[1] / 1e6 if now else time.time()


def _worker(name: str, registration: Mapping[str, str], left_ms: int | None, now: float) -> SeenWorker | None:
    """A worker from its registration, which expires in `left_ms`; None if that can't be read."""
    checked = checked_registration(name, registration)
    if checked is None or "slots" not in registration:
        return None
    registration = checked
    try:
        paused = pause_left(registration, now) or held(registration) == PAUSE
        state = "paused" if paused else registration.get("state", "")
        return SeenWorker(
            name=name,
            slots=int(registration["slots"]),
            busy=busy_slots(registration),
            state=state if state in WORKER_STATES else "running",
            heartbeat_age_s=None if left_ms is None else max(0.0, REGISTRATION_LIFE_S - left_ms / 1000),
        )
    except (KeyError, ValueError):
        return None


def _unless_refused(answer: Any) -> Any:
    """The answer to one command; None if Redis refused it. Raises an error that means Redis is away."""
    if isinstance(answer, redis.ResponseError):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _age(entries: Any, now: tuple[int, int] | None) -> float | None:
    if entries is None or now is None:
        return None
    if not entries:
        return 0.0
    milliseconds = int(str(entries[0][0]).split("-")[0])
    return max(0.0, now[0] + now[1] / 1e6 - milliseconds / 1000)
