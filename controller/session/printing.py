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
        self._said_empty = False
        self.redis_url = ""
        """URL of the study's Redis, with its password; empty before `begin`."""
        self.embedded = False
        """Whether that Redis is the embedded one."""
        self._ended = 0
        self._best: tuple[float, int] | None = None
        self._several = False

    def begin(self, search: RunningSearch) -> None:
        home = search.backend.home
        self.embedded = home.embedded is not None
        self.redis_url = home.redis_url
        self._metric = search.objective.metrics[0]
        self._several = len(search.objective.metrics) > 1

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        super().tick(budget, fleet, running)
        for text in fleet.new_refusals():
            self.note(text)
        if fleet.empty_since is None:
            self._said_empty = False
        elif not self._said_empty and time.monotonic() - fleet.empty_since > 3.0:
            self._said_empty = True
            self.note(no_worker(fleet.queue, None if self.embedded else self.redis_url))

    def ended(self, job: Job) -> None:
        self._ended += 1
        value = self.value_of(job)
        if value is None or job.is_failed() or self._several:
            return
        if self._best is None or self._metric.score(value) < self._metric.score(self._best[0]):
            self._best = (value, job.trial)

    def value_of(self, job: Job) -> float | None:
        """The job's value of the first objective; None if it has no finite one yet."""
        summary = job.scalars.get(self._metric.key)
        value = summary.value(self._metric.sign) if summary else None
        return value if value is not None and math.isfinite(value) else None

    def progress(self, fleet: Fleet, running: list[Job]) -> str:
        """Such as ``12 ended · 2 running on 2 slot(s) · best 0.93 (trial 7)``."""
        busy = sum(job.is_running() for job in running)
        best = f" · best {self._best[0]:.6g} (trial {self._best[1]})" if self._best else ""
        return f"{self._ended} ended · {busy} running on {fleet.slots} slot(s){best}"

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
            self._print(f"… {self.progress(fleet, running)}")

    def ended(self, job: Job) -> None:
        super().ended(job)
        color, status = _COLORS.get(job.record.status, "0"), job.record.status.value
        value, parameters, why = ended_parts(job, self.value_of(job))
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


def ended_parts(job: Job, value: float | None) -> tuple[str, str, str]:
    """Value, parameters and reason of a job that has ended, as a line shows them."""
    record = job.record
    shown = f"{value:<10.6g}" if value is not None else " " * 10
    return (
        shown,
        _shown(job.parameters),
        f" {record.reason_class}: {record.reason}" if record.reason_class else "",
    )


def _shown(parameters: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in parameters.items()
    )
