"""`when`: the values of earlier parameters that a trial needs to have a parameter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from controller.sweep.problems import Path, Problem, closest, show
from controller.sweep.schema import ChoiceParameter, FloatParameter, IntParameter, Parameter
from controller.sweep.values import Value, inexact, same


def check_when(
    path: Path,
    name: str,
    parameter: Parameter,
    earlier: Mapping[str, Parameter | None],
    parameters: Mapping[str, Parameter | None],
) -> Iterator[Problem]:
    """Yield the problems in one parameter's conditions.

    Args:
        path: of the parameter's `when`.
        name: the parameter's.
        parameter: the parameter.
        earlier: the parameters declared before it; None for one with problems of its own.
        parameters: all of them.
    """
    for parent, values in (parameter.when or {}).items():
        here = (*path, parent)
        if parent == name:
            yield Problem(path=here, text="a parameter can't depend on itself")
        elif parent not in parameters:
            meant = closest(parent, [other for other in parameters if other != name])
            hint = f'; did you mean "{meant}"?' if meant else "; name one of [parameters]"
            yield Problem(path=here, text=f"unknown parameter{hint}")
        elif parent not in earlier:
            text = (
                f"{show(parent)} is declared later; a parameter depends on earlier ones only, so move it up"
            )
            yield Problem(path=here, text=text)
        if not values:
            yield Problem(path=here, text="must have at least one value")
        on = earlier.get(parent)
        whole = list(values)
        meant_whole = isinstance(on, ChoiceParameter) and never(on, whole) is None
        if meant_whole and any(never(on, value) is not None for value in values):
            text = f"is a list of values; for the one value {show(whole)} write {show([whole])}"
            yield Problem(path=here, text=text, related=(("parameters", parent),))
            continue
        for value in values if on is not None else ():
            reason = never(on, value)
            if reason is not None:
                text = f"{show(parent)} is never {show(value)}: {reason}"
                yield Problem(path=here, text=text, related=(("parameters", parent),))


def never(parameter: Parameter | None, value: Value) -> str | None:
    """Why the parameter can't take the value; None if it can."""
    if isinstance(parameter, ChoiceParameter):
        if any(same(choice, value) for choice in parameter.choices):
            return None
        texts = [choice for choice in parameter.choices if isinstance(choice, str)]
        meant = closest(value, texts) if isinstance(value, str) else None
        hint = f'; did you mean "{meant}"?' if meant else ""
        return f"its choices are {show(list(parameter.choices))}{hint}"
    if parameter is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "it is a number"
    if not parameter.low <= value <= parameter.high:
        return f"it goes from {parameter.low} to {parameter.high}"
    if isinstance(parameter, IntParameter):
        if value != int(value):
            return "it is a whole number"
    elif (reason := inexact(value, as_float=True)) is not None:
        return reason
    if parameter.step is not None and parameter.step > 0 and not _on_step(parameter, value):
        return f"it goes from {parameter.low} in steps of {parameter.step}"
    return None


def _on_step(parameter: FloatParameter | IntParameter, value: float) -> bool:
    if isinstance(parameter, IntParameter):
        return (int(value) - parameter.low) % parameter.step == 0  # as floats, large ones would be inexact
    steps = (value - parameter.low) / (parameter.step or 1.0)
    # Optuna's own tolerance: it replaces a value that is further off.
    return math.isfinite(steps) and abs(steps - round(steps)) < 1e-8
