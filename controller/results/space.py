"""What a study's parameters are chosen from, as its record has it: a sweep file's, or ClearML's ranges."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from worker.protocol.printable import one_line

_VALUE_CHARS = 60
_MOST_CHOICES = 24
"""Choices that are named; of more, the number is said."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """What one parameter is chosen from."""

    kind: str
    """``float``, ``int``, ``choices``; ``other`` for a class of the user's own."""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    """Distance between the values; None for any between (of whole numbers: 1)."""
    log: bool = False
    without_high: bool = False
    """`high` itself is not chosen."""
    choices: tuple[Any, ...] = ()
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Another parameter → its values with which this one is chosen at all."""
    note: str = ""
    """What else is to be said of it."""

    @property
    def text(self) -> str:
        """In words, on one line."""
        words = self._values()
        if self.note:
            words += f", {self.note}" if words else self.note
        for name, values in self.when.items():
            words += f"; when {name} = {' or '.join(shown(value) for value in values)}"
        return one_line(words)

    def _values(self) -> str:
        if self.kind == "choices":
            if len(self.choices) > _MOST_CHOICES:
                return f"one of {len(self.choices)} choices"
            return ", ".join(map(shown, self.choices))
        if self.low is None or self.high is None:
            return ""
        words = f"{shown(self.low)} to {shown(self.high)}"
        if self.without_high:
            words += " (without it)"
        if self.step is not None and not (self.kind == "int" and self.step == 1):
            words += f" in steps of {shown(self.step)}"
        elif self.kind == "int":
            words += ", whole numbers"
        return words + (", on a log scale" if self.log else "")

    def place(self, value: Any) -> float | None:
        """Where a value lies between the bounds, from 0 to 1; None without bounds, or outside them."""
        if self.low is None or self.high is None or isinstance(value, bool):
            return None
        if not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            return None
        low, high, here = float(self.low), float(self.high), float(value)
        if self.log and low > 0:
            low, high, here = math.log(low), math.log(high), math.log(here)
        return (here - low) / (high - low) if high > low else None


def shown(value: Any) -> str:
    """A value as JSON writes it, cut short where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        text = type(value).__name__
    return one_line(text, _VALUE_CHARS)


def spaces_of(sweep: Mapping[str, Any]) -> dict[str, tuple[Space, ...]]:
    """Parameter → what it is chosen from; several where a `ParameterSet` has it in several combinations.

    Args:
        sweep: as a study's record keeps it. What can't be read is left out.
    """
    found: dict[str, tuple[Space, ...]] = {}
    tables = sweep.get("parameters")
    for name, table in tables.items() if isinstance(tables, Mapping) else ():
        for inner, space in _spaces(str(name), table):
            known = found.get(inner, ())
            if space not in known:
                found[inner] = (*known, space)
    return found


def space_of_distribution(described: Mapping[str, Any]) -> Space | None:
    """What one of Optuna's distributions says, as its JSON has it; None if it can't be read."""
    try:
        name, about = str(described["name"]), described["attributes"]
        if name == "CategoricalDistribution":
            return Space(kind="choices", choices=tuple(about["choices"]))
        kind = "int" if "Int" in name else "float"
        return _range(kind, about["low"], about["high"], about.get("step"), log=bool(about.get("log")))
    except (KeyError, TypeError, ValueError):
        return None


def _spaces(name: str, table: Any) -> Iterator[tuple[str, Space]]:
    """Each name that a described parameter gives a value to, and what that is chosen from."""
    if not isinstance(table, Mapping):
        return
    if "parameter_combinations" in table:
        label = str(table.get("name") or "")
        for combination in table["parameter_combinations"]:
            for inner, part in combination.items():
                note = f"with others of set {label}" if label else "with others of its set"
                yield from ((n, replace(s, note=note)) for n, s in _spaces(str(inner), part))
        return
    try:
        space = _space(table)
    except (KeyError, TypeError, ValueError, OverflowError):
        return
    yield name, replace(space, when=dict(table["when"])) if table.get("when") else space


def _space(table: Mapping[str, Any]) -> Space:
    """Raises `KeyError`, `TypeError`, `ValueError`, `OverflowError` for what can't be read."""
    kind = str(table.get("type", ""))
    choices = table.get("choices", table.get("values"))
    if choices is not None:
        return Space(kind="choices", choices=tuple(choices))
    if "distribution" in table:
        found = space_of_distribution(table["distribution"])
        return found if found is not None else Space(kind="other", note=kind)
    if kind in ("float", "int"):
        return _range(kind, table["low"], table["high"], table.get("step"), log=bool(table.get("log")))
    if "min_value" not in table or "max_value" not in table:
        return Space(kind="other", note=kind)
    low, high, step = table["min_value"], table["max_value"], table.get("step_size") or None
    without = table.get("include_max_value") is False
    if "base" in table:
        base = float(table["base"])
        note = f"exponents of {base:g} in steps of {step:g}" if step else ""
        ends = sorted((base ** float(low), base ** float(high)))
        return Space(
            kind="float", low=ends[0], high=ends[1], log=True, note=note, without_high=without and base > 1
        )
    whole = "Integer" in kind
    return replace(_range("int" if whole else "float", low, high, step), without_high=without)


def _range(kind: str, low: Any, high: Any, step: Any, *, log: bool = False) -> Space:
    whole = kind == "int"
    ends = [int(end) if whole else float(end) for end in (low, high)]
    distance = None if step is None else (int(step) if whole else float(step))
    return Space(kind=kind, low=ends[0], high=ends[1], step=distance, log=log)
