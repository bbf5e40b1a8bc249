"""What a task has printed, in lines with their colors: from any position on, so that a page can follow it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from worker.protocol import Store
from worker.protocol.printable import colored

TAIL_BYTES = 64 << 10
"""Read at once: what is shown first, and by each step back."""
MOST_BYTES = 256 << 10
"""Read at once by who follows."""
LONGEST_LINE = 64 << 10
"""Bytes of a line without end after which it is shown as one."""

_STYLE = re.compile(r"(?:(?:[bdiuv]|[fg](?:[0-9]|1[0-5]))(?:,|$))*")
_FLAGS = {1: "b", 2: "d", 3: "i", 4: "u", 7: "v"}
_OFF = {22: ("b", "d"), 23: ("i",), 24: ("u",), 27: ("v",), 39: ("f",), 49: ("g",)}
_COLORS = (
    (0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170),
    (170, 170, 170), (85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85), (85, 85, 255),
    (255, 85, 255), (85, 255, 255), (255, 255, 255),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Text of one style, all of it printable."""

    text: str
    style: str
    """Words divided by spaces: ``b d i u v`` (bold, dim, italic, underlined, reversed), ``f0`` to ``f15``
    (color) and ``g0`` to ``g15`` (background); empty for plain text."""


Line = tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class Output:
    """A part of what a task has printed. Positions are bytes of all that it ever printed."""

    lines: tuple[Line, ...]
    """Whole lines."""
    rest: Line
    """The line that has no end yet."""
    start: int
    """Where `lines` begin."""
    next: int
    """Where to go on: the beginning of `rest`, as a rule."""
    style: str
    """The style at `next`, for who goes on."""
    first: int
    """Where the output that is kept begins."""
    more: bool
    """There is more already."""


def read_output(
    store: Store, task_id: str, *, start: int | None = None, until: int | None = None, style: str = ""
) -> Output:
    """A part of a task's output: what follows a position, what precedes one, or by default its end.

    Args:
        start: read on from here, a `next` of before.
        until: read what precedes this `start` of before.
        style: as `Output.style` of before; any other text counts for nothing.
    """
    state = set(style.split(",")) - {""} if _STYLE.fullmatch(style) else set[str]()
    if start is not None:
        part = store.logs.part(task_id, max(0, start), MOST_BYTES)
    elif until is not None:
        begin = max(0, until - TAIL_BYTES)
        part = store.logs.part(task_id, begin, max(0, until - begin))
    else:
        part = store.logs.part(task_id, -TAIL_BYTES, TAIL_BYTES)
    data, at = part.data, part.start
    if start is None and at > part.dropped:
        cut = data.find(b"\n") + 1  # it begins within a line
        data, at = data[cut:], at + cut
    ended = data.rfind(b"\n") + 1
    whole, rest = data[:ended], data[ended:]
    if until is not None and rest:
        whole, rest = data, b""
    elif len(rest) > LONGEST_LINE:
        # What a progress bar has overwritten is over; a line that never ends is shown as it comes.
        back = rest.rfind(b"\r", 0, -1) + 1 or len(rest)
        whole, rest = (whole + rest[:back], rest[back:]) if back == len(rest) else (whole, rest[back:])
    lines = tuple(_line(text, state) for text in _texts(whole))
    after = at + len(data) - len(rest)
    kept = ",".join(sorted(state))
    return Output(
        lines=lines,
        rest=_line(rest.decode("utf-8", "replace"), state),
        start=at,
        next=after,
        style=kept,
        first=part.dropped,
        more=part.start + len(part.data) < part.end and until is None,
    )


def _texts(data: bytes) -> list[str]:
    if not data:
        return []
    return data.removesuffix(b"\n").decode("utf-8", "replace").split("\n")


def _line(text: str, state: set[str]) -> Line:
    """A line as a terminal leaves it: what was written over after a carriage return is gone.

    Args:
        state: the style where it begins, and afterwards where it ends.
    """
    pieces: list[Piece] = []
    returned = False
    for part, color in colored(text):
        if color is not None:
            _apply(color, state)
            continue
        _, back, tail = part.rstrip("\r").rpartition("\r")
        if tail and (returned or back):
            pieces.clear()
        returned = part.endswith("\r") or (returned and not tail)
        if tail:
            pieces.append(Piece(text=tail, style=" ".join(sorted(state))))
    return tuple(pieces)


def _apply(parameters: str, state: set[str]) -> None:
    """Change a style by the parameters of a color's escape sequence."""
    numbers = iter([int(text[:4] or 0) for text in parameters.split(";")])
    for number in numbers:
        if number == 0:
            state.clear()
        elif number in _FLAGS:
            state.add(_FLAGS[number])
        elif number in _OFF:
            _drop(state, *_OFF[number])
        elif number in (38, 48):
            color = _given(numbers)
            if color is not None:
                _color(state, "f" if number == 38 else "g", color)
        else:
            for base, kind, color in ((30, "f", 0), (40, "g", 0), (90, "f", 8), (100, "g", 8)):
                if base <= number < base + 8:
                    _color(state, kind, color + number - base)


def _color(state: set[str], kind: str, color: int) -> None:
    _drop(state, kind)
    state.add(f"{kind}{color}")


def _drop(state: set[str], *kinds: str) -> None:
    state -= {word for word in state if word.startswith(kinds)}


def _given(numbers: Iterable[int]) -> int | None:
    """The nearest of 16 colors to one of 256 or of millions; None if it isn't said whole."""
    values = iter(numbers)
    mode = next(values, None)
    if mode == 5:
        number = next(values, 256)
        if number < 16:
            return number
        if number > 255:
            return None
        if number >= 232:
            return _nearest((number - 232) * 10 + 8, (number - 232) * 10 + 8, (number - 232) * 10 + 8)
        cube = number - 16
        red, green, blue = (0 if level == 0 else 55 + 40 * level for level in _digits(cube))
        return _nearest(red, green, blue)
    if mode == 2:
        found = [next(values, -1) for _ in range(3)]
        return _nearest(*found) if all(0 <= value <= 255 for value in found) else None
    return None


def _digits(cube: int) -> tuple[int, int, int]:
    return cube // 36, cube // 6 % 6, cube % 6


def _nearest(red: int, green: int, blue: int) -> int:
    def distance(number: int) -> int:
        r, g, b = _COLORS[number]
        return (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2

    return min(range(16), key=distance)
