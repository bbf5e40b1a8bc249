"""Ranges of numbers, in ClearML's words."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from controller.search.parameter import Parameter
from controller.search.points import step_count, step_value
from controller.sweep.values import inexact, too_wide
from worker.protocol.errors import BadInput


class _Range(Parameter):
    """A range of numbers, with or without steps."""

    def __init__(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step_size: float | None,
        include_max_value: bool,
    ) -> None:
        super().__init__(name)
        if not (math.isfinite(min_value) and math.isfinite(max_value)):
            raise BadInput(f"parameter {name}: min_value and max_value must be finite")
        if min_value > max_value:
            raise BadInput(f"parameter {name}: min_value {min_value} is above max_value {max_value}")
        if step_size is not None and step_size <= 0:
            raise BadInput(f"parameter {name}: step_size {step_size} must be above 0")
        self.min_value = min_value
        self.max_value = max_value
        self.step_size = step_size
        self.include_max_value = include_max_value

    def _steps(self) -> list[float]:
        """The values of a stepped range: from `min_value` on, never past `max_value`."""
        if self.step_size is None:
            raise BadInput(f"parameter {self.name}: a grid needs a step_size, or a DiscreteParameterRange")
        return [step_value(self.min_value, self.step_size, index) for index in range(self._count())]

    def _count(self) -> int:
        """How many values a stepped range has."""
        assert self.step_size is not None
        count = step_count(self.min_value, self.max_value, self.step_size)
        last = step_value(self.min_value, self.step_size, count - 1)
        if not self.include_max_value and last >= self.max_value - 1e-9 * self.step_size:
            count -= 1
        if not count:
            raise BadInput(f"parameter {self.name}: the range is empty without its max_value")
        return count

    def _last(self) -> float:
        """The highest value of a stepped range."""
        assert self.step_size is not None
        return step_value(self.min_value, self.step_size, self._count() - 1)


def _is_whole(number: float) -> bool:
    if not isinstance(number, Real) or isinstance(number, bool):
        return False
    return number.is_integer() if isinstance(number, float) else int(number) == number


def _as_float(name: str, number: float) -> float:
    """A bound as a float. Raises `BadInput` for a whole number that it can't hold."""
    reason = inexact(number, as_float=True)
    if reason is not None:
        raise BadInput(f"parameter {name}: {reason}")
    try:
        return float(number)
    except (TypeError, ValueError):
        raise BadInput(f"parameter {name}: {number!r:.80} must be a number") from None


class UniformParameterRange(_Range):
    """A number between two bounds, each as likely.

    Args:
        name: of the parameter.
        min_value, max_value: bounds.
        step_size: distance between the values; None for any value between.
        include_max_value: whether `max_value` itself may be drawn.
    """

    def __init__(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step_size: float | None = None,
        include_max_value: bool = True,
    ) -> None:
        low, high = (_as_float(name, number) for number in (min_value, max_value))
        super().__init__(name, low, high, step_size, include_max_value)

    def distribution(self) -> BaseDistribution:
        if self.step_size is not None:
            last = self._last()
            return FloatDistribution(
                self.min_value, last, step=self.step_size if last > self.min_value else None
            )
        high = self.max_value
        if not self.include_max_value and high > self.min_value:
            high = math.nextafter(high, self.min_value)
        return FloatDistribution(self.min_value, high)

    def to_list(self) -> list[dict[str, Any]]:
        return [{self.name: value} for value in self._steps()]

    def get_value(self) -> dict[str, Any]:
        if self.step_size is not None:
            return super().get_value()
        distribution = self.distribution()
        assert isinstance(distribution, FloatDistribution)
        return {self.name: self._random.uniform(distribution.low, distribution.high)}


class UniformIntegerParameterRange(_Range):
    """A whole number between two bounds, each as likely; arguments as `UniformParameterRange`'s.

    Raises:
        BadInput: a bound or step is no whole number, or past 2^53, where Optuna does not keep it exactly.
    """

    def __init__(
        self,
        name: str,
        min_value: int,
        max_value: int,
        step_size: int = 1,
        include_max_value: bool = True,
    ) -> None:
        for label, number in (("min_value", min_value), ("max_value", max_value), ("step_size", step_size)):
            if not _is_whole(number):
                raise BadInput(f"parameter {name}: {label} {number!r} must be a whole number")
            reason = inexact(int(number))
            if reason is not None:
                raise BadInput(f"parameter {name}: {label}: {reason}")
        reason = too_wide(int(min_value), int(max_value), int(step_size))
        if reason is not None:
            raise BadInput(f"parameter {name}: {reason}")
        super().__init__(name, int(min_value), int(max_value), int(step_size), include_max_value)

    def _values(self) -> range:
        # Not by floats, as the steps of other ranges are: they would miscount far from 0.
        last = int(self.max_value) if self.include_max_value else int(self.max_value) - 1
        found = range(int(self.min_value), last + 1, int(self.step_size or 1))
        if not found:
            raise BadInput(f"parameter {self.name}: the range is empty without its max_value")
        return found

    def distribution(self) -> BaseDistribution:
        values = self._values()
        return IntDistribution(values[0], values[-1], step=values.step)

    def get_value(self) -> dict[str, Any]:
        return {self.name: self._random.choice(self._values())}

    def to_list(self) -> list[dict[str, Any]]:
        return [{self.name: value} for value in self._values()]


class LogUniformParameterRange(_Range):
    """``base ** exponent`` with the exponent between two bounds, each as likely.

    Args:
        name: of the parameter.
        min_value, max_value: bounds of the exponent.
        base: of the power.
        step_size: distance between the exponents; None for any between.
        include_max_value: whether the highest exponent may be drawn.
    """

    def __init__(
        self,
        name: str,
        min_value: float,
        max_value: float,
        base: float = 10,
        step_size: float | None = None,
        include_max_value: bool = True,
    ) -> None:
        if base <= 0 or base == 1:
            raise BadInput(f"parameter {name}: base {base} must be above 0 and not 1")
        low, high = (_as_float(name, number) for number in (min_value, max_value))
        super().__init__(name, low, high, step_size, include_max_value)
        for exponent in (low, high):
            try:
                reached = float(base**exponent)
            except OverflowError:
                reached = math.inf
            if not math.isfinite(reached):
                raise BadInput(f"parameter {name}: {base} ** {exponent} is too large for a float")
        self.base = base

    def distribution(self) -> BaseDistribution:
        if self.step_size is not None:
            return CategoricalDistribution([next(iter(value.values())) for value in self.to_list()])
        ends = sorted((float(self.base**self.min_value), float(self.base**self.max_value)))
        if not self.include_max_value and ends[0] < ends[1]:
            # For a base below 1 the highest exponent gives the lowest value.
            if self.base > 1:
                ends[1] = math.nextafter(ends[1], ends[0])
            else:
                ends[0] = math.nextafter(ends[0], ends[1])
        return FloatDistribution(ends[0], ends[1], log=True)

    def to_list(self) -> list[dict[str, Any]]:
        return [{self.name: float(self.base**exponent)} for exponent in self._steps()]

    def get_value(self) -> dict[str, Any]:
        if self.step_size is not None:
            return super().get_value()
        return {self.name: float(self.base ** self._random.uniform(self.min_value, self.max_value))}
