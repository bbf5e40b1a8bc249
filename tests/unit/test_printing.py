"""The lines of a program's own search: bold and colors where the terminal takes them, plain text elsewhere."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from rich.console import Console
from rich.markup import escape

from controller.loop.budget import Budget
from controller.search.objective import Objective
from controller.session.printing import LinesView
from tests.fakes import record
from worker.protocol import Reason, Status, Store

NAME, REDIS = "digits [1]", "redis://:hidden@head:6379/0"
STUDY = "study {}: maximize accuracy/validation · queue gpu · Redis redis://:***@head:6379/0\n"
VARIABLES = ("TERM", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Bare:
    """What a program may put in place of standard output."""

    def __init__(self) -> None:
        self.text = io.StringIO()

    def write(self, text: str) -> None:
        self.text.write(text)

    def flush(self) -> None: ...


def search() -> Any:
    return SimpleNamespace(
        study=NAME,
        backend=SimpleNamespace(
            home=SimpleNamespace(embedded=None, redis_url=REDIS),
            store=Store(fakeredis.FakeRedis(decode_responses=True)),
        ),
        budget=Budget(10),
        status="running",
        objective=Objective("accuracy", "validation", "max"),
        queue="gpu",
    )


def job(status: Status, reason: Reason | None = None, why: str = "") -> Any:
    made = record(trial=7, status=status, reason_class=reason, reason=why, compute_s=2.25)
    return SimpleNamespace(record=made, parameters={"lr": 0.01234567, "opt": "sgd"}, scalars={})


def printed(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    """The lines of a search that begins, notes something, and has a trial that fails and one that doesn't."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    view = LinesView()
    view.begin(search())
    view.note("no worker [yet]")
    view.ended(job(Status.FAILED, Reason.OBJECTIVE_ERROR, "ValueError: [x]"))
    view.ended(job(Status.COMPLETED))
    return stream.getvalue().splitlines(keepends=True)


def by_rich(file: io.StringIO) -> list[str]:
    """The same lines as rich prints them in this environment."""
    screen = Console(file=file, highlight=False, emoji=False, width=240)
    screen.print(escape(STUDY).replace("{}", f"[bold]{escape(NAME)}[/]"), end="", soft_wrap=True)
    screen.print(f"[cyan]·[/] {escape('no worker [yet]')}", soft_wrap=True)
    for style, status, why in (
        ("red", "failed   ", " objective_error: ValueError: [x]"),
        ("green", "completed", ""),
    ):
        screen.print(
            f"trial    7 [{style}]{status}[/] {' ' * 10}    2.2 s  lr=0.01235 opt=sgd[{style}]{escape(why)}[/]",
            soft_wrap=True,
        )
    return file.getvalue().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("environment", "bold", "colors"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "Unknown"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "FORCE_COLOR": ""}, False, False),
        ({"TERM": "xterm", "TTY_COMPATIBLE": "0", "FORCE_COLOR": "1"}, False, False),
    ],
)
def test_a_terminal_gets_what_it_takes(
    environment: dict[str, str], bold: bool, colors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(Terminal(), monkeypatch, **environment)
    assert lines[0] == STUDY.format(f"\x1b[1m{NAME}\x1b[0m" if bold else NAME)
    assert lines[1] == ("\x1b[36m·\x1b[0m no worker [yet]\n" if colors else "· no worker [yet]\n")
    assert ("\x1b[31mfailed   \x1b[0m" in lines[2]) == colors
    assert "\x1b[32mcompleted\x1b[0m" in lines[3] if colors else "\x1b" not in "".join(lines[1:])
    assert lines == by_rich(Terminal())


@pytest.mark.parametrize(
    ("environment", "styled"),
    [
        ({"TERM": "xterm"}, False),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, True),
        ({"TERM": "xterm", "TTY_COMPATIBLE": "1", "FORCE_COLOR": ""}, True),
    ],
)
def test_a_file_gets_plain_text_unless_told_otherwise(
    environment: dict[str, str], styled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(io.StringIO(), monkeypatch, **environment)
    assert lines[0] == STUDY.format(f"\x1b[1m{NAME}\x1b[0m" if styled else NAME)
    assert lines[2].startswith("trial    7 \x1b[31m" if styled else "trial    7 failed      ")
    assert lines == by_rich(io.StringIO())


def test_a_stream_of_the_programs_own_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Bare()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdout", bare)
    LinesView().begin(search())
    assert bare.text.getvalue() == STUDY.format(NAME)
