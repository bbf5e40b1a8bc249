"""Parameters between their names in a study (``General/lr``) and what a program wants (``lr``, a float)."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off", ""}


def bare(name: str) -> str:
    """A parameter's name without its section: ``General/lr`` → ``lr``."""
    return name.rsplit("/", 1)[-1]


def lookup(parameters: Mapping[str, Any], section: str, name: str) -> tuple[str | None, Any]:
    """Find ``section/name``, else the bare ``name``.

    Returns:
        The name it is there by, and its value; (None, None) when it isn't.
    """
    for candidate in (f"{section}/{name}", name):
        if candidate in parameters:
            return candidate, parameters[candidate]
    return None, None


def full(name: str) -> str:
    """A parameter's name with its section: ``lr`` → ``General/lr``."""
    return name if "/" in name else f"General/{name}"


def as_text(value: Any) -> str:
    """A parameter's value as ClearML shows it."""
    return repr(value) if isinstance(value, float) else str(value)


def plain(value: Any) -> Any:
    """`value` as a record can hold it: a JSON type, else its text."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return plain(item())
    return str(value)


def flat(values: Mapping[Any, Any], above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(path, value) of each leaf of nested mappings; an empty one is a leaf."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, (*above, key))
        else:
            yield (*above, key), value


def _literal(text: str, default: Any) -> Any:
    """The list, tuple or dict that `as_text` or JSON has written. Raises `ValueError`."""
    kinds = dict if isinstance(default, dict) else (list, tuple)
    for parse in (ast.literal_eval, json.loads):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, kinds):
            return type(default)(found)
    raise ValueError(f"{text!r:.80} is no {type(default).__name__}")


def _as_bool(value: Any) -> bool:
    if not isinstance(value, str):
        return bool(value)
    lowered = value.strip().lower()
    if lowered in _TRUE or lowered in _FALSE:
        return lowered in _TRUE
    raise ValueError(f"{value!r} is no boolean")


def cast_like(value: Any, default: Any) -> Any:
    """`value` as the type of `default`, which is what a script's code expects.

    A value that doesn't fit the type is returned as it is, except text for a number, which raises
    `ValueError`: running with a parameter that was not understood would spoil the trial silently.
    """
    if default is None and isinstance(value, str) and value in ("None", ""):
        return None  # as `as_text` shows it
    if default is None or value is None or type(value) is type(default):
        return value
    if isinstance(default, bool):
        return _as_bool(value)
    if isinstance(default, (int, float)) and isinstance(value, (list, dict)):
        return value
    if isinstance(default, int):
        return _as_int(value)
    if isinstance(default, (float, str)):
        return float(value) if isinstance(default, float) else str(value)
    if isinstance(default, (list, tuple, dict)) and isinstance(value, str):
        value = _literal(value, default)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, PurePath) and isinstance(value, str):
        return type(default)(value)
    return value


def _as_int(value: Any) -> int | float:
    """A whole number, where it is one; of a text every digit counts, also those that no float holds."""
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    number = float(value)
    return int(number) if number.is_integer() else number
