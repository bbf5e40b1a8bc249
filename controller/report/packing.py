"""Figures and tables made small: numbers as bytes, JSON squeezed; letters that HTML leaves alone."""

from __future__ import annotations

import base64
import gzip
import json
import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

FEWEST = 16
"""Numbers of a list that is worth packing."""
CLOSE = 1e-4
"""How far a packed number may be off, as a part of what its list spans: less than a pixel."""
_WHOLE = (("u1", "B"), ("i1", "b"), ("i2", "h"), ("u2", "H"), ("i4", "i"), ("u4", "I"))
"""Plotly's names of types, and ours, the smallest first."""


def squeezed(value: Any) -> str:
    """A JSON value as gzip in base64. Letters that are no Unicode characters are replaced."""
    text = json.dumps(finite(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return squeezed_text(text)


def squeezed_text(text: str) -> str:
    """Text as gzip in base64; the same for the same text."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 9, mtime=0)).decode()


def finite(value: Any) -> Any:
    """A JSON value without numbers that JSON lacks: they are None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return value


def packed(value: Any) -> Any:
    """A figure whose long lists of numbers are ``{"dtype": …, "bdata": …}``, as Plotly writes them; of a
    list of such lists, with its ``shape``.
    """
    if isinstance(value, Mapping):
        return {str(name): packed(one) for name, one in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) >= FEWEST and all(map(_is_number, value)):
        return _numbers(value)
    if grid := _grid(value):
        return {**_numbers(grid), "shape": f"{len(value)},{len(value[0])}"}
    return [packed(one) for one in value]


def _grid(rows: Sequence[Any]) -> list[Any]:
    """All numbers of rows of one length; empty if it is no such grid, or a small one."""
    if not rows or not all(isinstance(row, (list, tuple)) and len(row) == len(rows[0]) for row in rows):
        return []
    flat = [one for row in rows for one in row]
    return flat if len(flat) >= FEWEST and all(map(_is_number, flat)) else []


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _numbers(values: Sequence[Any]) -> dict[str, str]:
    whole = all(isinstance(one, int) for one in values)
    if whole:
        for dtype, code in _WHOLE:
            try:
                return _bytes(dtype, array(code, values))
            except OverflowError:
                continue
    doubles = array("d", [math.nan if one is None else _double(one) for one in values])
    try:
        singles = array("f", doubles)
    except OverflowError:
        return _bytes("f8", doubles)
    shown = [one for one in doubles if math.isfinite(one)]
    span = max(shown) - min(shown) if shown else 0.0
    near = all(abs(a - b) <= CLOSE * span for a, b in zip(doubles, singles, strict=True) if math.isfinite(a))
    return _bytes("f4", singles) if near else _bytes("f8", doubles)


def _double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _bytes(dtype: str, numbers: array[Any]) -> dict[str, str]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return {"dtype": dtype, "bdata": base64.b64encode(numbers.tobytes()).decode()}
