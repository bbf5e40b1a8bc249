"""What a search prints unless it is given another observer: a line for each trial that has ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import TextIO

from controller.loop.budget import Budget
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.observer import Observer, RunningSearch
from controller.results.live import EndedTrial
from controller.results.parameters import pairs
from controller.screen.grouping import LOG, TERMINAL, Group, Grouping, Pace
from controller.session.following import Following, parameters_of
from controller.session.foreseeing import Foreseer
from controller.session.preflight import no_worker
from worker.protocol import ObjectiveMetric, Status, Store, TaskRecord
from worker.protocol.printable import one_line
from worker.protocol.urls import redact

PROGRESS_S = 30.0
"""Seconds without a line after which a line of progress is printed."""
_COLORS = {Status.COMPLETED: "32", Status.FAILED: "31", Status.STOPPED: "33"}


class View(Observer):
    """Base of the views: follows the study, says when no worker serves the queue, and paces its lines.

    Args:
        pace: how fast lines of ended trials may come.
    """

    def __init__(self, pace: Pace = LOG) -> None:
        self._said_empty = self._said_start = False
        self.redis_url = ""
        """URL of the study's Redis, with its password; empty before `begin`."""
        self.embedded = False
        """Whether that Redis is the embedded one."""
        self.following = Following()
        self._foreseer: Foreseer | None = None
        self._grouping = Grouping(pace)

    def begin(self, search: RunningSearch) -> None:
        home = search.backend.home
        self.embedded = home.embedded is not None
        self.redis_url = home.redis_url
        self.following.begin(search)
        self._foreseer = Foreseer(search.backend.store, search.study)
        self.following.foreseer = self._foreseer

    def end(self) -> None:
        if self._foreseer is not None:
            self._foreseer.stop()
        for one in self._grouping.rest():
            self.line(one)

    def heartbeat(self, waits_for: str = "") -> None:
        self.following.waits_for = waits_for

    def known(self, record: TaskRecord) -> None:
        self.following.known(record)

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        super().tick(budget, fleet, running)
        self.following.tick(budget, fleet, running)
        for one in self._grouping.due():
            self.line(one)
        for text in fleet.new_refusals():
            self.note(text)
        if fleet.empty_since is None:
            self._said_empty = False
        elif not self._said_empty and time.monotonic() - fleet.empty_since > 3.0:
            self._said_empty = True
            self.note(no_worker(fleet.queue, None if self.embedded else self.redis_url))

    def launched(self, job: Job) -> None:
        self.following.launched()

    def started(self, job: Job) -> None:
        self.following.started(job)

    def ended(self, job: Job) -> None:
        for one in self._grouping.add(self.following.ended(job)):
            self.line(one)

    def line(self, one: EndedTrial | Group) -> None:
        """Print a line for a trial that has ended, or for several."""

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
        # A program may have put an object of its own in place of standard output.
        super().__init__(TERMINAL if getattr(sys.stdout, "isatty", bool)() else LOG)
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
            self._print(f"… {self.following.frame().progress()}")

    def started(self, job: Job) -> None:
        super().started(job)
        if first := self.first_start(job):
            self._print(first)

    def line(self, one: EndedTrial | Group) -> None:
        if isinstance(one, Group):
            self._print(f"… {one_line(str(one))} · {self.following.frame().progress()}")
            return
        color, status = _COLORS.get(one.status, "0"), one.status.value
        value, parameters, why = ended_parts(one)
        self._print(
            f"trial {one.trial:>4} {self._in(color, f'{status:<9}')} {value} {one.seconds:6.1f} s  "
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


def ended_parts(ended: EndedTrial) -> tuple[str, str, str]:
    """Values, parameters and reason of a trial that has ended, as a line shows them."""
    values = ended.values
    if len(values) == 1:
        (value,) = values.values()
        said = "" if value is None else f"{value:.6g}"
    else:
        said = " ".join(f"{key}={'-' if value is None else f'{value:.6g}'}" for key, value in values.items())
    why = f" {ended.reason_class}: {ended.reason}" if ended.reason_class else ""
    return f"{said:<10}", " ".join(pairs(ended.parameters)), why
