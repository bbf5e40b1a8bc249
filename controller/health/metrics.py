"""A controller's metrics: counted on the loop's events, or computed for each scrape by `Gauges`.

They cost the loop a few additions per trial.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from controller.health.gauges import ENDS, Gauges, end_of
from controller.health.probes import Health
from controller.health.redis_metrics import RedisMetrics
from controller.loop.observer import Observer, OwnWorkers
from controller.search.search import Asked, Search
from worker.health.address import parse_address
from worker.health.server import HealthServer
from worker.protocol import Status, TaskRecord

if TYPE_CHECKING:
    from controller.loop.backend import Backend
    from controller.loop.budget import Budget
    from controller.loop.fleet import Fleet
    from controller.loop.job import Job
    from controller.loop.observer import RunningSearch
    from controller.session.lock import StudyLock

_SHORT_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_WAITS_S = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60, 600, 3600, 36000)
_DURATIONS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000, 86400)


class Meter(Observer):
    """Counts the loop's events, passes them on to the view, and serves health and metrics until `close`.

    Args:
        port: where to listen, as ``[HOST:]PORT``.
        study: name of the study.
        view: gets every event of the loop as well.

    Raises:
        BadInput: `port` isn't one, or it can't be listened on.
    """

    def __init__(self, port: str, study: str, view: Observer) -> None:
        self._study = study
        self._view = view
        self.health = Health(study)
        self._gauges = Gauges(study, self.health)
        self._known: set[str] = set()
        """Tasks that had ended before this controller began."""
        self._slots: dict[str, float] = {}
        """Slot → end of its last task of this study, in seconds since the epoch."""
        self._workers: list[str] = []
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._make_counters()
        self.registry.register(self._gauges)
        probes = {"/livez": self.health.live, "/readyz": self.health.ready}
        self._server = HealthServer(parse_address(port), self.registry, probes)
        self._server.start()

    def close(self) -> None:
        self._server.close()

    def watch(self, backend: Backend, lock: StudyLock, queue: str) -> None:
        """Take the Redis to read for each scrape, and the lease on the study."""
        self.health.redis = RedisMetrics(
            backend.redis_url, self._study, queue, backend.launcher.key(queue), self._position
        )
        self.health.lock = lock

    def _position(self) -> str:
        search = self._gauges.search
        return search.events_position if search else ""

    def _make_counters(self) -> None:
        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(
                f"optuna_rq_{name}", text, ["study", *labels], buckets=buckets, registry=self.registry
            )

        self._told = Counter(
            "optuna_rq_trials_told",
            "Trials that this controller has told Optuna the end of, by their task's status and reason.",
            ["study", "status", "reason"],
            registry=self.registry,
        )
        for status, reason in ENDS:
            self._told.labels(self._study, status, reason)
        self._queue_wait = histogram(
            "queue_wait_seconds",
            "From a task's job being put on the queue until the controller knows that it runs.",
            _WAITS_S,
        ).labels(self._study)
        self._duration = histogram(
            "trial_duration_seconds",
            "How long ended trials have computed, over all their attempts.",
            _DURATIONS_S,
            "status",
        )
        for status in (Status.COMPLETED, Status.FAILED, Status.STOPPED):
            self._duration.labels(self._study, status.value)
        self._ask = histogram(
            "sampler_ask_seconds", "Asking the sampler for a trial's parameters.", _SHORT_S
        ).labels(self._study)
        self._flush = histogram(
            "storage_flush_seconds",
            "Writing what was asked, told and reported to Optuna's storage.",
            _SHORT_S,
        ).labels(self._study)
        self._turnaround = histogram(
            "slot_turnaround_seconds",
            "From the end of a task of the study to the start of the next one on the same slot.",
            _WAITS_S,
        ).labels(self._study)

    # The search

    def search(self, *args: Any, **options: Any) -> Search:
        """A `Search` with these arguments whose calls to sampler and storage are timed."""
        return TimedSearch(self, *args, **options)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A context that times one call to the sampler, which may take long."""
        with self.health.at_length(), self._ask.time():
            yield

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """A context that times one write to the storage, which may take long."""
        with self.health.at_length(), self._flush.time():
            yield

    # Events of the loop

    @property
    def workers(self) -> OwnWorkers | None:  # type: ignore[override] # the view has them
        return self._view.workers

    def begin(self, search: RunningSearch) -> None:
        self.health.long()
        self._gauges.search = search
        self.health.begun = True
        self._view.begin(search)

    def end(self) -> None:
        self.health.over = True
        self.health.long()
        self._view.end()

    def heartbeat(self, waits_for: str = "") -> None:
        self.health.heartbeat(waits_for)
        self._view.heartbeat(waits_for)

    def known(self, record: TaskRecord) -> None:
        self._known.add(record.id)
        self._gauges.add(record)
        self._view.known(record)

    def launched(self, job: Job) -> None:
        self._view.launched(job)

    def started(self, job: Job) -> None:
        if job.record.queued_at is not None:
            self._queue_wait.observe(max(0.0, job.backend.clock.now() - job.record.queued_at))
        self._view.started(job)

    def reported(self, job: Job) -> None:
        self._view.reported(job)

    def ended(self, job: Job) -> None:
        record = job.record
        status, reason = end_of(record)
        self._told.labels(self._study, status, reason).inc()
        if record.id in self._known:
            self._known.discard(record.id)  # counted, but not told
        else:
            self._gauges.add(record)
        if record.started_at is not None and record.ended_at is not None:
            self._duration.labels(self._study, status).observe(record.compute_s)
            before = self._slots.get(record.worker)
            if before is not None and before <= record.started_at:
                self._turnaround.observe(record.started_at - before)
            self._slots[record.worker] = record.ended_at
        self._view.ended(job)

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        if fleet.workers != self._workers:
            self._workers = fleet.workers
            alive = set(fleet.workers)
            self._slots = {s: at for s, at in self._slots.items() if s.rpartition("/")[0] in alive}
        self._view.tick(budget, fleet, running)

    def note(self, text: str) -> None:
        self._view.note(text)


class TimedSearch(Search):
    """A search that times the sampler and the storage for the meter."""

    def __init__(self, meter: Meter, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._meter = meter

    def _ask_new(self) -> Asked | None:
        with self._meter.asking():
            return super()._ask_new()

    def flush(self) -> dict[int, int]:
        if not self.dirty:
            return super().flush()
        with self._meter.flushing():
            return super().flush()
