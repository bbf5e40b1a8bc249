"""Values of Optuna's distributions: asked for, counted, and recognized in what a person has written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from controller.sweep.values import inexact
from controller.sweep.values import same as equal
from worker.protocol.errors import BadInput


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """Ask `trial` for a value of `distribution`, by Optuna's public methods."""
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


def steps(low: float, high: float, step: float) -> list[float]:
    """The values from `low` on, never past `high`, as one would write them: 0.3, not 0.30000000000000004.

    Counted, not summed up: sums drift, and would miss the end.
    """
    return [step_value(low, step, index) for index in range(step_count(low, high, step))]


def step_count(low: float, high: float, step: float) -> int:
    """How many values there are from `low` on, not past `high`."""
    return math.floor((high - low) / step * (1 + 1e-12) + 1e-9) + 1


def step_value(low: float, step: float, index: int) -> float:
    """The value `index` steps above `low`."""
    return float(Decimal(repr(low)) + index * Decimal(repr(step)))


def on_step(distribution: BaseDistribution, value: Any) -> Any:
    """A value of `distribution` without the drift of its steps."""
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        index = round((value - distribution.low) / distribution.step)
        return step_value(distribution.low, distribution.step, index)
    return value


def possible(name: str, distribution: BaseDistribution, value: Any) -> Any:
    """`value` as `distribution` has it. Raises `BadInput` when it hasn't."""
    found: float | None = None
    if isinstance(distribution, CategoricalDistribution):
        index = find(distribution.choices, value)
        if index is not None:
            return distribution.choices[index]
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and _finite(value):
        found = _whole(distribution, value) if isinstance(distribution, IntDistribution) else None
        if isinstance(distribution, FloatDistribution):
            reason = inexact(value, as_float=True)
            if reason is not None and distribution.low <= value <= distribution.high:
                raise BadInput(f"parameter {name}: {reason}")
            found = _number(distribution, value) if reason is None else None
    if found is None:
        raise BadInput(f"parameter {name}: {value!r} is not possible; {described(distribution)}")
    return found


def find(choices: Sequence[Any], value: Any) -> int | None:
    """The place of a value among choices; None where it isn't. One that is exactly it goes first."""
    exact = (index for index, choice in enumerate(choices) if equal(choice, value))
    near = (index for index, choice in enumerate(choices) if same(choice, value))
    return next(exact, next(near, None))


def _finite(value: float) -> bool:
    # Of a whole number beyond all floats, math.isfinite raises.
    return isinstance(value, int) or math.isfinite(value)


def _whole(distribution: IntDistribution, value: float) -> int | None:
    """The whole number of the range, not by way of floats, where large ones drift; None if it has none."""
    whole = int(value)
    inside = distribution.low <= whole <= distribution.high
    on = (whole - distribution.low) % distribution.step == 0
    return whole if whole == value and inside and on else None


def _number(distribution: FloatDistribution, value: float) -> float | None:
    """The number of the range, on its step; None if it has none."""
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is not None:
        snapped = step_value(low, step, round((value - low) / step))
        if abs(snapped - value) > 1e-8 * step:
            return None
        value = snapped
    return float(value) if low <= value <= high else None


def described(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {', '.join(map(repr, distribution.choices))}"
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    steps = f" in steps of {distribution.step}" if distribution.step not in (None, 1) else ""
    kind = "a whole number" if isinstance(distribution, IntDistribution) else "a number"
    return f"{kind} from {distribution.low} to {distribution.high}{steps}"


def same(one: Any, other: Any) -> bool:
    """Equal as JSON is: true is not 1, a tuple is a list; floats may differ by what their text loses."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        try:
            return math.isclose(one, other, rel_tol=1e-9)
        except OverflowError:  # a whole number that no float comes near
            return False
    return bool(one == other)
