"""The slot's side of reporting: gathers what a program reports, keeps it while Redis is away, writes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import redis

from worker.protocol.batch import Batch, Point
from worker.protocol.checkpoint import ResumePoint
from worker.protocol.connection import can_pass, trouble
from worker.protocol.errors import TransitionRefused
from worker.protocol.metrics import NO_ITERATION, SINGLE_VALUES, Summary
from worker.protocol.record import TaskRecord
from worker.protocol.stop_request import StopRequest
from worker.protocol.store import Store
from worker.sdk.iterations import Iterations

log = logging.getLogger(__name__)

OBJECTIVE_S = 0.02
"""Longest wait of a report of an objective metric, in seconds: pruning depends on it."""
OTHER_S = 0.25
"""Longest wait of anything else, in seconds."""
AWAY_S = 0.5
"""Pause after Redis was found away, in seconds."""
BATCH = 2000
"""Points per write."""

T = TypeVar("T")


class Reporter:
    """Writes one attempt's points, output and lease. Not thread-safe; never blocks for longer than one
    time-out of its client, and never raises for a Redis that is away.

    Attributes:
        stop: the stop request, once one was seen.
        stale: True once the store has refused this attempt: nothing more is written.
        over_limit: True once an iteration beyond the task's limit was reported; it is dropped, and so is
            what is reported of objectives after it.
        beyond: its number, where that alone is beyond the limit; None where there were as many before.
    """

    def __init__(
        self,
        store: Store,
        record: TaskRecord,
        monotonic: Callable[[], float],
        resumed: ResumePoint | None = None,
    ) -> None:
        """
        Args:
            record: as `Transitions.start` returned it.
            resumed: where this attempt goes on, if another has left a checkpoint.
        """
        self._store = store
        self._record = record
        self._monotonic = monotonic
        self._points: list[Point] = []
        self._output = bytearray()
        self._links: list[tuple[str, Callable[[], None], Callable[[str | None], None]]] = []
        self._parameters: dict[str, Any] = {}
        self._summaries: dict[str, Summary] = {}
        self._objective = {metric.key for metric in record.spec.metrics}
        self._wanted = {*self._objective, *(str(c.get("metric")) for c in record.spec.constraints)}
        self._seq = 0
        self._uncertain = 0
        """Points of a batch whose writing has failed, or seemed to."""
        self._last_write = 0.0
        self._due: float | None = None
        self._not_before = 0.0
        self.tail = b""
        self.stop: StopRequest | None = record.stop
        self.stale = False
        self.over_limit = False
        self.beyond: int | None = None
        self._first = record.spec.metrics[0].key if record.spec.metrics else None
        self._iterations, self._last_iteration = 0, -1
        self._seen: dict[str, Iterations] = {}
        """What was reported of the objective's metrics, by key."""
        self._repeated: set[str] = set()
        """Those of them of which an iteration was reported twice."""
        if resumed is not None:
            self._summaries = dict(resumed.summaries)
            known = self._summaries.get(self._first) if self._first else None
            if known is not None:
                self._iterations, self._last_iteration = known.iterations, known.last_iteration

    # Taking

    def add(self, point: Point) -> None:
        if point.iteration == NO_ITERATION:
            # A single value replaces the one before; it is no step of the run.
            point = replace(point, iteration=0, is_final=True)
        if point.title == SINGLE_VALUES and point.series in self._wanted:
            # A study may name a single value without its title.
            self._add(replace(point, title=point.series, series=""))
        self._add(point)

    def _add(self, point: Point) -> None:
        key = point.key
        if key in self._objective and not point.is_final and (self.over_limit or not self._is_new(point)):
            return
        if key == self._first and point.iteration > self._last_iteration and not point.is_final:
            limit = self._record.spec.max_iterations
            if limit is not None and (self._iterations >= limit or point.iteration > limit):
                self.over_limit = True
                self.beyond = point.iteration if self._iterations < limit else None
                return
            self._iterations, self._last_iteration = self._iterations + 1, point.iteration
        self._points.append(point)
        urgent = key in self._objective
        self._ask(OBJECTIVE_S if urgent else OTHER_S)

    def _is_new(self, point: Point) -> bool:
        """Whether an objective's report counts: the first of each iteration does, for all who use it."""
        key = point.key
        if key not in self._seen:
            known = self._summaries.get(key)
            self._seen[key] = Iterations(known.last_iteration if known else -1)
        if self._seen[key].add(point.iteration):
            return True
        if key not in self._repeated:
            self._repeated.add(key)
            text = f"{key!r} was reported twice for iteration {point.iteration}: its first value counts"
            log.warning("task %s: %s", self._record.id, text)
            self.write(f"optuna-rq: {text}\n".encode())
        return False

    def write(self, data: bytes) -> None:
        """Take some of the program's output."""
        self._output += data
        self.tail = (self.tail + data)[-65536:]
        self._ask(OTHER_S)

    def link(self, name: str, meta: str, done: Callable[[str | None], None]) -> None:
        """Take an artifact to list; `done` is called with None once it is, or with why it was refused."""
        record = self._record
        self._links.append(
            (
                f"artifact {name!r}",
                lambda: self._store.artifacts.add(record.id, record.attempt, name, meta),
                done,
            )
        )
        self._ask(0.0)

    def unlink(self, names: Sequence[str], done: Callable[[str | None], None]) -> None:
        """Take artifacts to list no more; `done` as for `link`."""
        record = self._record
        self._links.append(
            (
                "removing artifacts",
                lambda: self._store.artifacts.remove(record.id, record.attempt, names),
                done,
            )
        )
        self._ask(0.0)

    def know(self, parameters: Mapping[str, Any]) -> None:
        """Take parameters that the program has besides the study's, with their values."""
        self._parameters.update(parameters)
        self._ask(OTHER_S)

    def _ask(self, wait_s: float) -> None:
        # Not later than `wait_s` after the last write: a lone report goes out at once.
        due = max(self._last_write + wait_s, self._not_before)
        self._due = due if self._due is None else min(self._due, due)

    @property
    def due(self) -> float | None:
        """When `flush` wants to be called, on the monotonic clock; None while there is nothing to write."""
        return self._due

    def summary(self, key: str) -> Summary | None:
        """A metric's summary with everything taken so far, written or not."""
        summary = self._summaries.get(key)
        for point in self._points:
            if point.key == key:
                summary = _add(summary, point)
        return summary

    def summaries(self) -> dict[str, Summary]:
        """All metrics' summaries with everything taken so far, written or not."""
        names = {*self._summaries, *(point.key for point in self._points)}
        return {name: found for name in sorted(names) if (found := self.summary(name))}

    @property
    def reported(self) -> list[str]:
        """Names of all metrics taken so far, those of the machine excepted."""
        names = {*self._summaries, *(point.key for point in self._points)}
        return sorted(name for name in names if not name.startswith(":monitor:"))

    # Writing

    def flush(self, *, but_last: bool = False) -> bool:
        """Write what has gathered. True when nothing is left to write.

        Args:
            but_last: leave the points for `last`, where they go into one batch.
        """
        self._due = None
        keep = but_last and not self._uncertain and len(self._points) <= BATCH
        while self._points and not keep and not self.stale:
            if not self.attempt(self._write_points) and not self.stale:
                self._due = self._not_before
                return False
        while (self._output or self._links or self._parameters) and not self.stale:
            if not self.attempt(self._write_others) and not self.stale:
                self._due = self._not_before
                return False
        for what, _, done in self._links:
            done(f"{what} is refused: another attempt of the task is current")
        self._links.clear()
        self._last_write = self._monotonic()
        return True

    def last(self) -> Batch | None:
        """The points that nobody has tried to write yet, to be written with the task's end."""
        return self._batch(len(self._points)) if self._points else None

    def _batch(self, count: int) -> Batch:
        points = self._points[:count]
        changed: dict[str, Summary] = {}
        for point in points:
            key = point.key
            changed[key] = _add(changed.get(key) or self._summaries.get(key), point)
        # The number is used again when the write fails: it may have been applied all the same.
        return Batch(seq=self._seq + 1, points=points, summaries=changed)

    def _write_points(self) -> bool:
        # A batch that may have been written is written again as it was: its number stands for it.
        batch = self._batch(self._uncertain or BATCH)
        self._uncertain = len(batch.points)
        self.stop = self._store.reports.add(self._record, batch) or self.stop
        self._seq += 1
        self._uncertain = 0
        self._summaries.update(batch.summaries)
        del self._points[: len(batch.points)]
        return True

    def _write_others(self) -> bool:
        if self._output:
            data = bytes(self._output)
            self._store.logs.append(self._record.id, self._record.attempt, data)
            del self._output[: len(data)]
        if self._parameters:
            known = dict(self._parameters)
            self._store.tasks.add_parameters(self._record.id, self._record.attempt, known)
            self._parameters.clear()
        while self._links:
            _, write, done = self._links[0]
            write()
            del self._links[0]
            done(None)
        return True

    def renew(self) -> bool:
        """Renew the lease. False when Redis is away."""

        def renew() -> bool:
            record = self._record
            request = self._store.transitions.renew(
                record.id, record.attempt, record.worker, record.spec.lease_s
            )
            self.stop = request or self.stop
            return True

        return bool(self.attempt(renew))

    def attempt(self, call: Callable[[], T]) -> T | None:
        """`call()`, or None when Redis is away or refuses this attempt."""
        if self.stale or self._monotonic() < self._not_before:
            return None
        try:
            return call()
        except TransitionRefused as error:
            # Another attempt is current, or the record was deleted.
            log.warning("%s; its reports are refused and its program is stopped", error)
            self.stale = True
        except redis.RedisError as error:
            if can_pass(error):
                self._not_before = self._monotonic() + AWAY_S
                log.warning("task %s: %s; reports are kept", self._record.id, trouble(error))
            elif isinstance(error, redis.ResponseError):
                self._not_before = self._monotonic() + 2 * AWAY_S
                log.error("task %s: Redis refuses a write (%s); reports are kept", self._record.id, error)
            else:
                raise
        return None


def _add(summary: Summary | None, point: Point) -> Summary:
    summary = summary or Summary.of(point.title, point.series)
    return summary.with_final(point.value) if point.is_final else summary.add(point.value, point.iteration)


def point_from(raw: Any) -> Point | None:
    """A point as a program sent it, or None when it isn't one."""
    try:
        title, series, value, iteration, at = raw
        return Point(
            title=str(title)[:500],
            series=str(series)[:500],
            value=float(value),
            iteration=int(iteration),
            at=float(at),
        )
    except (TypeError, ValueError):
        return None
