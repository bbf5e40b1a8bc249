"""Values of Optuna's distributions: asked for, counted, and recognized in what a person has written."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

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
    refused = BadInput(f"parameter {name}: {value!r} is not possible; {described(distribution)}")
    if isinstance(distribution, CategoricalDistribution):
        for choice in distribution.choices:
            if same(choice, value):
                return choice
        raise refused
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise refused
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    if isinstance(distribution, IntDistribution) and float(value) != int(value):
        raise refused
    low, high, step = distribution.low, distribution.high, distribution.step
    if step is not None:
        snapped = step_value(low, step, round((value - low) / step))
        if abs(snapped - value) > 1e-8 * step:
            raise refused
        value = snapped
    if not low <= value <= high:
        raise refused
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def described(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {', '.join(map(repr, distribution.choices))}"
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    steps = f" in steps of {distribution.step}" if distribution.step not in (None, 1) else ""
    return f"from {distribution.low} to {distribution.high}{steps}"


def same(one: Any, other: Any) -> bool:
    """Equal as JSON is: true is not 1; floats may differ by what their text loses."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)
