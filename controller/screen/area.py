"""The lower part of a terminal, drawn again and again, with lines that scroll by above it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

DRAW_S = 0.25
"""Shortest time between two drawings, in seconds."""
TICK_S = 1.0
"""Time after which it is drawn although nothing has changed: its clock runs."""


class LiveArea:
    """Draws from a thread of its own, so that nobody waits for the terminal. Any thread may call it.

    Args:
        picture: returns what to draw; called by the thread.
    """

    def __init__(self, console: Console, picture: Callable[[], RenderableType]) -> None:
        self._console = console
        self._live = Live(
            _Drawn(picture),
            console=console,
            transient=True,
            auto_refresh=False,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._lines: list[Text] = []
        self._lock = threading.Lock()
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)

    def start(self) -> None:
        """Draw from now on."""
        self._live.start()
        self._thread.start()

    def say(self, line: Text) -> None:
        """Have a line scroll by above."""
        with self._lock:
            self._lines.append(line)
        self._news.set()

    def changed(self) -> None:
        """There is something new to draw."""
        self._news.set()

    def stop(self) -> None:
        """Print the lines that wait, and clear the area. Twice is harmless."""
        self._over.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone
            self._draw()
            self._live.stop()

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone, and its reader with it
            while not self._over.is_set():
                self._draw()
                self._over.wait(DRAW_S)
                self._news.wait(TICK_S - DRAW_S)
                self._news.clear()

    def _draw(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        with self._console:  # one write for both
            if lines:
                self._console.print(Group(*lines), crop=False)
            else:
                self._live.refresh()


class _Drawn:
    """What is drawn, asked for at each drawing."""

    def __init__(self, picture: Callable[[], RenderableType]) -> None:
        self._picture = picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._picture()
