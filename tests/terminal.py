"""A pseudo terminal with a person before it: what a command shows, and keys that are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from tests import forkserver
from tests.e2e.harness import BIN, environment

CTRL_C = b"\x03"
_PARTS = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\][^\x07]*\x07|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """The lines of a terminal after what was written to it, those that have scrolled out included.

    It knows what our commands write: text, which is wrapped, line ends, cursor up, erased lines, colors.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._lines: list[str] = [""]
        self._row = 0

    def write(self, text: str) -> None:
        for code, letter, end, plain in _PARTS.findall(text):
            if letter == "A":
                self._row = max(0, self._row - int(code or 1))
            elif letter == "K":
                self._lines[self._row] = ""
            elif end == "\n":
                self._down()
            elif end == "\r":
                self._column = 0
            elif plain:
                self._put(plain)

    _column = 0

    def _put(self, text: str) -> None:
        for letter in text:
            if self._column >= self._width:
                self._down()
                self._column = 0
            line = self._lines[self._row].ljust(self._column)
            self._lines[self._row] = line[: self._column] + letter + line[self._column + 1 :]
            self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append("")

    def lines(self) -> list[str]:
        """From the first, without blanks at their ends."""
        return [line.rstrip() for line in self._lines]


class Terminal:
    """One of our commands on a pseudo terminal of its own."""

    def __init__(self, process: subprocess.Popen[Any], master: int, width: int) -> None:
        self._process = process
        self._master = master
        self._screen = Screen(width)
        self._left = b""
        self.raw = ""
        """All that was written, control sequences included."""

    def lines(self) -> list[str]:
        """What the screen shows, and what has scrolled out above."""
        return self._screen.lines()

    def text(self) -> str:
        return "\n".join(self.lines())

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait_for(self, condition: Callable[[], object], what: str, deadline_s: float = 60.0) -> None:
        """Read until `condition()` holds; fails when it doesn't in time."""
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}:\n{self.text()}"
            assert self._read() or condition(), f"it ended without {what}:\n{self.text()}"

    def wait(self, deadline_s: float = 60.0) -> int:
        """Read until it ends; returns its exit code."""
        end = time.monotonic() + deadline_s
        while self._read():
            assert time.monotonic() < end, f"it doesn't end:\n{self.text()}"
        return self._process.wait(deadline_s)

    def _read(self) -> bool:
        """Read what there is, or wait a little; False at the end."""
        if not select.select([self._master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # its end, on Linux
            return False
        data = self._left + data
        # A letter of several bytes, or a control sequence, may be cut in two.
        whole = re.sub(rb"(\x1b[^A-Za-z\x07]*|[\xc0-\xff][\x80-\xbf]*)$", b"", data)
        self._left = data[len(whole) :]
        if len(self._left) > 3 and self._left[0] >= 0xC0:
            whole, self._left = data, b""
        text = whole.decode()
        self.raw += text
        self._screen.write(text)
        return bool(data)


@contextmanager
def at_terminal(
    folder: Path, *arguments: str, width: int = 80, height: int = 24, **env: str
) -> Iterator[Terminal]:
    """`controller` with these arguments on a terminal of this size; killed at the end if it still runs."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    variables = environment(TERM="xterm-256color", **env)
    for name in ("COLUMNS", "LINES", "CI"):  # the terminal itself says
        variables.pop(name, None)
    process = forkserver.popen(
        [str(BIN / "controller"), *arguments],
        cwd=folder,
        env=variables,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master, width)
    finally:
        process.kill()
        process.wait(10)
        os.close(master)


def widest(lines: list[str]) -> int:
    """Cells of the longest line."""
    return max(map(cell_len, lines), default=0)
