"""Parameters between their names in a study (``General/lr``) and what a program wants (``lr``, a float)."""

from __future__ import annotations

import ast
import datetime
import json
from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

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
    if isinstance(value, Enum):
        return plain(value.value) if isinstance(value, (str, int, float)) else str(value)
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


def holds(value: Any) -> bool:
    """Whether a record holds `value` itself (a tuple as a list), rather than a text of it."""
    if isinstance(value, Enum):
        return False
    if isinstance(value, (list, tuple)):
        return all(map(holds, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and holds(item) for key, item in value.items())
    return value is None or isinstance(value, (str, bool, int, float))


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


def taken(value: Any, default: Any, *, searched: bool) -> Any:
    """What a program gets where its own value is `default` and the record has `value`.

    What a record can't hold (a function, a set, a date, an object) stays the program's own: the record has
    only a text of it, which may come from another process. Once the study chooses the value, or somebody has
    written one of another type into the record, it is made into the program's type.

    Raises:
        ValueError, TypeError: it can't be.
    """
    known = plain(default)
    if type(value) is type(known) and value == known:
        return default
    if holds(default):
        return cast_like(value, default)
    if searched or type(value) is not type(known):
        return made_like(value, default)
    if isinstance(default, _WRITTEN) or _is_number(default):
        try:
            return made_like(value, default)
        except (ValueError, TypeError, ArithmeticError):
            return default
    return default


_WRITTEN = (Enum, PurePath, Decimal, Fraction, UUID)
"""Types whose text says all of a value."""


def made_like(value: Any, default: Any) -> Any:
    """`value`, a JSON type, as the type of `default`, that JSON lacks. Raises `ValueError` or `TypeError`."""
    kind = type(default)
    if value is None or isinstance(value, kind):
        return value
    if isinstance(default, Enum):
        return _member(value, kind)
    if isinstance(default, (set, frozenset, deque)):
        return kind(_items(value) if isinstance(value, str) else value)
    if isinstance(default, (datetime.date, datetime.time)):
        return kind.fromisoformat(str(value))
    if isinstance(default, datetime.timedelta):
        return datetime.timedelta(seconds=float(value))
    if _is_number(default):
        return kind(cast_like(value, default.item()))
    if isinstance(default, (list, tuple)) and isinstance(value, (list, tuple)):
        return kind(value)
    if isinstance(default, (*_WRITTEN, complex)):
        return kind(str(value))
    raise TypeError(
        f"the program's own value is a {kind.__name__}, which can't be made from {value!r:.80}; connect a "
        "name or a number, and look the value up in the program"
    )


def _is_number(default: Any) -> bool:
    """Whether it is a number (or text) of numpy's, or of a library like it."""
    return callable(getattr(default, "item", None)) and getattr(default, "ndim", None) == 0


def _member(value: Any, kind: Any) -> Any:
    """A member of an enum by its name, by ``Class.NAME`` or by its value."""
    name = str(value).removeprefix(f"{kind.__name__}.")
    if name in kind.__members__:
        return kind[name]
    found = [member for member in kind if member.value == value or str(member.value) == str(value)]
    if not found:
        raise ValueError(f"{value!r:.80} is none of {', '.join(kind.__members__)}")
    return found[0]


def _items(text: str) -> Any:
    """The items of a set or list, as Python or JSON writes them."""
    if text in ("set()", "frozenset()"):
        return ()
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    return found if isinstance(found, (set, list, tuple)) else _literal(text, [])


def cast_like(value: Any, default: Any) -> Any:
    """`value` as the type of `default`, which is what a script's code expects.

    A value that doesn't fit the type is returned as it is, except text for a number, which raises
    `ValueError`: running with a parameter that was not understood would spoil the trial silently.
    """
    if default is None and isinstance(value, str) and value in ("None", ""):
        return None  # as `as_text` shows it
    if default is None or value is None or type(value) is type(default):
        return value
    if isinstance(default, Enum):
        return _member(value, type(default))
    if isinstance(default, bool):
        return _as_bool(value)
    if isinstance(default, (int, float)) and isinstance(value, (list, dict)):
        return value
    if isinstance(default, int):
        return _as_int(value)
    if isinstance(default, (float, str)):
        return float(value) if isinstance(default, float) else str(value)
    return _cast_container(value, default)


def _cast_container(value: Any, default: Any) -> Any:
    """As `cast_like`, for a default that holds others, or is a path."""
    if isinstance(default, (list, tuple, dict)) and isinstance(value, str):
        value = _literal(value, default)
    if isinstance(default, PurePath) and isinstance(value, str):
        return type(default)(value)
    if isinstance(default, tuple) and isinstance(value, list):
        named = hasattr(default, "_fields") and len(value) == len(default)
        return type(default)(*value) if named else tuple(value)
    return value


def _as_int(value: Any) -> int | float:
    """A whole number, where it is one; of a text every digit counts, also those that no float holds."""
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    number = float(value)
    return int(number) if number.is_integer() else number
