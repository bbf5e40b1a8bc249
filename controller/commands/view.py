"""What `controller start` shows: live on a terminal, lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from controller.commands.pipes import end_in_order
from controller.commands.summary import failures, print_summary
from controller.commands.tables import console
from controller.results.live import EndedTrial
from controller.results.top import find_top
from controller.screen.area import LiveArea
from controller.screen.frame import FramePicture
from controller.screen.grouping import LOG, TERMINAL, Group
from controller.session.following import parameters_of
from controller.session.printing import PROGRESS_S, View, ended_parts, goals
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


class JsonLines:
    """One JSON object per line on standard output."""

    def emit(self, event: str, **data: Any) -> None:
        line = json.dumps({"event": event, "at": iso(time.time()), **data})
        try:
            print(line, flush=True)
        except BrokenPipeError:
            end_in_order()

    def ended(self, one: EndedTrial) -> None:
        """A trial has ended."""
        self.emit(
            "ended",
            task_id=one.task_id,
            trial=one.trial,
            status=one.status.value,
            reason_class=one.reason_class or None,
            reason=one.reason,
            value=next(iter(one.values.values())),
            values=one.values,
            hyper_parameters=one.parameters,
        )

    def end(self, store: Store, study: str, state: str, reason: str) -> None:
        """The study has ended."""
        top = find_top(store, store.studies.get(study), 5).plain()
        why = failures(store, study) if state == StudyState.FAILED else []
        self.emit("end", study=study, state=state, reason=reason, top=top, failures=why)


class JsonView(View):
    """A line of JSON for all that happens; nothing is grouped."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = JsonLines()

    def begin(self, search: RunningSearch) -> None:
        super().begin(search)
        artifacts = search.backend.artifacts_url
        self._lines.emit("study", study=search.study, redis=redact(self.redis_url), artifacts=artifacts)

    def launched(self, job: Job) -> None:
        super().launched(job)
        parameters = parameters_of(job)
        self._lines.emit("launched", task_id=job.task_id(), trial=job.trial, hyper_parameters=parameters)

    def started(self, job: Job) -> None:
        super().started(job)
        self._lines.emit("started", task_id=job.task_id(), trial=job.trial, attempt=job.record.attempt)

    def ended(self, job: Job) -> None:
        self._lines.ended(self.following.ended(job))

    def note(self, text: str) -> None:
        self._lines.emit("note", text=text)

    def summary(self, store: Store, study: str, state: str, reason: str) -> None:
        self._lines.end(store, study, state, reason)


class Lines:
    """Lines for people: above a live area on a terminal, one after the other elsewhere.

    Args:
        area: the live area, while it is drawn.
    """

    def __init__(self, screen: Console) -> None:
        self._console = screen
        self.area: LiveArea | None = None
        self.last_at = time.monotonic()
        """When the last one was printed, in monotonic seconds."""

    def say(self, line: Text, *, is_note: bool = False) -> None:
        """Print a line.

        Args:
            is_note: it stays one line for who copies it, and leaves the log silent otherwise.
        """
        if not is_note:
            self.last_at = time.monotonic()
        # A terminal's lines are broken between parameters; a log has one for each trial.
        is_whole = is_note or not self._console.is_interactive
        if self.area is not None:
            line.no_wrap, line.overflow = is_whole, "ignore" if is_whole else None
            self.area.say(line)
            return
        try:
            self._console.print(line, soft_wrap=is_whole)
        except BrokenPipeError:
            end_in_order()

    def note(self, text: str) -> None:
        self.say(Text.assemble(("·", "cyan"), " ", one_line(text)), is_note=True)

    def ended(self, one: EndedTrial | Group, progress: str) -> None:
        """A trial has ended, or several.

        Args:
            progress: what a line for several ends with.
        """
        if isinstance(one, Group):
            self.say(Text(f"… {one_line(str(one))} · {progress}"))
            return
        style = _STYLE.get(one.status, "white")
        shown, parameters, why = ended_parts(one)
        self.say(
            Text.assemble(
                f"trial {one.trial:>4} ",
                (f"{one.status.value:<9}", style),
                f" {one_line(shown)} {one.seconds:6.1f} s  {one_line(parameters)}",
                (one_line(why), style),
            )
        )


class RichView(View):
    """For people: a line per ended trial, and on a terminal the study as it stands below."""

    def __init__(self, screen: Console) -> None:
        super().__init__(TERMINAL if screen.is_interactive else LOG)
        self._console = screen
        self._lines = Lines(screen)

    def begin(self, search: RunningSearch) -> None:
        super().begin(search)
        where = "embedded" if self.embedded else redact(self.redis_url)
        metrics = goals(search.objective.metrics)
        line = Text.assemble("study ", (one_line(search.study), "bold"))
        self._lines.say(line.append(f": {one_line(metrics)} · queue {search.queue} · Redis {where}"))
        if self._console.is_interactive:
            self._lines.area = LiveArea(self._console, lambda: FramePicture(self.following.frame()))
            self._lines.area.start()

    def end(self) -> None:
        super().end()
        area, self._lines.area = self._lines.area, None
        if area is not None:
            area.stop()

    def tick(self, budget: Budget, fleet: Fleet, running: list[Job]) -> None:
        super().tick(budget, fleet, running)
        if self._lines.area is not None:
            self._lines.area.changed()
        elif time.monotonic() - self._lines.last_at > PROGRESS_S:
            self._lines.say(Text(f"… {self.following.frame().progress()}"))

    def started(self, job: Job) -> None:
        super().started(job)
        first = self.first_start(job)
        if self._lines.area is not None:
            self._lines.area.changed()
        elif first:
            self._lines.say(Text(one_line(first)))

    def ended(self, job: Job) -> None:
        super().ended(job)
        if self._lines.area is not None:
            self._lines.area.changed()

    def line(self, one: EndedTrial | Group) -> None:
        self._lines.ended(one, self.following.frame().progress())

    def note(self, text: str) -> None:
        self._lines.note(text)

    def summary(self, store: Store, study: str, state: str, reason: str) -> None:
        print_summary(self._console, store, study, state, reason)


def make_view(output_format: str) -> View:
    """The view for ``--format rich`` or ``json``."""
    return JsonView() if output_format == "json" else RichView(console())
