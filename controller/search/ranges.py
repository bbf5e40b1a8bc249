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

_POINTS = 100
"""Steps of a range without steps, in a grid; ClearML's number."""


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
        if step_size is not None and not 0 < step_size < math.inf:
            raise BadInput(f"parameter {name}: step_size {step_size} must be above 0")
        self.min_value = min_value
        self.max_value = max_value
        self.step_size = step_size
        self.include_max_value = include_max_value

    @property
    def include_max(self) -> bool:
        """ClearML's name of `include_max_value`."""
        return self.include_max_value

    def _steps(self) -> list[float]:
        """The values of a grid: from `min_value` on, never past `max_value`.

        Those of a range without steps are 100 at equal distances and, where it counts, `max_value`.
        """
        if self.step_size is None:
            return self._points()
        return [step_value(self.min_value, self.step_size, index) for index in range(self._count())]

    def _points(self) -> list[float]:
        low, high = self.min_value, self.max_value
        found = [low + index * (high - low) / _POINTS for index in range(_POINTS if low < high else 0)]
        return [*found, high] if self.include_max_value or not found else found

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


class UniformParameterRange(_Range):
    """A number between two bounds, each as likely.

    Args:
        name: of the parameter.
        min_value, max_value: bounds.
        step_size: distance between the values; None or 0 for any value between.
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
        low, high = _number(name, "min_value", min_value), _number(name, "max_value", max_value)
        step = None if step_size is None else _number(name, "step_size", step_size) or None
        super().__init__(name, low, high, step, include_max_value)

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
        step_size: int | None = 1,
        include_max_value: bool = True,
    ) -> None:
        step_size = 1 if step_size is None else step_size
        given = (("min_value", min_value), ("max_value", max_value), ("step_size", step_size))
        low, high, step = (_whole(name, label, value) for label, value in given)
        if step <= 0:
            raise BadInput(f"parameter {name}: step_size {step} must be above 0")
        reason = too_wide(low, high, step)
        if reason is not None:
            raise BadInput(f"parameter {name}: {reason}")
        super().__init__(name, low, high, step, include_max_value)

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
        step_size: distance between the exponents; None or 0 for any between.
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
        base = _number(name, "base", base)
        if not 0 < base < math.inf or base == 1:
            raise BadInput(f"parameter {name}: base {base} must be above 0 and not 1")
        low, high = _number(name, "min_value", min_value), _number(name, "max_value", max_value)
        step = None if step_size is None else _number(name, "step_size", step_size) or None
        super().__init__(name, low, high, step, include_max_value)
        for exponent in (low, high):
            try:
                reached = float(base**exponent)
            except OverflowError:
                reached = math.inf
            if not math.isfinite(reached):
                raise BadInput(f"parameter {name}: {base:g} ** {exponent} is too large for a float")
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


def _number(name: str, label: str, value: Any) -> float:
    """A number, also one of an array or in a text, as Python's.

    Raises:
        BadInput: it is none, or a whole number that a float can't hold.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        reason = inexact(value, as_float=True)
        if reason is None:
            return float(value)
    except (TypeError, ValueError, OverflowError):
        reason = f"{label} {value!r:.80} must be a number"
    raise BadInput(f"parameter {name}: {reason}")


def _whole(name: str, label: str, value: Any) -> int:
    """As `_number`, of a whole one. Raises `BadInput` also where Optuna would not keep it exactly."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (isinstance(value, int) or float(value).is_integer()):
        raise BadInput(f"parameter {name}: {label} {value!r:.80} must be a whole number")
    whole = int(value)
    reason = inexact(whole)
    if reason is not None:
        raise BadInput(f"parameter {name}: {label}: {reason}")
    return whole
