"""Bounds of the numbers and texts in records: anybody who reaches Redis may have written them."""

from __future__ import annotations

from typing import Any

MAX_NUMBER = 2**63 - 1
"""Largest number of an attempt, a batch, an iteration."""
MAX_STAMP = 253_402_300_799.0
"""Last second of the year 9999, since the epoch."""
MAX_TEXT = 1 << 20
"""Longest text of a field, in characters."""


def bounded_int(value: Any, low: int, high: int) -> int:
    """`value`, a number or its text, as an int. Raises `ValueError`, `TypeError` or `OverflowError`."""
    number = int(value)
    if not low <= number <= high:
        raise ValueError(f"{str(value)[:40]} is not from {low} to {high}")
    return number


def bounded_float(value: Any, low: float, high: float) -> float:
    """`value`, a number or its text, as a float, not NaN. Raises as `bounded_int`."""
    number = float(value)
    if not low <= number <= high:
        raise ValueError(f"{str(value)[:40]} is not from {low:g} to {high:g}")
    return number


def moment(text: str | None) -> float | None:
    """Seconds since the epoch; None for none. Raises as `bounded_float`."""
    return bounded_float(text, 0.0, MAX_STAMP) if text else None
