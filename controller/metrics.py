"""The metrics of a controller: counted as the loop tells of what happens, or read when they are asked for.

What the loop is made to do for it are a few additions for each trial; what is read stands in memory, or is
looked at in Redis by another thread (`controller.redis_look`). Nothing grows with the number of ended trials.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily

from controller.budget import Budget, Field
from controller.health import Health
from controller.observer import Observer
from controller.redis_look import RedisLook, Seen
from controller.search import Asked, Search
from worker import __version__
from worker.health.address import parse_address
from worker.health.server import HealthServer
from worker.protocol import OPEN, Reason, Status, StudyState, TaskRecord

if TYPE_CHECKING:
    from controller.backend import Backend
    from controller.fleet import Fleet
    from controller.job import Job
    from controller.local_workers import LocalWorkers
    from controller.lock import StudyLock
    from controller.strategy import SearchStrategy

_SHORT_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_WAITS_S = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60, 600, 3600, 36000)
_DURATIONS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 36000, 86400)
_STATES = tuple(
    value for name, value in vars(StudyState).items() if name.isupper() and isinstance(value, str)
)
_ENDS = ((Status.COMPLETED.value, ""), *((reason.status.value, reason.value) for reason in Reason))
"""Final statuses with the classes of their reasons."""


class Meter(Observer):
    """Counts what it is told, passes it on to the view, and serves health and metrics until `close`.

    Args:
        port: where to listen, as ``[HOST:]PORT``.
        view: whom to pass on to what the loop tells.

    Raises:
        BadInput: it is no port, or nobody can listen there.
    """

    def __init__(self, port: str, study: str, view: Observer) -> None:
        self._study = study
        self._view = view
        self.health = Health(study)
        self._strategy: SearchStrategy | None = None
        self._counts = dict.fromkeys(_ENDS, 0)
        """Ended tasks by status and reason."""
        self._known: set[str] = set()
        """Tasks among them that had ended before this controller began."""
        self._slots: dict[str, float] = {}
        """Slot → when its last task of this study has ended, by its own clock."""
        self._workers: list[str] = []
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._make_counters()
        self._registry.register(self)
        probes = {"/livez": self.health.live, "/readyz": self.health.ready}
        self._server = HealthServer(parse_address(port), self._registry, probes)
        self._server.start()

    def close(self) -> None:
        self._server.close()

    def watch(self, backend: Backend, lock: StudyLock, queue: str) -> None:
        """There is a Redis, and a lease to be had."""
        self.health.look = RedisLook(
            backend.redis_url, self._study, queue, backend.launcher.key(queue), self._position
        )
        self.health.lock = lock

    def _position(self) -> str:
        return self._strategy._monitor.position if self._strategy else ""

    def _make_counters(self) -> None:
        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(
                f"optuna_rq_{name}", text, ["study", *labels], buckets=buckets, registry=self._registry
            )

        self._told = Counter(
            "optuna_rq_trials_told",
            "Trials that this controller has told Optuna the end of, by their task's status and reason.",
            ["study", "status", "reason"],
            registry=self._registry,
        )
        for status, reason in _ENDS:
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

    # What the search is asked

    def search(self, *args: Any, **options: Any) -> Search:
        """A `Search` with these arguments, of which it is known how long it takes."""
        return TimedSearch(self, *args, **options)

    @contextmanager
    def asking(self) -> Iterator[None]:
        with self.health.at_length(), self._ask.time():
            yield

    @contextmanager
    def flushing(self) -> Iterator[None]:
        with self.health.at_length(), self._flush.time():
            yield

    # What the loop tells

    @property
    def workers(self) -> LocalWorkers | None:  # type: ignore[override]
        return self._view.workers

    def begin(self, strategy: SearchStrategy) -> None:
        self.health.long()
        self._strategy = strategy
        self.health.begun = True
        self._view.begin(strategy)

    def end(self) -> None:
        self.health.over = True
        self.health.long()
        self._view.end()

    def turning(self, waits_for: str = "") -> None:
        self.health.turning(waits_for)

    def known(self, record: TaskRecord) -> None:
        self._known.add(record.id)
        self._add(record)
        self._view.known(record)

    def launched(self, job: Job) -> None:
        self._view.launched(job)

    def started(self, job: Job) -> None:
        if job.record.queued_at is not None:
            self._queue_wait.observe(max(0.0, time.time() - job.record.queued_at))
        self._view.started(job)

    def reported(self, job: Job) -> None:
        self._view.reported(job)

    def ended(self, job: Job) -> None:
        record = job.record
        status, reason = _end_of(record)
        self._told.labels(self._study, status, reason).inc()
        if record.id in self._known:
            self._known.discard(record.id)
        else:
            self._add(record)
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

    def _add(self, record: TaskRecord) -> None:
        end = _end_of(record)
        self._counts[end] = self._counts.get(end, 0) + 1

    # What is read when it is asked for

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Prometheus' question, by the server's threads."""
        seen, health = self.health.seen(), self.health
        info = {"version": __version__, "python": platform.python_version()}
        yield self._family(
            "controller_info", "Always 1; the versions are in its labels.", [(info, 1)], tuple(info)
        )
        yield self._gauge(
            "controller_acting",
            "1 while this controller holds the lease on the study, 0 while it stands by.",
            health.acting,
        )
        yield self._gauge("controller_loop_age_seconds", "Seconds since the loop has turned.", health.age_s)
        yield self._gauge("redis_up", "1 while the controller reaches Redis, else 0.", seen.up)
        yield self._gauge(
            "storage_up",
            "1 while Optuna's storage could be used when the controller last did so, else 0.",
            health.storage_up,
        )
        yield from self._of_redis(seen)
        yield from self._of_study()

    def _of_redis(self, seen: Seen) -> Iterator[GaugeMetricFamily]:
        yield self._gauge(
            "event_lag_seconds",
            "Age of the oldest event that the controller has not read; 0 when there is none.",
            seen.lag_s,
        )
        yield self._gauge("queue_length", "Jobs that wait on the study's queue, of all studies.", seen.queued)
        workers = seen.workers or ()
        known = seen.workers is not None
        states = dict.fromkeys(("running", "draining", "paused"), 0)
        for worker in workers:
            states[worker.state] = states.get(worker.state, 0) + 1
        yield self._family(
            "fleet_workers",
            "Live workers of the study's queue, by whether they take jobs.",
            [({"state": state}, count) for state, count in states.items() if known],
            ("state",),
        )
        slots = sum(worker.slots for worker in workers)
        yield self._gauge("fleet_slots", "Slots of these workers.", slots if known else None)
        busy = sum(worker.busy for worker in workers)
        yield self._gauge(
            "fleet_slots_busy", "Slots of these workers that run something.", busy if known else None
        )
        yield self._family(
            "fleet_heartbeat_age_seconds",
            "Seconds since each of these workers was last heard of; at 15 it is gone.",
            [({"worker": worker.name}, worker.heartbeat_age_s) for worker in workers],
            ("worker",),
        )
        metrics = self._strategy._objective_metric.metrics if self._strategy else ()
        best = (
            []
            if seen.best is None or len(metrics) != 1
            else [({"metric": metrics[0].key}, metrics[0].score(seen.best))]
        )
        yield self._family(
            "best_value", "The objective's best value, of a study with one objective.", best, ("metric",)
        )

    def _of_study(self) -> Iterator[GaugeMetricFamily]:
        strategy = self._strategy
        states = [({"state": state}, strategy.state == state) for state in _STATES] if strategy else []
        yield self._family("study_state", "1 for the state that the study is in, else 0.", states, ("state",))
        yield self._family(
            "tasks",
            "Tasks of the study by status and class of reason, those of earlier controllers included.",
            self._tasks(strategy) if strategy else [],
            ("status", "reason"),
        )
        yield from self._budgets(strategy.budget if strategy else Budget())

    def _tasks(self, strategy: SearchStrategy) -> list[tuple[Mapping[str, str], float]]:
        counts = {**{(status.value, ""): 0 for status in OPEN}, **self._counts}
        for job in strategy.get_running_jobs():
            status = job.record.status
            if not status.is_finished:
                counts[status.value, ""] += 1
        return [({"status": status, "reason": reason}, n) for (status, reason), n in counts.items()]

    def _budgets(self, budget: Budget) -> Iterator[GaugeMetricFamily]:
        def shown(field: Field, name: str, text: str, scale: int = 1) -> Iterator[GaugeMetricFamily]:
            unit = "_seconds" if scale != 1 else ""
            used, limit = field.used * scale, None if field.limit is None else field.limit * scale
            yield self._gauge(f"budget_{name}_used{unit}", f"{text}: used until now.", used)
            yield self._gauge(f"budget_{name}_limit{unit}", f"{text}: the limit, where there is one.", limit)

        yield from shown(budget.jobs, "trials", "Budget of trials")
        yield from shown(budget.iterations, "iterations", "Budget of iterations")
        yield from shown(budget.failures, "failures", "Budget of failed trials")
        yield from shown(budget.compute_time, "compute", "Budget of time computed by all attempts", 60)
        yield from shown(budget.wall_clock, "wall_clock", "Budget of time that the study runs", 60)

    def _gauge(self, name: str, text: str, value: float | None) -> GaugeMetricFamily:
        return self._family(name, text, [] if value is None else [({}, value)])

    def _family(
        self,
        name: str,
        text: str,
        values: Sequence[tuple[Mapping[str, str], float]],
        labels: tuple[str, ...] = (),
    ) -> GaugeMetricFamily:
        """One metric with its values by the labels besides the study's."""
        family = GaugeMetricFamily(f"optuna_rq_{name}", text, labels=("study", *labels))
        for given, value in values:
            family.add_metric([self._study, *given.values()], float(value))
        return family


class TimedSearch(Search):
    """A search that has the meter know how long the sampler and the storage take."""

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


def _end_of(record: TaskRecord) -> tuple[str, str]:
    return record.status.value, record.reason_class.value if record.reason_class else ""
