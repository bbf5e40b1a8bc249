"""Curves in a terminal: within its width, plain where it has no colors and no braille, whatever the values are."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from controller.screen.plots import Line, Plot

HOSTILE = "[bold]研究[/]\x1b[2J" * 30


def printed(plot: Plot, width: int = 80, **options: Any) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False, emoji=False, **options).print(plot)
    return stream.getvalue()


def curve(values: list[float], name: str = "loss", **options: Any) -> Line:
    return Line(name=name, x=range(len(values)), y=values, **options)


FALLING = curve([1 / (1 + n) for n in range(50)])


def test_a_pipe_gets_plain_characters() -> None:
    text = printed(Plot("loss", "iteration", [FALLING]))
    assert text.isascii()
    lines = text.splitlines()
    assert lines[0] == "loss, by iteration"
    assert lines[2].startswith("    1|*")
    assert lines[-3].rstrip("|").endswith("*")
    assert lines[-3].startswith(" 0.02|")
    assert lines[-1].split() == ["0", "12", "24", "37", "49"]


@pytest.mark.parametrize("options", [{"color_system": None}, {"color_system": "256"}, {"no_color": True}])
def test_a_terminal_gets_braille_and_the_colors_that_it_has(options: Any) -> None:
    text = printed(Plot("loss", "iteration", [FALLING]), force_terminal=True, **options)
    assert any("\u2800" < letter <= "\u28ff" for letter in text)
    assert ("\x1b[94m" in text) == (options.get("color_system") == "256")
    # The terminal's own background, be it dark or light.
    assert "\x1b[4" not in text.replace("\x1b[40m", "\x1b[4")


def test_a_dumb_terminal_and_one_without_unicode_get_plain_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert printed(Plot("loss", "iteration", [FALLING]), force_terminal=True).isascii()
    monkeypatch.setenv("TERM", "xterm")
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    Console(file=latin, width=60, force_terminal=True, color_system=None).print(Plot("a", "x", [FALLING]))
    latin.flush()
    assert latin.buffer.getvalue().isascii()  # type: ignore[attr-defined] # a BytesIO


@pytest.mark.parametrize("width", [24, 40, 80, 200])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        [], [1.0], [0.0], [2.0, 2.0], [math.nan, 1.0, math.inf], [math.nan], [1e300, -1e300], [1e-320, 2e-320],
        [-1e9, 1e-9], [float(n) for n in range(5000)],
    ],
)  # fmt: skip
def test_any_values_are_drawn_within_the_width(width: int, plain: bool, values: list[float]) -> None:
    lines = [curve(values, HOSTILE), curve(values, HOSTILE, joined=False, color=1)]
    text = printed(Plot(HOSTILE, "trial", lines), width, force_terminal=not plain, color_system=None)
    assert max(map(cell_len, text.splitlines())) <= (min(80, width) if plain else width)
    assert "\x1b" not in text
    assert ("no value to draw yet" in text) == (not any(map(math.isfinite, values)))


def test_lines_over_each_other_have_a_legend() -> None:
    text = printed(Plot("loss", "trial", [FALLING, curve([0.5] * 50, "best so far", color=1)]))
    assert "  * loss\n  o best so far\n" in text
    assert "* loss" not in printed(Plot("loss", "trial", [FALLING]))


def test_a_few_far_values_flatten_no_curve() -> None:
    values = [1.0 + n % 7 for n in range(100)]
    values[3] = 1e12
    text = printed(Plot("loss", "trial", [curve(values, joined=False), curve([1.0] * 100, "best", color=1)]))
    assert "1 value(s) beyond the edge" in text
    assert text.splitlines()[2].split("|")[0].strip() == "7"


def test_where_a_curve_ends_is_shown_however_far() -> None:
    values = [1.0 + n % 7 for n in range(100)]
    best = [max(values[: n + 1]) for n in range(99)] + [1e6]
    text = printed(Plot("score", "trial", [curve(values, joined=False), curve(best, "best", color=1)]))
    assert "beyond" not in text
    assert text.splitlines()[2].split("|")[0].strip() == "1e+06"
