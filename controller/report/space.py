"""What each parameter was searched over, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 8
"""Choices that are named."""


def ranges(sweep: Mapping[str, Any]) -> dict[str, str]:
    """Parameter → what it was searched over, such as ``1e-05 … 0.1, log``.

    Args:
        sweep: as a study's record has it, of a sweep file or a program.
    """
    tables = sweep.get("parameters")
    if not isinstance(tables, Mapping):
        return {}
    return {str(name): _range(table) for name, table in tables.items() if isinstance(table, Mapping)}


def seen(values: Sequence[Any]) -> str:
    """What an objective of its own choice has had of a parameter, such as ``seen: 1e-05 … 0.1``."""
    numbers = [one for one in values if isinstance(one, (int, float)) and not isinstance(one, bool)]
    if numbers and len(numbers) == len(values):
        return f"seen: {_shown(min(numbers))} … {_shown(max(numbers))}"
    return f"seen: {_named(list({json.dumps(one, sort_keys=True): one for one in values}.values()))}"


def _named(choices: Sequence[Any]) -> str:
    said = [one if isinstance(one, str) else json.dumps(one) for one in choices[:_MOST]]
    more = [f"{len(choices) - _MOST} more"] if len(choices) > _MOST else []
    return ", ".join([*said, *more])


def _range(table: Mapping[str, Any]) -> str:
    if isinstance(described := table.get("distribution"), Mapping):
        inner = described.get("attributes", described)
        table = {**inner, **{key: table[key] for key in ("values", "when") if table.get(key)}}
    choices = table.get("values") or table.get("choices")
    if isinstance(choices, Sequence) and not isinstance(choices, str):
        text = _named(choices)
    else:
        text = _numbers(table)
    when = table.get("when")
    if isinstance(when, Mapping) and when:
        text += "; if " + " and ".join(f"{name} is {_one_of(values)}" for name, values in when.items())
    return text


def _numbers(table: Mapping[str, Any]) -> str:
    low = table.get("low", table.get("min_value"))
    high = table.get("high", table.get("max_value"))
    if low is None or high is None:
        kind = str(table.get("type", ""))
        return "combinations" if "parameter_combinations" in table else kind
    text = f"{_shown(low)} … {_shown(high)}"
    step = table.get("step", table.get("step_size"))
    if table.get("log"):
        text += ", log"
    if "base" in table:
        text = f"{_shown(table['base'])}^({text})"
    if step is not None and not (step == 1 and isinstance(low, int)):
        text += f", step {_shown(step)}"
    return text


def _one_of(values: Any) -> str:
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    return " or ".join(one if isinstance(one, str) else json.dumps(one) for one in listed)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
