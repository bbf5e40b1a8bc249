"""Text that workers wrote, on terminals, in logs and in sheets."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from rich.console import Console

from controller.commands.tables import table_of
from controller.results.as_csv import to_csv
from worker.protocol.printable import cell, lines, one_line, output

HOSTILE = {
    "clear the screen": "\x1b[2J\x1b[H",
    "rename the window": "\x1b]0;pwned\x07",
    "a link": "\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\",
    "type on the terminal": "\x1b[6n\x1bP$q\x1b\\",
    "write the clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "8-bit control": "\x9b2J\x90x\x9c",
    "overwrite the line": "ok\rfailed",
    "rub out": "bad\b\b\bok",
    "lines": "a\nstudy s completed: all is well\n",
    "separators": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg",
    "right to left": "\u202egnp.exe\u202c\u200f\u2066x\u2069",
    "unseen": "a\u200bb\ufeffc\u00add",
    "NUL": "a\x00b\x7f",
    "half a character": "a\ud800b",
    "hidden": "\x1b[8mhidden",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_one_line_is_one_printable_line(name: str) -> None:
    shown = one_line(HOSTILE[name])
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize("text", ["", "loss", "ünïcode 模型 ☃ 🙂", "[bold]x[/]", "a 'b' \"c\" \\ %s {x}"])
def test_ordinary_text_stays(text: str) -> None:
    assert one_line(text) == lines(text) == output(text) == text
    assert cell(text) == text


def test_a_line_has_an_end() -> None:
    assert one_line("x" * 5000, 100) == "x" * 100 + "…"


def test_several_lines_and_output_keep_theirs() -> None:
    assert lines("a\n\tb\n") == "a\n\tb\n"
    assert lines("a\rb\x1b[31m") == "a\\rb\\x1b[31m"
    bar = "\x1b[32m 50%\x1b[0m\r\x1b[1;31m100%\x1b[m\n"
    assert output(bar) == bar
    assert output("\x1b[" + "1;" * 100 + "m\x1b[2K\x1b[?25l") == "\\x1b[" + "1;" * 100 + "m\\x1b[2K\\x1b[?25l"


@pytest.mark.parametrize("name", HOSTILE)
def test_output_moves_nothing(name: str) -> None:
    shown = output(HOSTILE[name])
    assert set(shown) - {"\n", "\t", "\r", "\x1b"} == {c for c in shown if c.isprintable()}
    assert "\x1b" not in shown or name == "hidden"


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|' /C calc'!A0",
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "\t=1",
        "\n=1",
        "＝1",
        "＋1",
        "--1",
        "=",
        "-",
    ],
)
def test_no_cell_is_a_formula(text: str) -> None:
    assert str(cell(text)).startswith("'")
    (row,) = csv.reader(io.StringIO(to_csv([{"x": text}]).split("\n", 1)[1]))
    assert row[0].startswith("'")
    header = next(csv.reader(io.StringIO(to_csv([{text: 1}]))))
    assert header[0].startswith("'")


@pytest.mark.parametrize(
    "value", [-1.5, 3, None, True, "-1.5", "+2", "1e-5", "-inf", "0.1", "2024-01-01", "a=b", "x-y"]
)
def test_what_is_no_formula_stays(value: Any) -> None:
    assert cell(value) is value or cell(value) == value


def test_tables_and_sheets_show_text_as_text() -> None:
    text = "".join(HOSTILE.values())
    rows = [{"a": text, text: "b", "n": 1.5}]
    out = io.StringIO()
    Console(file=out, width=4000, emoji=False, highlight=False).print(table_of(rows, title=text))
    assert "\x1b" not in out.getvalue()
    assert all(c.isprintable() or c == "\n" for c in out.getvalue())
    assert all(c.isprintable() or c in "\n\t" for c in to_csv(rows))
