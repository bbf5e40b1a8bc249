"""What an objective returns, as numbers: text is none, even where it reads as one."""

from __future__ import annotations

from functools import partial
from typing import Any


class InvalidValue(TypeError):
    """An objective returned what is no number: the trial has no value."""


def values_of(returned: Any) -> dict[str, Any]:
    """A return value as metric values, as a runner tells its slot.

    Args:
        returned: a number, a mapping of metric to number, a tuple or list with one number per objective, or
            None.

    Returns:
        ``{"values": {metric: number}}``, ``{"ordered": [number]}``, or nothing for None.

    Raises:
        InvalidValue: it is something else.
    """
    if returned is None:
        return {}
    number = partial(as_number, returned=returned, wanted="a number, a dict of metric to number, or nothing")
    if isinstance(returned, dict):
        return {"values": {str(key): number(item) for key, item in returned.items()}}
    several = returned if isinstance(returned, (tuple, list)) else [returned]
    return {"ordered": [number(item) for item in several]}


def as_number(value: Any, returned: Any, wanted: str) -> float:
    """`value` as a float.

    Args:
        value: a number of any kind, an array's or a tensor's single one, too.
        returned: all that the objective returned, which `value` is a part of.
        wanted: what it should have returned, for the message.

    Raises:
        InvalidValue: it is text, or nothing that Python has a float for.
    """
    shown = f"the objective returned {_short(returned)}"
    if isinstance(value, (str, bytes, bytearray)):
        what = "which is text" if value is returned else f"where {_short(value)} is text"
        raise InvalidValue(f"{shown}, {what}; return {wanted}, such as float({_short(value)})")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise InvalidValue(f"{shown}; return {wanted}") from None


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:79]}…"
