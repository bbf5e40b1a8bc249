"""A table that stays readable where it does not fit: what is too long stands below each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

ENOUGH = 60
"""Columns of the screen at which a long text may be broken within its cell."""
_GAP = 2
_INDENT = 4


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a `Fitted` table."""

    name: str
    numeric: bool = False
    long: bool = False
    """It holds texts that may be broken, and go below the row on a narrow screen."""


class Fitted:
    """Rows, shown by the width of the screen.

    As a table where that fits, with its long columns at `ENOUGH` or more; else the short columns as a table,
    and what is long below each row; where not even these fit, each row as ``name value`` pairs.
    """

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[Text]], title: str = "") -> None:
        self.title = title
        self.columns = list(columns)
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        if self.title:
            yield Text(self.title, style="italic", overflow="fold")
        widths = [self._width(place) for place in range(len(self.columns))]
        short = [place for place, column in enumerate(self.columns) if not column.long]
        least = [min(w, ENOUGH) if c.long else w for w, c in zip(widths, self.columns, strict=True)]
        if _total(least) + len(least) + 1 <= width:  # a table has wider gaps, and edges
            yield self._table()
        elif _total(widths) <= width:
            yield from self._with_notes(console, range(len(widths)), widths, width)
        elif short and _total([widths[place] for place in short]) <= width:
            yield from self._with_notes(console, short, widths, width)
        else:
            for row in self._rows:
                yield from self._as_pairs(console, row, short, width)

    def _width(self, place: int) -> int:
        lines = [line.cell_len for row in self._rows for line in row[place].split("\n")]
        return max([Text(self.columns[place].name).cell_len, *lines])

    def _table(self) -> Table:
        # As `Text`, names and values are shown as they are: in a str, "[x]" is markup.
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in self.columns:
            table.add_column(
                Text(column.name),
                justify="right" if column.numeric else "left",
                overflow="fold",
                no_wrap=not column.long,
            )
        for row in self._rows:
            table.add_row(*row)
        return table

    def _with_notes(
        self, console: Console, short: Sequence[int], widths: Sequence[int], width: int
    ) -> RenderResult:
        def line(cells: Sequence[Text]) -> Text:
            padded = []
            for place in short:
                cell = cells[place].copy()
                missing = widths[place] - cell.cell_len
                (cell.pad_left if self.columns[place].numeric else cell.pad_right)(missing)
                padded.append(cell)
            return _rstripped(Text(" " * _GAP).join(padded))

        yield line([Text(column.name, style="bold") for column in self.columns])
        yield Text("─" * min(width, _total([widths[place] for place in short])))
        for row in self._rows:
            yield line(row)
            if len(short) < len(row):
                yield from self._notes(console, row, width)

    def _as_pairs(
        self, console: Console, row: Sequence[Text], short: Sequence[int], width: int
    ) -> RenderResult:
        pairs = [
            Text.assemble(self.columns[place].name, " ", row[place]) for place in short if row[place].plain
        ]
        yield from flowed(console, pairs, width, first=0)
        yield from self._notes(console, row, width)

    def _notes(self, console: Console, row: Sequence[Text], width: int) -> RenderResult:
        for column, cell in zip(self.columns, row, strict=True):
            if not column.long or not cell.plain:
                continue
            label = [] if column.name == "parameters" else [Text(f"{column.name}:")]
            words = [Text(word) for word in cell.plain.split()]
            gap = _GAP if column.name == "parameters" else 1
            yield from flowed(console, [*label, *words], width, gap=gap)


def flowed(
    console: Console,
    parts: Sequence[Text],
    width: int,
    *,
    indent: int = _INDENT,
    first: int = _INDENT,
    gap: int = _GAP,
) -> Iterator[Text]:
    """Lines of whole parts, with a gap between two; only a part that is longer than a line is broken.

    Args:
        indent: columns before each line.
        first: columns before the first one.
    """
    line, begun = Text(" " * first), False
    for part in parts:
        if begun and line.cell_len + gap + part.cell_len > width:
            yield line
            line, begun = Text(" " * indent), False
        if begun:
            line.append(" " * gap)
        *whole, part = part.wrap(console, max(1, width - line.cell_len), overflow="fold") or [part]
        for piece in whole:
            yield line.append_text(_rstripped(piece))
            line = Text(" " * indent)
        line.append_text(part)
        begun = True
    if begun:
        yield line


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _rstripped(text: Text) -> Text:
    text.rstrip()
    return text
