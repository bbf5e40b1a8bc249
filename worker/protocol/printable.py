"""Text that others wrote, as it may be shown: on a terminal, in a line of a log, in a cell of a sheet.

A worker's names, reasons and output are data. Escape sequences among them would move the cursor, rename the
window or type for the person who looks; marks of writing direction and line breaks would show what isn't so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_COLOR = r"\x1b\[[0-9;]{0,30}m"
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")


def one_line(text: str, most: int = 1000) -> str:
    """`text` as one printable line, so that what others wrote can't pass for a line of ours.

    Args:
        most: characters kept.
    """
    short = text if len(text) <= most else f"{text[:most]}…"
    return short if short.isprintable() else "".join(map(_shown, short))


def lines(text: str) -> str:
    """`text` with its line breaks and tabs, all else printable: a traceback, a message of several lines."""
    return _kept(text, "\n\t")


def output(text: str) -> str:
    """What a program has printed, with its lines, tabs, carriage returns and colors; all else printable."""
    parts = re.split(f"({_COLOR})", text)
    return "".join(part if place % 2 else _kept(part, "\n\t\r") for place, part in enumerate(parts))


def colored(text: str) -> Iterator[tuple[str, str | None]]:
    """`output` in parts: printable text with None, or no text with a color's parameters, such as ``1;31``."""
    for place, part in enumerate(re.split(f"({_COLOR})", text)):
        if place % 2:
            yield "", part[2:-1]
        elif part:
            yield _kept(part, "\n\t\r"), None


def cell(value: object) -> object:
    """A value as a cell of a CSV file: what a spreadsheet would take for a formula gets a ``'`` before it."""
    if not isinstance(value, str):
        return value
    text = lines(value)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def _kept(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter in kept or letter.isprintable() else _shown(letter) for letter in text)


def _shown(letter: str) -> str:
    return letter if letter.isprintable() else repr(letter)[1:-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text.strip() == text
