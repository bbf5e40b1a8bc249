"""One parameter of a sweep: read from each shape it can be written in, and checked by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from controller.sweep.problems import Path, Problem, closest, show, unknown
from controller.sweep.reading import read_section
from controller.sweep.schema import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Parameter,
)
from controller.sweep.values import Value, inexact, is_none, is_scalar, same, too_wide

_PARAMETER_SHAPE = 'needs type = "float" or "int" with low and high, or choices = [...]'
_PARAMETER_KEYS = ("type", "low", "high", "log", "step", "choices", "when")
_TYPE_HINTS = {
    "uniform": 'type = "float"',
    "double": 'type = "float"',
    "real": 'type = "float"',
    "number": 'type = "float"',
    "loguniform": 'type = "float" with log = true',
    "log_uniform": 'type = "float" with log = true',
    "log": 'type = "float" with log = true',
    "integer": 'type = "int"',
    "int_uniform": 'type = "int"',
    "categorical": "choices = [...] without a type",
    "choice": "choices = [...] without a type",
    "choices": "choices = [...] without a type",
    "bool": "choices = [true, false] without a type",
    "boolean": "choices = [true, false] without a type",
}


def read_parameter(path: Path, raw: object) -> tuple[Parameter | None, list[Problem]]:
    """The parameter that `raw` describes: a range, a table with choices, a bare list or a bare value.

    Returns:
        The parameter, or None if it can't be read at all, and the problems in it.
    """
    if isinstance(raw, list):
        raw = {"choices": raw}
    elif is_none(raw) or (raw is not None and is_scalar(raw)):
        raw = {"choices": [raw]}
    elif not isinstance(raw, Mapping):
        hint = "; the constant None is [null]" if raw is None else ""
        return None, [Problem(path=path, text=f"{_PARAMETER_SHAPE}, got {show(raw)}{hint}")]
    problems: list[Problem] = []
    model: type[FloatParameter] | type[IntParameter] | type[ChoiceParameter]
    label = "a parameter with choices"
    if "choices" in raw:
        ranged = [key for key in ("type", "low", "high", "log", "step") if key in raw]
        if ranged:
            text = f"has choices and also {', '.join(ranged)}: keep either the values or the range"
            problems.append(Problem(path=path, text=text))
            raw = {key: value for key, value in raw.items() if key not in ranged}
        model = ChoiceParameter
    elif "type" not in raw:
        return None, _without_type(path, raw)
    else:
        kind, problem = _type(raw["type"])
        if problem is not None:
            problems.append(Problem(path=(*path, "type"), text=problem))
        if kind is None:
            return None, problems
        raw = {**raw, "type": kind}
        model = FloatParameter if kind == "float" else IntParameter
        label = f"a parameter of type {kind}"
    reading = read_section(model, raw, path, label)
    problems.extend(reading.problems)
    if reading.value is not None:
        problems.extend(_check_values(path, reading.value))
    return reading.value, problems


def _type(raw: object) -> tuple[str | None, str | None]:
    """The type that is meant, or None if unclear, and what is wrong with how it is written."""
    if raw in ("float", "int"):
        return str(raw), None
    if not isinstance(raw, str):
        return None, f'must be "float" or "int", got {show(raw)}'
    hint = _TYPE_HINTS.get(raw.casefold())
    if hint is not None:
        return None, f"unknown type {show(raw)}; did you mean {hint}?"
    meant = closest(raw, ("float", "int"))
    return meant, unknown(raw, ("float", "int"), what=f"type {show(raw)}", others="there are")


def _without_type(path: Path, raw: Mapping[str, Any]) -> list[Problem]:
    meant = {str(key): closest(str(key), _PARAMETER_KEYS) for key in raw if key not in _PARAMETER_KEYS}
    problems = [
        Problem(
            path=(*path, key),
            text=unknown(key, _PARAMETER_KEYS, what="key", others="a parameter takes"),
        )
        for key in meant
    ]
    if not {"type", "choices"} & set(meant.values()):
        problems.append(Problem(path=path, text=_PARAMETER_SHAPE))
    return problems


def _check_values(path: Path, parameter: Parameter) -> Iterator[Problem]:
    """Yield the problems in one parameter's own values."""
    if isinstance(parameter, ChoiceParameter):
        yield from _choices((*path, "choices"), parameter.choices)
    else:
        yield from _inexact(path, parameter) or _range(path, parameter)


def _inexact(path: Path, parameter: FloatParameter | IntParameter) -> list[Problem]:
    """The whole numbers that Optuna would not keep as they are; floats were judged as they were read."""
    if isinstance(parameter, FloatParameter):
        return []
    reasons = {key: inexact(getattr(parameter, key)) for key in ("low", "high", "step")}
    if not any(reasons.values()):
        reasons["step"] = too_wide(parameter.low, parameter.high, parameter.step)
    return [Problem(path=(*path, key), text=reason) for key, reason in reasons.items() if reason is not None]


def _choices(path: Path, choices: tuple[Value, ...]) -> Iterator[Problem]:
    if not choices:
        yield Problem(path=path, text="must have at least one value")
    for index, choice in enumerate(choices):
        twin = next((earlier for earlier in choices[:index] if same(earlier, choice)), None)
        if not any(same(earlier, choice) for earlier in choices[:index]):
            continue
        if repr(twin) == repr(choice):
            yield Problem(path=path, text=f"{show(choice)} is there twice{_as_one(choices)}")
        else:
            text = f"{show(twin)} and {show(choice)} are the same value; keep one"
            yield Problem(path=path, text=text)


def _as_one(choices: tuple[Value, ...]) -> str:
    """A hint for who meant a list of numbers as one value."""
    if not all(isinstance(choice, (int, float)) for choice in choices):
        return ""
    return f"; for the one value {show(list(choices))} write choices = {show([list(choices)])}"


def _range(path: Path, parameter: FloatParameter | IntParameter) -> Iterator[Problem]:
    low, high, step = parameter.low, parameter.high, parameter.step
    low_path, high_path, step_path, log_path = ((*path, key) for key in ("low", "high", "step", "log"))
    if low > high:
        yield Problem(path=low_path, text=f"{low} is above high ({high})", related=(high_path,))
    elif isinstance(parameter, FloatParameter) and not math.isfinite(high - low):
        yield Problem(
            path=high_path, text="the range from low to high is too wide for a float", related=(low_path,)
        )
    if parameter.log and low <= 0:
        yield Problem(path=low_path, text=f"must be above 0 with log = true, got {low}", related=(log_path,))
    if step is None:
        return
    if step <= 0:
        yield Problem(path=step_path, text=f"must be above 0, got {step}")
    elif parameter.log and not (isinstance(parameter, IntParameter) and step == 1):
        yield Problem(
            path=step_path, text="a logarithmic range takes no step; keep step or log", related=(log_path,)
        )
    elif 0 < high - low < step:
        text = f"{step} is larger than the range from {low} to {high}"
        yield Problem(path=step_path, text=text, related=(low_path, high_path))
