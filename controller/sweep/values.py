"""Values that a parameter of a sweep can have: what JSON holds, and None, which TOML can't write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from controller.sweep.problems import show

Value: TypeAlias = "str | int | float | bool | list[Any] | dict[str, Any] | None"

NONE = {"none": True}
"""The table that stands for None: TOML has no word for it."""
MOST_EXACT = 2**53
"""Up to here each whole number is a float, which is what Optuna keeps of a range's values."""
MAX_DEPTH = 10
"""Lists and tables in each other; a YAML list can contain itself."""


def is_scalar(value: object) -> bool:
    """Whether a value is text that UTF-8 can write, a number, true, false or null."""
    if isinstance(value, str):
        # Half a character can't be written.
        return not any("\ud800" <= char <= "\udfff" for char in value)
    return value is None or isinstance(value, (bool, int, float))


def read_value(raw: object) -> Value:
    """The value that the file means, a copy: `{ none = true }` is None, also inside lists and tables.

    Raises:
        ValueError: JSON can't hold it; says what can stand there.
    """
    return _read(raw, 0)


def _read(raw: object, depth: int) -> Value:
    if depth > MAX_DEPTH:
        raise ValueError("lists and tables in each other are nested too deeply")
    if isinstance(raw, (list, tuple)):
        return [_read(item, depth + 1) for item in raw]
    if isinstance(raw, Mapping):
        return _read_table(raw, depth)
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ValueError(f"must be a finite number, got {raw}")
    if raw is not None and not is_scalar(raw):
        hint = "; put it in quotes" if hasattr(raw, "isoformat") else ""  # TOML's dates and times
        raise ValueError(
            f"must be text, a number, true, false or null, or a list or table of such, got {show(raw)}{hint}"
        )
    return raw  # type: ignore[return-value] # a scalar, as was just checked


def _read_table(raw: Mapping[Any, Any], depth: int) -> Value:
    if is_none(raw):
        return None
    keys = [str(key) for key in raw]
    if len(keys) == 1 and keys[0].casefold() in ("none", "null", "nil") and raw[next(iter(raw))] is True:
        raise ValueError(f"got {show(raw)}; did you mean {{ none = true }}, for None?")
    for key in raw:
        if not isinstance(key, str) or not is_scalar(key):
            raise ValueError(f"has a key that is not text: {show(key)}")
    return {key: _read(item, depth + 1) for key, item in raw.items()}


def is_none(raw: object) -> bool:
    """Whether it is the table that stands for None."""
    return isinstance(raw, Mapping) and raw == NONE and raw["none"] is True


def inexact(number: float, *, as_float: bool = False) -> str | None:
    """Why a number of a range is not kept as it is written; None if it is.

    Args:
        number: of the sweep file or of a program.
        as_float: the range is one of floats.
    """
    if not isinstance(number, int):
        return None
    if as_float:
        try:
            nearest = float(number)
        except OverflowError:
            return f"{show(number)} is too large for a float"
        return None if nearest == number else f"{number} is not exact as a float, the nearest is {nearest!r}"
    if abs(number) <= MOST_EXACT:
        return None
    return (
        f"{show(number)} is past 2^53 ({MOST_EXACT}): Optuna keeps the numbers of a range as floats, which "
        "are not exact there; stay below, or list the values as choices"
    )


def too_wide(low: int, high: int, step: int) -> str | None:
    """Why Optuna would miss the steps of a range of whole numbers; None if it doesn't."""
    if step == 1 or high - low <= MOST_EXACT:
        return None
    return f"the range from {low} to {high} is wider than 2^53 ({MOST_EXACT}): Optuna would miss its steps"


def same(one: object, other: object) -> bool:
    """Whether two values are equal, as JSON is: 1 is 1.0, but not true, unlike in Python."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return bool(one == other)
