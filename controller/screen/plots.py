"""Curves in a terminal, by plotext: colors and braille where it has them, plain characters elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotext
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from controller.screen.frame import shortened
from worker.protocol.printable import one_line

WIDEST, HIGHEST = 100, 16
"""Columns and lines of a plot on a large screen."""
_NARROWEST = 24
_PLAIN_WIDTH = 80
_PLAIN = str.maketrans("┌┐└┘├┤┬┴┼─│", "+++++|+++-|")
_COLORS = ("bright_blue", "bright_green", "bright_red", "bright_yellow", "bright_magenta", "bright_cyan")
_PLOTEXT_COLORS = ("blue+", "green+", "red+", "orange+", "magenta+", "cyan+")
_POINTS = "*o.x+#"
"""Marks of lines and points where there is no color to tell them apart."""
_FAR = 20.0
"""How many times as high as what lies between the quantiles a plot may be."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points by rising x, of a line or each for itself; those that aren't finite are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    joined: bool = True
    color: int = 0
    """Place among the colors that a plot has."""


class Plot:
    """Lines and points over each other, as wide as the screen.

    Args:
        title: what is shown; one line above.
        x_name: what x counts.
    """

    def __init__(self, title: str, x_name: str, lines: Sequence[Line]) -> None:
        self._title, self._x_name = title, x_name
        self._lines = [_finite(line) for line in lines]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_plain = options.ascii_only or not console.is_terminal or console.is_dumb_terminal
        width = min(WIDEST if console.is_terminal else _PLAIN_WIDTH, options.max_width)
        lines = [line for line in self._lines if line.x]
        title = f"{one_line(self._title)}, by {self._x_name}"
        yield Text(shortened(title, width), style="bold")
        if not lines:
            yield Text("  no value to draw yet")
            return
        width = max(width, _NARROWEST)
        low, high, beyond = _limits(lines)
        matrix = _draw(lines, width, (low, high), is_plain)
        if is_plain:
            text = "\n".join(row.rstrip() for row in matrix.string(colorless=True).splitlines())
            yield Text(text.translate(_PLAIN).rstrip("\n"), no_wrap=True, overflow="crop")
        else:
            drawn = Text.from_ansi(matrix.string().rstrip("\n"))
            drawn.no_wrap, drawn.overflow = True, "crop"
            yield drawn
        yield from self._legend(lines, width, beyond, is_plain)

    def _legend(self, lines: Sequence[Line], width: int, beyond: int, is_plain: bool) -> RenderResult:
        for line in lines if len(lines) > 1 else ():
            mark = _POINTS[line.color % len(_POINTS)] if is_plain else ("━━" if line.joined else "••")
            name = shortened(one_line(line.name), width - 5)
            yield Text.assemble(
                "  ", (mark, "" if is_plain else _COLORS[line.color % len(_COLORS)]), " ", name
            )
        if beyond:
            yield Text(f"  {beyond} value(s) beyond the edge", style="dim")


def _draw(lines: Sequence[Line], width: int, limits: tuple[float, float], is_plain: bool) -> Any:
    """The drawing, a matrix of plotext's."""
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, HIGHEST)
    figure.theme("colorless")  # the terminal's own background; marks have their colors
    for line in lines:
        place = line.color % len(_COLORS)
        marker = _POINTS[place]
        if not is_plain:
            marker = plotext.marker("braille" if line.joined else "dot", _PLOTEXT_COLORS[place])
        figure.draw(figure.signal(list(line.x), list(line.y), marker=marker).lines(line.joined))
    low, high = limits
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    ticks = [low + (high - low) * part / 4 for part in range(5)]
    figure.ruler("y").lim(low, high).ticks(ticks, [f"{tick:.4g}" for tick in ticks])
    ends = [(line.x[0], line.x[-1]) for line in lines]
    first, last = min(one for one, _ in ends), max(one for _, one in ends)
    if first == last:
        first, last = first - 1, last + 1
    whole = all(float(x).is_integer() for line in lines for x in line.x)
    between = [first + (last - first) * part / 4 for part in range(1, 4)]
    ticks = sorted({first, last, *(round(x) if whole else float(f"{x:.4g}") for x in between)})
    figure.ruler("x").lim(first, last).ticks(ticks, [f"{tick:.6g}" for tick in ticks])
    return figure.build()


def _finite(line: Line) -> Line:
    kept = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
    return Line(
        name=line.name, x=[x for x, _ in kept], y=[y for _, y in kept], joined=line.joined, color=line.color
    )


def _limits(lines: Sequence[Line]) -> tuple[float, float, int]:
    """Lowest and highest y that are shown, and how many points lie beyond: a few far ones flatten no curve.

    Where a curve ends is always shown.
    """
    values = sorted(y for line in lines for y in line.y)
    low, high = values[0], values[-1]
    aside = len(values) // 20
    ends = [line.y[-1] for line in lines if line.joined]
    core_low, core_high = min([values[aside], *ends]), max([values[-1 - aside], *ends])
    room = (core_high - core_low) * _FAR
    if core_high > core_low:
        near = [value for value in values if core_low - room <= value <= core_high + room]
        low, high = near[0], near[-1]
    return low, high, sum(1 for value in values if not low <= value <= high)
