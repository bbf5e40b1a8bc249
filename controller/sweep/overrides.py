"""`--set key=value`: one value of a sweep given on the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from controller.sweep.problems import key_text, show

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FORM = "must be key=value, such as budget.max_trials=100 (a list is set as a whole)"
_KEY_PART = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^."'=\[\]\s]+))\s*""")


@dataclass(frozen=True, kw_only=True)
class Override:
    """One `--set`.

    Attributes:
        text: as the user typed it, without `--set`.
        path: the keys it goes through; a part in quotes may contain dots.
        value: what it sets.
    """

    text: str
    path: tuple[str, ...]
    value: Any

    def __str__(self) -> str:
        return f"--set {self.text}"


def parse_override(text: str) -> Override:
    """Read `key.key=value`; the value is TOML where it can be (`1e-4`, `true`, `["a"]`), else text.

    Raises:
        ValueError: no `=`, or a key, list or table that can't be read; the message names the override.
    """
    path: list[str] = []
    position = 0
    while True:
        match = _KEY_PART.match(text, position)
        if match is None:
            raise ValueError(f"--set {text}: {_FORM}")
        path.append(next(part for part in match.groups() if part is not None))
        position = match.end()
        if text[position : position + 1] != ".":
            break
        position += 1
    if text[position : position + 1] != "=":
        raise ValueError(f"--set {text}: {_FORM}")
    try:
        value = toml_value(text[position + 1 :].strip())
    except ValueError as error:
        raise ValueError(f"--set {text}: {error}") from None
    return Override(text=text, path=tuple(path), value=value)


def apply_override(data: Mapping[str, Any], override: Override) -> dict[str, Any]:
    """The data with one value set; missing tables are created.

    Returns:
        A new dict. Tables along the path are copied, never changed: a YAML alias can put one table in two
        places.

    Raises:
        ValueError: the path goes through something that isn't a table; the message names the override.
    """
    changed = dict(data)
    table = changed
    for depth, key in enumerate(override.path[:-1], start=1):
        inner = table.get(key, {})
        if not isinstance(inner, Mapping):
            whole = key_text(override.path[:depth])
            raise ValueError(f"{override}: {whole} is {show(inner)}, not a table; set {whole} as a whole")
        table[key] = dict(inner)
        table = table[key]
    table[override.path[-1]] = override.value
    return changed


def toml_value(text: str) -> Any:
    """The value that TOML has for the text, else the text. Raises `ValueError` for half a list or table."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError) as error:  # not TOML, or a number of thousands of digits
        if text.startswith(("[", "{")):
            example = '["a", 1], { lr = 0.1 } or { none = true }'
            raise ValueError(f"neither a list nor a table of TOML, such as {example}: {error}") from None
        return text
    value = table["value"]
    # A line break in the text may have started a second key; a sweep has dates as text only.
    return text if len(table) > 1 or isinstance(value, (date, time)) else value
