"""What a worker says of itself: whether it lives, whether it takes jobs, and its metrics.

The daemon's loop hands over how it stands at each turn; the server's threads only read that. Nothing here
asks Redis, so that a worker's scrapes and probes cost it nothing.
"""

from __future__ import annotations

import math
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.health.address import Address
from worker.health.attempts import DROPPED, HANDED_BACK, LOST, REQUEUED
from worker.health.server import Answer, HealthServer
from worker.process.channel import Lines, Message
from worker.protocol.gpu_status import GB, GpuStatus
from worker.protocol.status import Reason, Status
from worker.version import __version__

STALE_S = 30.0
"""A loop that has not turned for so long, in seconds, is taken for stuck."""
DURATIONS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000, 86400)
"""Buckets for how long an attempt or a trial takes, in seconds: from nothing to a day."""


@dataclass(frozen=True, kw_only=True)
class State:
    """How a worker stands after a turn of its loop."""

    slots_up: int
    redis_up: bool
    """Whether the last that was said to Redis has arrived there."""
    registered_at: float
    """Monotonic time of the last write of the worker's registration; NaN before the first."""
    draining: bool
    paused: bool
    """It takes no jobs for a while: all has failed at once here, or its machine has a fault."""


class Monitoring:
    """Serves a worker's health and metrics from when it is made until `close`.

    `turn`, `slot_ended` and `close` are called by the daemon's loop.

    Raises:
        BadInput: it can't listen there.
    """

    def __init__(
        self, address: Address, name: str, slots: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = monotonic
        self._born = self._turned = monotonic()
        self._state: State | None = None
        self._busy: set[int] = set()
        self._lines: dict[int, Lines] = {}
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._count(self.registry, name, slots)
        self.gpus: Sequence[GpuStatus] = ()
        """How the worker's devices stand; set by the daemon's loop."""
        self.registry.register(_Gpus(name, lambda: self.gpus))
        self._server = HealthServer(address, self.registry, {"/livez": self.live, "/readyz": self.ready})
        self._server.start()

    def _count(self, registry: CollectorRegistry, name: str, slots: int) -> None:
        def gauge(metric: str, text: str) -> Gauge:
            return Gauge(f"optuna_rq_worker_{metric}", text, ["worker"], registry=registry).labels(name)

        def counter(metric: str, text: str, *labels: str) -> Counter:
            return Counter(f"optuna_rq_worker_{metric}", text, ["worker", *labels], registry=registry)

        info = Gauge(
            "optuna_rq_worker_info",
            "Always 1; the versions are in its labels.",
            ["worker", "version", "python"],
            registry=registry,
        )
        info.labels(name, __version__, platform.python_version()).set(1)
        gauge("uptime_seconds", "Seconds since the worker began.").set_function(
            lambda: self._now() - self._born
        )
        gauge("slots", "Slots that the worker is to have.").set(slots)
        gauge("slots_up", "Slots whose process is there.").set_function(lambda: self._seen("slots_up"))
        gauge("slots_busy", "Slots that run an attempt.").set_function(lambda: len(self._busy))
        gauge("redis_up", "1 while Redis can be reached, else 0.").set_function(
            lambda: self._seen("redis_up")
        )
        gauge("draining", "1 once the worker was told to end, else 0.").set_function(
            lambda: self._seen("draining")
        )
        gauge(
            "paused",
            "1 while no jobs are taken: all has failed at once here, or the machine has a fault; else 0.",
        ).set_function(lambda: self._seen("paused"))
        gauge(
            "heartbeat_age_seconds",
            "Seconds since the worker last wrote its registration to Redis; it lives 15 s there.",
        ).set_function(lambda: self._now() - self._state.registered_at if self._state else math.nan)
        started = counter("attempts_started", "Attempts begun.")
        self._ended = counter("attempts_ended", "Attempts ended, by outcome and reason.", "outcome", "reason")
        refused = counter("jobs_refused", "Jobs taken off the queue that this worker may not run.")
        restarts = counter("slot_restarts", "Slots that ended without being told to, and were started again.")
        self._started, self._refused, self._restarts = (
            metric.labels(name) for metric in (started, refused, restarts)
        )
        self._duration = Histogram(
            "optuna_rq_worker_attempt_duration_seconds",
            "How long attempts take, with starting and ending their programs.",
            ["worker"],
            buckets=DURATIONS_S,
            registry=registry,
        ).labels(name)
        self._name = name
        for outcome, reason in _outcomes():
            self._ended.labels(name, outcome, reason)

    def _seen(self, field: str) -> float:
        return float(getattr(self._state, field)) if self._state else 0.0

    # Told by the daemon

    def turn(self, wakes: Mapping[int, socket.socket], **state: Any) -> None:
        """The loop has turned.

        Args:
            wakes: number of each slot that is up → the daemon's end of its socket, where it tells of its
                attempts.
            state: the other fields of `State`.
        """
        for number, wake in wakes.items():
            self._hear(number, wake)
        self._state, self._turned = State(slots_up=len(wakes), **state), self._now()

    def slot_ended(self, number: int, wake: socket.socket) -> None:
        """A slot's process has ended; an attempt that it still ran is lost with it."""
        self._hear(number, wake)
        self._lines.pop(number, None)
        if number in self._busy:
            self._take(number, {"op": "ended", "outcome": LOST, "reason": ""})

    def slot_restarts(self) -> None:
        """A slot is started again."""
        self._restarts.inc()

    def close(self) -> None:
        self._server.close()

    def _hear(self, number: int, wake: socket.socket) -> None:
        lines = self._lines.setdefault(number, Lines())
        while True:
            try:
                data = wake.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            for message in lines.feed(data):
                self._take(number, message)

    def _take(self, number: int, message: Message) -> None:
        op = message.get("op")
        if op == "began":
            self._busy.add(number)
            self._started.inc()
        elif op == "ended":
            self._busy.discard(number)
            self._ended.labels(self._name, str(message["outcome"]), str(message["reason"])).inc()
            if "seconds" in message:
                self._duration.observe(float(message["seconds"]))
        elif op == "refused":
            self._refused.inc()

    # Asked by the server

    def live(self) -> Answer:
        """Whether the loop turns."""
        age = self._now() - self._turned
        return Answer(age < STALE_S, "alive" if age < STALE_S else f"the loop has not turned for {age:.0f} s")

    def ready(self) -> Answer:
        """Whether it takes jobs."""
        state = self._state
        if state is None:
            return Answer(False, "starting")
        if state.draining:
            return Answer(False, "draining: it was told to end")
        if not state.redis_up:
            return Answer(False, "Redis is away")
        if not state.slots_up:
            return Answer(False, "no slot is up")
        if state.paused:
            return Answer(False, "paused: all has failed at once here, or its machine has a fault")
        return Answer(True, f"ready: {state.slots_up} slot(s), {len(self._busy)} busy")


class _Gpus(Collector):
    """A collector of prometheus_client's. What the driver doesn't tell is left out."""

    def __init__(self, worker: str, gpus: Callable[[], Sequence[GpuStatus]]) -> None:
        self._worker = worker
        self._gpus = gpus

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for name, text, value in _OF_GPUS:
            family = GaugeMetricFamily(f"optuna_rq_worker_gpu_{name}", text, labels=["worker", "gpu", "name"])
            for gpu in self._gpus():
                found = value(gpu)
                if found is not None:
                    family.add_metric([self._worker, gpu.number, gpu.name], found)
            yield family


_OF_GPUS: tuple[tuple[str, str, Callable[[GpuStatus], float | None]], ...] = (
    ("up", "1 while this GPU of the worker's answers, 0 once it is lost.", lambda gpu: float(not gpu.lost)),
    (
        "utilization_ratio",
        "Part of the time in which something ran on the GPU, from 0 to 1.",
        lambda gpu: None if gpu.utilization is None else gpu.utilization / 100,
    ),
    (
        "memory_used_bytes",
        "Memory of the GPU that is taken, by all processes.",
        lambda gpu: None if gpu.used is None else gpu.used * GB,
    ),
    ("memory_bytes", "Memory of the GPU.", lambda gpu: None if gpu.total is None else gpu.total * GB),
    ("temperature_celsius", "Temperature of the GPU.", lambda gpu: gpu.temperature),
    ("power_watts", "Power that the GPU takes.", lambda gpu: gpu.power),
)
"""End of the metric's name, description, and where it is in `GpuStatus`."""


def _outcomes() -> list[tuple[str, str]]:
    """All ends of an attempt, so that each is shown from the beginning, as 0."""
    found = [(Status.COMPLETED.value, ""), (DROPPED, ""), (LOST, ""), (REQUEUED, HANDED_BACK)]
    for reason in Reason:
        found.append((reason.status.value, reason.value))
        if reason.status is Status.FAILED:
            found.append((REQUEUED, reason.value))
    return found
