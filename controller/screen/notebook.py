"""A picture in a notebook's cell that is drawn again in its place."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, RenderableType

WIDTH = 100
"""Columns: a notebook doesn't say how many it has."""
_HTML = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:normal;'
    "font-family:Menlo,'DejaVu Sans Mono',consolas,'Courier New',monospace\">{code}</pre>"
)


class Cell:
    """The output of one cell. Notebooks that don't show HTML get the text."""

    def __init__(self) -> None:
        self._shown: Any = None

    def draw(self, picture: RenderableType) -> None:
        """Draw in the place of what was drawn before."""
        screen = Console(
            file=io.StringIO(), record=True, width=WIDTH, force_jupyter=False, highlight=False, emoji=False
        )
        screen.print(picture)
        bundle = {
            "text/plain": screen.export_text(clear=False),
            # The notebook's own colors stay: dark ones have light text.
            "text/html": screen.export_html(inline_styles=True, code_format=_HTML),
        }
        if self._shown is None:
            from IPython.display import display  # noqa: PLC0415 - there in notebooks, and perhaps nowhere else

            self._shown = display(bundle, raw=True, display_id=True)
        else:
            self._shown.update(bundle, raw=True)
