"""What `controller start` shows: live on a terminal, lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from controller.commands.bar import BarColumns
from controller.commands.pipes import end_in_order
from controller.commands.tables import console, table_of
from controller.results.tasks import why
from controller.results.top import find_top
from controller.session.printing import PROGRESS_S, View, ended_parts, goals, parameters_of
from worker.protocol import Status, Store, StudyState
from worker.protocol.clock import iso
from worker.protocol.printable import one_line
from worker.protocol.urls import redact

if TYPE_CHECKING:
    from controller.loop.budget import Budget
    from controller.loop.fleet import Fleet
    from controller.loop.job import Job
    from controller.loop.observer import RunningSearch

_STYLE = {Status.COMPLETED: "green", Status.FAILED: "red", Status.STOPPED: "yellow"}


class JsonView(View):
    """One JSON object per line on standard output."""

    def _emit(self, event: str, **data: Any) -> None:
        line = json.dumps({"event": event, "at": iso(time.time()), **data})
        try:
            print(line, flush=True)
        except BrokenPipeError:
            end_in_order()

    def begin(self, search: RunningSearch) -> None:
        super().begin(search)
        artifacts = search.backend.artifacts_url
        self._emit("study", study=search.study, redis=redact(self.redis_url), artifacts=artifacts)

    def launched(self, job: Job) -> None:
        self._emit("launched", task_id=job.task_id(), trial=job.trial, hyper_parameters=parameters_of(job))

    def started(self, job: Job) -> None:
        super().started(job)
        self._emit("started", task_id=job.task_id(), trial=job.trial, attempt=job.record.attempt)

    def ended(self, job: Job) -> None:
        super().ended(job)
        record = job.record
        self._emit(
            "ended",
            task_id=job.task_id(),
            trial=job.trial,
            status=record.status.value,
            reason_class=record.reason_class.value if record.reason_class else None,
            reason=record.reason,
            value=self.value_of(job),
            values=self.values_of(job),
            hyper_parameters=parameters_of(job),
        )

    def note(self, text: str) -> None:
        self._emit("note", text=text)

    def summary(self, store: Store, study: str, state: str, reason: str) -> None:
        top = find_top(store, store.studies.get(study), 5).plain()
        failures = _failures(store, study) if state == StudyState.FAILED else []
        self._emit("end", study=study, state=state, reason=reason, top=top, failures=failures)


class RichView(View):
    """For people: a line per ended trial, progress below on a terminal."""

    def __init__(self, screen: Console) -> None:
        super().__init__()
        self._console = screen
        self._live = screen.is_terminal
        self._columns = BarColumns(screen)
        self._progress = Progress(
            *self._columns.all(), console=self._console, transient=True, disable=not self._live
        )
        self._bar: Any = None
        self._study = ""
        self._done: float = 0
        self._total: float | None = None
        self._last_line = time.monotonic()

    def begin(self, search: RunningSearch) -> None:
        super().begin(search)
        where = "embedded" if self.embedded else redact(self.redis_url)
        self._print(
            f"study [bold]{escape(search.study)}[/]: {escape(goals(search.objective.metrics))} · "
            f"queue {search.queue} · Redis {escape(where)}"
        )
        self._study = search.study
        self._bar = self._progress.add_task("", total=search.budget.jobs.limit, state="")
        self._show()
        self._progress.start()

    def end(self) -> None:
        self._progress.stop()

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        super().tick(budget, fleet, running)
        self._done, self._total = budget.jobs.used - budget.running, budget.jobs.limit
        self._show()
        if not self._live and time.monotonic() - self._last_line > PROGRESS_S:
            self._last_line = time.monotonic()
            self._print(f"… {self.progress()}", markup=False)

    def _show(self) -> None:
        """Bring the bar up to date."""
        description, state = self._columns.fit(self._study, self.progress())
        self._progress.update(
            self._bar, description=description, completed=self._done, total=self._total, state=state
        )

    def _print(self, *parts: Any, **options: Any) -> None:
        try:
            self._console.print(*parts, **options)
        except BrokenPipeError:
            end_in_order()

    def started(self, job: Job) -> None:
        super().started(job)
        first = self.first_start(job)
        if first and not self._live:
            self._last_line = time.monotonic()
            self._print(first, markup=False, soft_wrap=True)
        self._show()

    def ended(self, job: Job) -> None:
        super().ended(job)
        self._last_line = time.monotonic()
        self._done += 1
        record = job.record
        style = _STYLE.get(record.status, "white")
        shown, parameters, why = ended_parts(job, self.values_of(job))
        self._print(
            f"trial {job.trial:>4} [{style}]{record.status.value:<9}[/] {escape(one_line(shown))} "
            f"{record.compute_s:6.1f} s  {escape(one_line(parameters))}[{style}]{escape(one_line(why))}[/]",
            # A terminal's lines are broken between parameters; a log has one for each trial.
            soft_wrap=not self._live,
        )
        self._show()

    def note(self, text: str) -> None:
        self._print(f"[cyan]·[/] {escape(one_line(text))}", soft_wrap=True)

    def summary(self, store: Store, study: str, state: str, reason: str) -> None:
        screen = self._console
        counts = store.studies.status_counts(study)
        numbers = ", ".join(
            f"{counts[status]} {status.value}" for status in Status if counts[status] and status.is_finished
        )
        style = {StudyState.COMPLETED: "green", StudyState.FAILED: "red"}.get(state, "yellow")
        screen.print(
            f"study [bold]{escape(study)}[/] [{style}]{state}[/]: {escape(one_line(reason))} "
            f"({numbers or 'no trial ended'})"
        )
        record = store.studies.get(study)
        top = find_top(store, record, 5)
        rows = top.details
        if rows:
            screen.print(table_of(top.shown(), top.title))
        if state == StudyState.FAILED:
            for line in _failures(store, study):
                screen.print(f"  [red]{escape(one_line(line))}[/]", soft_wrap=True)
        screen.print("Next:")
        lines = [f"top {shlex.quote(study)} -k 10 --all-metrics"]
        if rows:
            lines.append(f"show {rows[0]['task_id'][:8]}")
            lines.append(f"artifacts list --task {rows[0]['task_id'][:8]}")
        elif failed := store.studies.tasks(study, Status.FAILED):
            lines = [f"show {failed[0][:8]}", f"logs {failed[0][:8]}"]
        if state == StudyState.FAILED and counts[Status.FAILED]:
            lines.append("start <the same sweep file> --retry-failed        runs them again once mended")
        if state == StudyState.INTERRUPTED:
            lines.append("start <the same sweep file>        continues where this stopped")
        for line in lines:
            screen.print(f"  {escape(_called())} {escape(line)}", soft_wrap=True)


def _called() -> str:
    """How to call this program again from here: by its name if the shell finds it, else by its path."""
    program = Path(sys.argv[0])
    found = shutil.which("controller")
    if found and program.exists() and os.path.samefile(found, program):
        return "controller"
    if program.name != "controller":
        return "controller"
    return min(str(program), os.path.relpath(program), key=len)


def _failures(store: Store, study: str) -> list[str]:
    """The reasons of the failed tasks, the most frequent first."""
    reasons: dict[str, int] = {}
    for record in store.tasks.get_many(store.studies.tasks(study, Status.FAILED)[:500]):
        if record:
            key = why(record)
            reasons[key] = reasons.get(key, 0) + 1
    ordered = sorted(reasons.items(), key=lambda item: -item[1])
    return [f"{count} × {reason}" for reason, count in ordered[:5]]


def make_view(output_format: str) -> View:
    """The view for ``--format rich`` or ``json``."""
    return JsonView() if output_format == "json" else RichView(console())
