"""`controller watch`: what `controller start` shows, from any machine, read from Redis."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import redis
from rich.console import Console
from rich.text import Text

from controller.commands.summary import print_summary
from controller.commands.tables import console
from controller.commands.view import JsonLines, Lines
from controller.results.live import EndedTrial, Frame
from controller.results.parameters import as_written
from controller.results.status import ENDED
from controller.results.watching import Look, Watching
from controller.screen.area import LiveArea
from controller.screen.frame import FramePicture
from controller.screen.grouping import LOG, TERMINAL, Group, Grouping
from controller.session.printing import PROGRESS_S, goals
from worker.protocol import Store, StudyRecord, StudyState
from worker.protocol.connection import can_pass, trouble
from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line

LOOK_S = 1.0
"""Between two looks, in seconds."""
GONE_S = 10.0
"""Seconds after which a study that Redis doesn't have is gone: its controller writes it again where Redis has
lost it."""


class Watcher(Protocol):
    """Shows what is found of a study."""

    def open(self) -> contextlib.AbstractContextManager[None]:
        """A context in which it shows something."""

    def show(self, look: Look) -> None:
        """What one look has found."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def away(self, waits_for: str) -> None:
        """What is waited for from now on; empty for nothing."""

    def summary(self, store: Store, record: StudyRecord) -> None:
        """The study has ended."""


def watch(store: Store, study: str, output_format: str) -> int:
    """Follow a study until it ends.

    Args:
        output_format: rich or json.

    Returns:
        The exit code: 0 it has ended, 1 it failed or was deleted.
    """
    watcher: Watcher = JsonWatcher() if output_format == "json" else ScreenWatcher(console())
    watching = Watching(store, study)
    with watcher.open():
        while True:
            look = _look(watching, watcher)
            if look is None:
                watcher.note(f"study {study} was deleted")
                return 1
            watcher.show(look)
            if look.frame.state in ENDED:
                break
            time.sleep(LOOK_S)
    watcher.summary(store, look.record)
    return 1 if look.frame.state == StudyState.FAILED else 0


def _look(watching: Watching, watcher: Watcher) -> Look | None:
    """The study, once Redis can be asked; None when it is gone."""
    is_away = False
    missed_since: float | None = None
    while True:
        try:
            look = watching.look()
        except BadInput:
            missed_since = missed_since or time.monotonic()
            if time.monotonic() - missed_since > GONE_S:
                return None
            time.sleep(LOOK_S)
            continue
        except redis.RedisError as error:
            if not can_pass(error):
                raise
            if not is_away:
                is_away = True
                watcher.away("Redis")
                watcher.note(f"Redis is away ({trouble(error)}); waiting for it")
            time.sleep(LOOK_S)
            continue
        if is_away:
            watcher.away("")
            watcher.note("Redis is back")
        return look


class ScreenWatcher:
    """For people: a line per ended trial, and on a terminal the study as it stands below."""

    def __init__(self, screen: Console) -> None:
        self._console = screen
        self._lines = Lines(screen)
        self._grouping = Grouping(TERMINAL if screen.is_interactive else LOG)
        self._frame: Frame | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        try:
            yield
            self._print(self._grouping.rest())
        finally:
            area, self._lines.area = self._lines.area, None
            if area is not None:
                area.stop()

    def show(self, look: Look) -> None:
        before, self._frame = self._frame, look.frame
        if before is None:
            self._begin(look)
        for one in look.ended:
            self._print(self._grouping.add(one))
        self._print(self._grouping.due())
        if before and (before.state, before.reason) != (look.frame.state, look.frame.reason):
            self._tell_state(look.frame)
        if self._lines.area is not None:
            self._lines.area.changed()
        elif time.monotonic() - self._lines.last_at > PROGRESS_S:
            self._lines.say(Text(f"… {look.frame.progress()}"))

    def _begin(self, look: Look) -> None:
        record, frame = look.record, look.frame
        line = Text.assemble("study ", (one_line(record.name), "bold"))
        line.append(f": {one_line(goals(record.metrics))} · queue {one_line(record.queue)}")
        self._lines.say(line)
        if frame.state in ENDED:
            return
        if self._console.is_interactive:
            self._lines.area = LiveArea(self._console, self._picture)
            self._lines.area.start()
        else:
            why = f" ({one_line(frame.reason)})" if frame.reason else ""
            self._lines.say(Text(f"{frame.state}{why} · {frame.progress()}"))

    def _tell_state(self, frame: Frame) -> None:
        if frame.state not in ENDED:  # its end has a summary
            self._lines.note(f"the study is {frame.state}" + (f": {frame.reason}" if frame.reason else ""))

    def _picture(self) -> FramePicture | str:
        return FramePicture(self._frame) if self._frame else ""

    def _print(self, ended: Sequence[EndedTrial | Group]) -> None:
        for one in ended:
            self._lines.ended(one, self._frame.progress() if self._frame else "")

    def note(self, text: str) -> None:
        self._lines.note(text)

    def away(self, waits_for: str) -> None:
        if self._frame:
            self._frame = replace(self._frame, waits_for=waits_for)
        if self._lines.area is not None:
            self._lines.area.changed()

    def summary(self, store: Store, record: StudyRecord) -> None:
        print_summary(self._console, store, record.name, record.state, record.reason)


class JsonWatcher:
    """A line of JSON for each change, with the names and fields of ``controller start --format json``."""

    def __init__(self) -> None:
        self._lines = JsonLines()
        self._state: tuple[str, str] | None = None
        self._reported: dict[str, tuple[float | None, int | None]] = {}

    def open(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def show(self, look: Look) -> None:
        frame, emit = look.frame, self._lines.emit
        if self._state is None:
            self._tell_state(look)
        for record in look.launched:
            chosen = as_written(record, everything=False)
            emit("launched", task_id=record.id, trial=record.trial, hyper_parameters=chosen)
        for record in look.started:
            emit("started", task_id=record.id, trial=record.trial, attempt=record.attempt)
        reported = {}
        for one in frame.running:
            reported[one.task_id] = said = one.value, one.iteration
            if one.iteration is not None and self._reported.get(one.task_id) != said:
                emit(
                    "reported",
                    task_id=one.task_id,
                    trial=one.trial,
                    value=one.value,
                    iteration=one.iteration,
                )
        self._reported = reported
        for ended in look.ended:
            self._lines.ended(ended)
        if self._state != (frame.state, frame.reason):
            self._tell_state(look)

    def _tell_state(self, look: Look) -> None:
        self._state = look.frame.state, look.frame.reason
        self._lines.emit("study", artifacts=look.record.artifacts, **look.frame.to_dict())

    def note(self, text: str) -> None:
        self._lines.emit("note", text=text)

    def away(self, waits_for: str) -> None:
        """Its note says so."""

    def summary(self, store: Store, record: StudyRecord) -> None:
        self._lines.end(store, record.name, record.state, record.reason)
