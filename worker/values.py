"""Parameters between their names in a study (``General/lr``) and what a program wants (``lr``, a float)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off", ""}


def bare(name: str) -> str:
    """A parameter's name without its section: ``General/lr`` → ``lr``."""
    return name.rsplit("/", 1)[-1]


def lookup(parameters: Mapping[str, Any], section: str, name: str) -> tuple[bool, Any]:
    """Find ``section/name``, else the bare ``name``.

    Returns:
        Whether it is there, and its value.
    """
    for candidate in (f"{section}/{name}", name):
        if candidate in parameters:
            return True, parameters[candidate]
    return False, None


def cast_like(value: Any, default: Any) -> Any:
    """`value` as the type of `default`, which is what a script's code expects.

    A value that doesn't fit the type is returned as it is, except text for a number, which raises
    `ValueError`: running with a parameter that was not understood would spoil the trial silently.
    """
    if default is None or value is None or type(value) is type(default):
        return value
    if isinstance(default, bool):
        if isinstance(value, str):
            lowered = value.strip().lower()
            if lowered in _TRUE or lowered in _FALSE:
                return lowered in _TRUE
            raise ValueError(f"{value!r} is no boolean")
        return bool(value)
    if isinstance(default, int):
        number = float(value)
        if number.is_integer():
            return int(number)
        return number if not isinstance(value, bool) else int(value)
    if isinstance(default, float):
        return float(value)
    if isinstance(default, str):
        return str(value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    return value
