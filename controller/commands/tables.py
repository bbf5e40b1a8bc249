"""Answers as tables: the same rows for people, as CSV and as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from controller.results.as_csv import to_csv
from controller.screen.layout import Column, Fitted
from worker.protocol.printable import one_line

_LONG = ("gpus", "note", "parameters", "reason", "tags", "text", "url", "value", "worker", "why")
"""Columns with long texts: they may be broken, or stand below their row."""

LONGEST_CELL = 10_000
"""Characters of a cell that are shown."""


def table_of(rows: Sequence[dict[str, Any]], title: str | None = None) -> Fitted:
    """A table with a column for every key that occurs."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {name: all(isinstance(row.get(name) or 0, (int, float)) for row in rows) for name in names}
    columns = [
        Column(name=one_line(name), numeric=numeric[name], long=name in _LONG and not numeric[name])
        for name in names
    ]
    return Fitted(columns, [[_cell(row.get(name)) for name in names] for row in rows], one_line(title or ""))


def _cell(value: Any) -> Text:
    if value is None:
        return Text()
    return Text(f"{value:.6g}" if isinstance(value, float) else one_line(str(value), LONGEST_CELL))


def show(
    rows: Sequence[dict[str, Any]], output_format: str, *, raw: Any = None, title: str | None = None
) -> None:
    """Print rows on standard output.

    Args:
        rows: flat dicts.
        output_format: table, json or csv.
        raw: what JSON prints instead of the rows.
    """
    if output_format == "json":
        print(json.dumps(rows if raw is None else raw, indent=2))
    elif output_format == "csv":
        print(to_csv(rows), end="")
    elif rows:
        console().print(table_of(rows, title))
    else:
        console().print("nothing to show")


class _Screen(Console):
    """A console that leaves it to the command what a reader that has gone means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """The console for people; off a terminal it is so wide that no cell is cut."""
    plain = _screen()
    return plain if plain.is_terminal else _screen(width=240)


def _screen(**options: Any) -> _Screen:
    # Where nothing may be drawn twice there are lines, though with the colors that are asked for.
    drawn = None if may_redraw(sys.stdout, os.environ) else False
    return _Screen(highlight=False, emoji=False, force_interactive=drawn, **options)


def may_redraw(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether what stands on a screen may be drawn again in its place; TTY_INTERACTIVE overrules it.

    Not in a pipe or a file, whatever colors FORCE_COLOR asks for, not in a log of a CI, some of which are
    terminals, and not below a notebook's cell (``!controller start``), which knows no cursor.
    """
    if environment.get("TTY_INTERACTIVE") in ("0", "1"):
        return environment["TTY_INTERACTIVE"] == "1"
    in_cell = environment.get("TERM") == "xterm-color" and "JPY_PARENT_PID" in environment
    return stream.isatty() and not environment.get("CI") and not in_cell
