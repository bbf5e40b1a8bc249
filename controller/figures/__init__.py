"""Plotly's figures of a study, as plain dicts: for the page and for the report.

`FIGURES` has all of them by name; each is called with a `StudyData`, and returns ``{"data": [...], "layout":
{...}}`` of JSON types alone, without colors for text, axes and background: those are up to the page.
Nothing here needs Redis, Optuna's storage or a browser.
"""

from __future__ import annotations

from controller.figures.catalogue import FIGURES, applicable
from controller.figures.figure import Figure, Options

__all__ = ["FIGURES", "Figure", "Options", "applicable"]
