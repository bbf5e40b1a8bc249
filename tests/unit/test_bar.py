"""The bar of `controller start`: words and clock stay on every terminal."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress

from controller.commands.bar import BarColumns

LONG = "transformer-finetuning-large-scale-ablation"
STATE = "12 ended · 2 running on 2 slot(s) · best 0.93123 (trial 7)"


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("name", ["s", LONG, "研究" * 20])
@pytest.mark.parametrize("state", ["0 ended · 0 running", STATE])
def test_words_and_clock_stay(width: int, name: str, state: str) -> None:
    stream = io.StringIO()
    screen = Console(file=stream, width=width, force_terminal=True, color_system=None)
    columns = BarColumns(screen)
    progress = Progress(*columns.all(), console=screen)
    description, shown = columns.fit(name, state)
    progress.add_task(description, total=20, completed=5, state=shown)
    with screen.capture() as capture:
        screen.print(progress.get_renderable())
    lines = capture.get().rstrip("\n").splitlines()
    assert len(lines) == 1, lines
    assert cell_len(lines[0].rstrip()) <= width
    assert "-:--:--" in lines[0] or "0:00:00" in lines[0]
    if width >= 80:
        assert state in lines[0]
        assert "━━" in lines[0]
    else:
        assert state[:8] in lines[0]
    if width >= 200:
        assert name in lines[0]
