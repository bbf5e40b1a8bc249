"""The bar below the lines of `controller start`: it keeps its words and its clock on every terminal."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

_WIDEST, _NARROWEST = 24, 8
_OTHERS = 2 + 1 + 7
"""Columns of the screen that spinner, gaps and clock take."""


class _Bar(BarColumn):
    """A bar that is left out where there is no room for it."""

    def render(self, task: Task) -> ProgressBar:
        return super().render(task) if self.bar_width else Text("")  # type: ignore[return-value] # rich shows either


class BarColumns:
    """The columns of the bar, fitted to the screen: state and clock first, then the bar, then the name."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._bar = _Bar(bar_width=_WIDEST)

    def all(self) -> list[ProgressColumn]:
        """In their order."""
        whole = Column(no_wrap=True)
        return [
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=whole),
            self._bar,
            TextColumn("{task.fields[state]}", markup=False, table_column=whole),
            TimeElapsedColumn(),
        ]

    def fit(self, name: str, state: str) -> tuple[str, str]:
        """Set the bar's width; returns the name and the state, shortened where they have to be."""
        room = self._screen.width - _OTHERS - 3
        state = _shortened(state, room)
        room -= cell_len(state)
        named = min(cell_len(name), max(0, room - _NARROWEST - 1))
        name = _shortened(name, named) if named >= min(4, cell_len(name)) else ""
        room -= cell_len(name)
        self._bar.bar_width = min(_WIDEST, room) if room >= _NARROWEST else 0
        return name, state


def _shortened(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"
