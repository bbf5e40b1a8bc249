"""Metrics that are computed for each scrape, from memory and from Redis.

The server's threads do that; the loop neither waits nor computes anything for it. The cost doesn't grow with
the number of ended trials.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from controller.health.probes import Health
from controller.health.redis_metrics import WORKER_STATES, Seen
from controller.loop.budget import Budget, Limit
from controller.results.foreseen import Foreseen
from worker import __version__
from worker.protocol import OPEN, Reason, Status, StudyState, TaskRecord

if TYPE_CHECKING:
    from controller.loop.observer import RunningSearch

ENDS = ((Status.COMPLETED.value, ""), *((reason.status.value, reason.value) for reason in Reason))
"""Final statuses with the classes of their reasons; empty for a task that completed."""
_STATES = tuple(
    value for name, value in vars(StudyState).items() if name.isupper() and isinstance(value, str)
)

_BUDGETS = (
    ("trials", "jobs", "", "Budget of trials"),
    ("iterations", "iterations", "", "Budget of iterations"),
    ("failures", "failures", "", "Budget of failed trials"),
    ("compute", "compute_time", "_seconds", "Budget of time computed by all attempts"),
    ("wall_clock", "wall_clock", "_seconds", "Budget of time that the study runs"),
)
"""Name in the metrics, field of `Budget`, suffix with the metrics' unit, and description."""

_FORESEEN = (
    ("left_s", "left_seconds", "time until the study ends."),
    ("trials", "trials", "trials of the study in all."),
    ("slot_hours", "slot_hours", "slot-hours of all trials, those that have ended included."),
    ("gpu_hours", "gpu_hours", "GPU-hours of all trials, where the GPUs of a trial are known."),
    ("money", "cost", "what all trials cost, by the prices in the sweep's `[cost]`."),
)
"""Kind of what is foreseen, name in the metrics, and description."""


class Gauges:
    """A collector of prometheus_client's, for one study."""

    def __init__(self, study: str, health: Health) -> None:
        self._study = study
        self._health = health
        self.search: RunningSearch | None = None
        self._counts = dict.fromkeys(ENDS, 0)
        """Ended tasks by status and reason."""

    def add(self, record: TaskRecord) -> None:
        """Count a task that has ended."""
        end = end_of(record)
        self._counts[end] = self._counts.get(end, 0) + 1

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics of one scrape; the server's threads call this."""
        seen, health = self._health.seen(), self._health
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
        yield from self._foreseen(seen.forecast)

    def _of_redis(self, seen: Seen) -> Iterator[GaugeMetricFamily]:
        yield self._gauge(
            "event_lag_seconds",
            "Age of the oldest event that the controller has not read; 0 when there is none.",
            seen.lag_s,
        )
        yield self._gauge("queue_length", "Jobs that wait on the study's queue, of all studies.", seen.queued)
        workers = seen.workers or ()
        known = seen.workers is not None
        states = dict.fromkeys(WORKER_STATES, 0)
        for worker in workers:
            states[worker.state] += 1
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
            [
                ({"worker": worker.name}, worker.heartbeat_age_s)
                for worker in workers
                if worker.heartbeat_age_s is not None
            ],
            ("worker",),
        )
        metrics = self.search.objective.metrics if self.search else ()
        best = (
            []
            if seen.best is None or len(metrics) != 1
            else [({"metric": metrics[0].key}, metrics[0].score(seen.best))]
        )
        yield self._family(
            "best_value", "The objective's best value, of a study with one objective.", best, ("metric",)
        )

    def _foreseen(self, forecast: Foreseen | None) -> Iterator[GaugeMetricFamily]:
        """What is foreseen: the middle, and the ends of an 80 % interval."""
        known = {} if forecast is None else {"left_s": forecast.left_s, **forecast.others}
        for kind, name, text in _FORESEEN:
            ranges = zip(("0.1", "0.5", "0.9"), known.get(kind, ()), strict=False)
            values = [({"quantile": quantile}, value) for quantile, value in ranges]
            yield self._family(f"forecast_{name}", f"Forecast: {text}", values, ("quantile",))

    def _of_study(self) -> Iterator[GaugeMetricFamily]:
        search = self.search
        states = [({"state": state}, search.status == state) for state in _STATES] if search else []
        yield self._family("study_state", "1 for the state that the study is in, else 0.", states, ("state",))
        yield self._family(
            "tasks",
            "Tasks of the study by status and class of reason, those of earlier controllers included.",
            self._tasks(search) if search else [],
            ("status", "reason"),
        )
        yield from self._budgets(search.budget if search else None)

    def _tasks(self, search: RunningSearch) -> list[tuple[Mapping[str, str], float]]:
        counts = {**{(status.value, ""): 0 for status in OPEN}, **self._counts}
        for job in search.get_running_jobs():
            status = job.record.status
            if not status.is_finished:
                counts[status.value, ""] += 1
        return [({"status": status, "reason": reason}, n) for (status, reason), n in counts.items()]

    def _budgets(self, budget: Budget | None) -> Iterator[GaugeMetricFamily]:
        """Use and limit of each budget; a controller that stands by shows neither."""
        for name, field, unit, text in _BUDGETS:
            kept: Limit = getattr(budget or Budget(), field)
            scale = 60 if unit else 1  # minutes
            used = kept.used * scale if budget else None
            limit = kept.limit * scale if kept.limit is not None else None
            yield self._gauge(f"budget_{name}_used{unit}", f"{text}: used until now.", used)
            yield self._gauge(f"budget_{name}_limit{unit}", f"{text}: the limit, where there is one.", limit)

    def _gauge(self, name: str, text: str, value: float | None) -> GaugeMetricFamily:
        return self._family(name, text, [] if value is None else [({}, value)])

    def _family(
        self,
        name: str,
        text: str,
        values: Sequence[tuple[Mapping[str, str], float]],
        labels: tuple[str, ...] = (),
    ) -> GaugeMetricFamily:
        """One metric, with its values by the labels that come after the study's."""
        family = GaugeMetricFamily(f"optuna_rq_{name}", text, labels=("study", *labels))
        for given, value in values:
            family.add_metric([self._study, *given.values()], float(value))
        return family


def end_of(record: TaskRecord) -> tuple[str, str]:
    """Status and class of reason of a task that has ended."""
    return record.status.value, record.reason_class.value if record.reason_class else ""
