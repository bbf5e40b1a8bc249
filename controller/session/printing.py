"""What a search prints unless it is given another observer: a line for each trial that has ended."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from controller.loop.budget import Budget
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.observer import Observer, RunningSearch
from controller.results.parameters import as_written, pairs
from controller.session.preflight import no_worker
from worker.protocol import ObjectiveMetric, Status, Store
from worker.protocol.printable import one_line
from worker.protocol.urls import redact

PROGRESS_S = 30.0
"""Seconds without a line after which a line of progress is printed."""
_COLORS = {Status.COMPLETED: "32", Status.FAILED: "31", Status.STOPPED: "33"}


class View(Observer):
    """Base of the views: keeps the best value, and says when no worker serves the queue."""

    def __init__(self) -> None:
        self._said_empty = self._said_start = False
        self.redis_url = ""
        """URL of the study's Redis, with its password; empty before `begin`."""
        self.embedded = False
        """Whether that Redis is the embedded one."""
        self._ended = 0
        self._slots = 0
        self._running: set[str] = set()
        self._best: tuple[float, int] | None = None
        self._metrics: tuple[ObjectiveMetric, ...] = ()

    def begin(self, search: RunningSearch) -> None:
        home = search.backend.home
        self.embedded = home.embedded is not None
        self.redis_url = home.redis_url
        self._metrics = search.objective.metrics

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        super().tick(budget, fleet, running)
        self._slots = fleet.slots
        self._running = {job.task_id() for job in running if job.is_running()}
        for text in fleet.new_refusals():
            self.note(text)
        if fleet.empty_since is None:
            self._said_empty = False
        elif not self._said_empty and time.monotonic() - fleet.empty_since > 3.0:
            self._said_empty = True
            self.note(no_worker(fleet.queue, None if self.embedded else self.redis_url))

    def started(self, job: Job) -> None:
        self._running.add(job.task_id())

    def ended(self, job: Job) -> None:
        self._ended += 1
        self._running.discard(job.task_id())
        value = self.value_of(job)
        if value is None or job.is_failed() or len(self._metrics) > 1:
            return
        score = self._metrics[0].score
        if self._best is None or score(value) < score(self._best[0]):
            self._best = (value, job.trial)

    def value_of(self, job: Job) -> float | None:
        """The job's value of the first objective; None if it has no finite one yet."""
        return next(iter(self.values_of(job).values()))

    def values_of(self, job: Job) -> dict[str, float | None]:
        """The job's value of each objective by its key; None where it has no finite one yet."""
        found: dict[str, float | None] = {}
        for metric in self._metrics:
            summary = job.scalars.get(metric.key)
            value = summary.value(metric.sign) if summary else None
            found[metric.key] = value if value is not None and math.isfinite(value) else None
        return found

    def progress(self) -> str:
        """Such as ``12 ended · 2 running on 2 slot(s) · best 0.93 (trial 7)``."""
        best = f" · best {self._best[0]:.6g} (trial {self._best[1]})" if self._best else ""
        on = f" on {self._slots} slot(s)" if self._slots else ""  # not counted yet, or none
        return f"{self._ended} ended · {len(self._running)} running{on}{best}"

    def first_start(self, job: Job) -> str:
        """A line when the first trial starts, so that a log is not silent until one has ended; else empty."""
        if self._said_start:
            return ""
        self._said_start = True
        chosen = " ".join(pairs(parameters_of(job)))
        return f"… trial {job.trial} started on {job.worker()}" + (f"  {chosen}" if chosen else "")

    def summary(self, store: Store, study: str, state: str, reason: str) -> None:
        """Show how the study ended: its best experiments, and what to do next."""


class LinesView(View):
    """Plain lines on standard output, for a program's own optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self._bold, self._colors = _styles(sys.stdout, os.environ)
        self._last_line = time.monotonic()

    def begin(self, search: RunningSearch) -> None:
        super().begin(search)
        where = "embedded" if self.embedded else redact(self.redis_url)
        name = _escaped("1", search.study) if self._bold else search.study
        self._print(f"study {name}: {goals(search.objective.metrics)} · queue {search.queue} · Redis {where}")

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        super().tick(budget, fleet, running)
        if time.monotonic() - self._last_line > PROGRESS_S:
            self._print(f"… {self.progress()}")

    def started(self, job: Job) -> None:
        super().started(job)
        if first := self.first_start(job):
            self._print(first)

    def ended(self, job: Job) -> None:
        super().ended(job)
        color, status = _COLORS.get(job.record.status, "0"), job.record.status.value
        value, parameters, why = ended_parts(job, self.values_of(job))
        self._print(
            f"trial {job.trial:>4} {self._in(color, f'{status:<9}')} {value} {job.record.compute_s:6.1f} s  "
            f"{one_line(parameters)}{self._in(color, one_line(why))}"
        )

    def note(self, text: str) -> None:
        print(f"{self._in('36', '·')} {one_line(text)}", flush=True)

    def _print(self, line: str) -> None:
        self._last_line = time.monotonic()
        print(line, flush=True)

    def _in(self, color: str, text: str) -> str:
        return _escaped(color, text) if self._colors and text else text


def _escaped(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _styles(stream: TextIO, environment: Mapping[str, str]) -> tuple[bool, bool]:
    """Whether a stream takes bold text, and whether it takes colors.

    Decided as rich decides it for the commands: TTY_COMPATIBLE and FORCE_COLOR overrule what the stream
    says of itself, a dumb terminal takes neither, NO_COLOR forbids colors only.
    """
    compatible, forced = environment.get("TTY_COMPATIBLE"), environment.get("FORCE_COLOR")
    if compatible in ("0", "1"):
        terminal = compatible == "1"
    else:
        # A program may have put an object of its own in place of standard output.
        terminal = getattr(stream, "isatty", bool)() if forced is None else forced != ""
    bold = terminal and environment.get("TERM", "").lower() not in ("dumb", "unknown")
    return bold, bold and not environment.get("NO_COLOR")


def goals(metrics: tuple[ObjectiveMetric, ...]) -> str:
    """Such as ``maximize accuracy/validation · minimize seconds``."""
    return " · ".join(f"{'maximize' if m.sign.maximizes else 'minimize'} {m.key}" for m in metrics)


def ended_parts(job: Job, values: Mapping[str, float | None]) -> tuple[str, str, str]:
    """Values, parameters and reason of a job that has ended, as a line shows them.

    Args:
        values: of each objective; None where there is none.
    """
    record = job.record
    if len(values) == 1:
        (value,) = values.values()
        said = "" if value is None else f"{value:.6g}"
    else:
        said = " ".join(f"{key}={'-' if value is None else f'{value:.6g}'}" for key, value in values.items())
    why = f" {record.reason_class}: {record.reason}" if record.reason_class else ""
    return f"{said:<10}", " ".join(pairs(parameters_of(job))), why


def parameters_of(job: Job) -> Mapping[str, Any]:
    """The parameters that were searched, by the names that the user gave them.

    Those of an objective written for Optuna are known once it has asked for them.
    """
    return job.parameters or as_written(job.record, everything=False)
