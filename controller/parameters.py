"""What is searched: ClearML's parameter ranges, turned into Optuna's distributions."""

from __future__ import annotations

import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import Trial

from worker.protocol.errors import BadInput

_SCALARS = (str, int, float, bool, type(None))


class Parameter(ABC):
    """One searched parameter. Subclasses are named and behave as ClearML's.

    Attributes:
        name: as the program knows it, with its section where it has one (``General/lr``).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._random = random.Random()

    @property
    def conditional(self) -> bool:
        """True when what is suggested depends on other values of the same trial."""
        return False

    @property
    def names(self) -> list[str]:
        """Names of all values that a trial may get from this parameter."""
        return [self.name]

    @property
    def optional(self) -> list[str]:
        """Those of `names` that some trials don't get."""
        return []

    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """Optuna's distribution of the parameter."""

    def decode(self, value: Any) -> Any:
        """The program's value for one of Optuna's."""
        return _on_step(self.distribution(), value)

    def suggest(self, trial: Trial, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Ask `trial` for this parameter's value.

        Args:
            chosen: the values suggested before it in the same trial.

        Returns:
            Name → the program's value; empty when the trial doesn't get it.
        """
        return {self.name: self.decode(_suggest(trial, self.name, self.distribution()))}

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of `suggest`: what Optuna's trial has for the program's values.

        Args:
            values: name → the program's value; only this parameter's names are looked at.

        Returns:
            Optuna's name → value; empty when none of the names is there.

        Raises:
            BadInput: a value is not possible.
        """
        if self.name not in values:
            return {}
        return {self.name: _possible(self.name, self.distribution(), values[self.name])}

    @abstractmethod
    def to_list(self) -> list[dict[str, Any]]:
        """All values, as ``{name: value}`` each, in order: the grid.

        Raises:
            BadInput: the range is continuous.
        """

    def get_value(self) -> dict[str, Any]:
        """One value drawn at random, as ``{name: value}``."""
        return self._random.choice(self.to_list())

    def seed(self, seed: int) -> None:
        """Make `get_value` reproducible."""
        self._random.seed(f"{seed}/{self.name}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; `from_dict` reads it back."""
        fields = {key: value for key, value in vars(self).items() if not key.startswith("_")}
        return {"type": type(self).__name__, **fields}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Parameter:
        """The parameter that `to_dict` gave `data` for. Raises `BadInput` for an unknown type."""
        fields = dict(data)
        kind = fields.pop("type", None)
        found = next((known for known in _KINDS if known.__name__ == kind), None)
        if found is None:
            known = ", ".join(k.__name__ for k in _KINDS)
            raise BadInput(f"parameter type {kind!r} is unknown; there are {known}")
        return found._build(fields)

    @classmethod
    def _build(cls, fields: dict[str, Any]) -> Parameter:
        return cls(**fields)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
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


def _on_step(distribution: BaseDistribution, value: Any) -> Any:
    """A value of `distribution` without the drift of its steps."""
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        index = round((value - distribution.low) / distribution.step)
        return step_value(distribution.low, distribution.step, index)
    return value


def _possible(name: str, distribution: BaseDistribution, value: Any) -> Any:
    """`value` as `distribution` has it. Raises `BadInput` when it hasn't."""
    refused = BadInput(f"parameter {name}: {value!r} is not possible; {_described(distribution)}")
    if isinstance(distribution, CategoricalDistribution):
        for choice in distribution.choices:
            if _same(choice, value):
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


def _described(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {', '.join(map(repr, distribution.choices))}"
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    steps = f" in steps of {distribution.step}" if distribution.step not in (None, 1) else ""
    return f"from {distribution.low} to {distribution.high}{steps}"


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON is: true is not 1; floats may differ by what their text loses."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


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
        super().__init__(name, float(min_value), float(max_value), step_size, include_max_value)

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
    """A whole number between two bounds, each as likely; arguments as `UniformParameterRange`'s."""

    def __init__(
        self,
        name: str,
        min_value: int,
        max_value: int,
        step_size: int = 1,
        include_max_value: bool = True,
    ) -> None:
        for label, number in (("min_value", min_value), ("max_value", max_value), ("step_size", step_size)):
            if isinstance(number, bool) or int(number) != number:
                raise BadInput(f"parameter {name}: {label} {number!r} must be a whole number")
        super().__init__(name, int(min_value), int(max_value), int(step_size), include_max_value)

    def distribution(self) -> BaseDistribution:
        return IntDistribution(int(self.min_value), int(self._last()), step=int(self.step_size or 1))

    def get_value(self) -> dict[str, Any]:
        return {
            self.name: int(self.min_value + self._random.randrange(self._count()) * (self.step_size or 1))
        }

    def to_list(self) -> list[dict[str, Any]]:
        return [{self.name: int(value)} for value in self._steps()]


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
        super().__init__(name, float(min_value), float(max_value), step_size, include_max_value)
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


class DiscreteParameterRange(Parameter):
    """One of some values, which may be of any JSON type.

    Args:
        name: of the parameter.
        values: to choose from.
    """

    def __init__(self, name: str, values: Sequence[Any] = ()) -> None:
        super().__init__(name)
        if not values:
            raise BadInput(f"parameter {name}: there are no values to choose from")
        self.values = list(values)

    def distribution(self) -> BaseDistribution:
        return CategoricalDistribution(self.values if self._plain() else [json.dumps(v) for v in self.values])

    def _plain(self) -> bool:
        return all(isinstance(value, _SCALARS) for value in self.values)

    def decode(self, value: Any) -> Any:
        return value if self._plain() else json.loads(value)

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        if self._plain() or self.name not in values:
            return super().encode(values)
        for known in self.values:
            if _same(known, values[self.name]):
                return {self.name: json.dumps(known)}
        raise BadInput(
            f"parameter {self.name}: {values[self.name]!r} is not possible; one of "
            f"{', '.join(map(repr, self.values))}"
        )

    def to_list(self) -> list[dict[str, Any]]:
        return [{self.name: value} for value in self.values]


class ParameterSet(Parameter):
    """One of several combinations, each with values and ranges of its own: a conditional branch.

    Args:
        parameter_combinations: dicts of name → value, or name → range.
        name: under which the choice of the combination is known to the sampler.
    """

    def __init__(
        self, parameter_combinations: Sequence[Mapping[str, Any]] = (), name: str = "parameter_set"
    ) -> None:
        super().__init__(name)
        if not parameter_combinations:
            raise BadInput(f"{name}: there are no combinations to choose from")
        self._combinations = [
            [
                value if isinstance(value, Parameter) else DiscreteParameterRange(key, [value])
                for key, value in combination.items()
            ]
            for combination in parameter_combinations
        ]

    @property
    def conditional(self) -> bool:
        return True

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for part in self._combinations for p in part for name in p.names))

    @property
    def optional(self) -> list[str]:
        everywhere = set(self.names)
        for combination in self._combinations:
            everywhere &= {name for parameter in combination for name in parameter.names}
        return [name for name in self.names if name not in everywhere]

    def distribution(self) -> BaseDistribution:
        return CategoricalDistribution(list(range(len(self._combinations))))

    def suggest(self, trial: Trial, chosen: Mapping[str, Any]) -> dict[str, Any]:
        which = _suggest(trial, self.name, self.distribution())
        found: dict[str, Any] = {}
        for parameter in self._combinations[which]:
            if isinstance(parameter, DiscreteParameterRange) and len(parameter.values) == 1:
                found[parameter.name] = parameter.values[0]
                continue
            # The same name may mean another range in another branch, which Optuna would refuse.
            label = f"{self.name}.{which}.{parameter.name}"
            found[parameter.name] = parameter.decode(_suggest(trial, label, parameter.distribution()))
        return found

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: values[name] for name in self.names if name in values}
        if not given:
            return {}
        for which, combination in enumerate(self._combinations):
            if not set(given) <= {name for parameter in combination for name in parameter.names}:
                continue
            found: dict[str, Any] = {self.name: which}
            try:
                for parameter in combination:
                    for value in parameter.encode(given).values():
                        if not (isinstance(parameter, DiscreteParameterRange) and len(parameter.values) == 1):
                            found[f"{self.name}.{which}.{parameter.name}"] = value
            except BadInput:
                continue
            return found
        raise BadInput(f"parameter {self.name}: no combination has {given!r}")

    def to_list(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for combination in self._combinations:
            partial: list[dict[str, Any]] = [{}]
            for parameter in combination:
                partial = [{**row, **value} for row in partial for value in parameter.to_list()]
            rows += partial
        return rows

    def get_value(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for parameter in self._random.choice(self._combinations):
            found.update(parameter.get_value())
        return found

    def seed(self, seed: int) -> None:
        super().seed(seed)
        for combination in self._combinations:
            for parameter in combination:
                parameter.seed(seed)

    def to_dict(self) -> dict[str, Any]:
        parts = [{p.name: p.to_dict() for p in combination} for combination in self._combinations]
        return {"type": type(self).__name__, "name": self.name, "parameter_combinations": parts}

    @classmethod
    def _build(cls, fields: dict[str, Any]) -> Parameter:
        fields["parameter_combinations"] = [
            {key: Parameter.from_dict(value) for key, value in combination.items()}
            for combination in fields["parameter_combinations"]
        ]
        return cls(**fields)


class ParameterRows(Parameter):
    """One of some rows, each with values of several parameters: a `ParameterSet` as a grid sees it.

    Args:
        name: under which the choice of the row is known to the sampler.
        rows: name → value, each.
    """

    def __init__(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(name)
        self.rows = [dict(row) for row in rows]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def optional(self) -> list[str]:
        return [name for name in self.names if any(name not in row for row in self.rows)]

    def distribution(self) -> BaseDistribution:
        return CategoricalDistribution(list(range(len(self.rows))))

    @property
    def conditional(self) -> bool:
        return True

    def suggest(self, trial: Trial, chosen: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.rows[_suggest(trial, self.name, self.distribution())])

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: values[name] for name in self.names if name in values}
        if not given:
            return {}
        for index, row in enumerate(self.rows):
            if all(name in row and _same(row[name], value) for name, value in given.items()):
                return {self.name: index}
        raise BadInput(f"parameter {self.name}: no combination has {given!r}")

    def to_list(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.rows]


def rows_of(parameters: Sequence[Parameter]) -> list[Parameter]:
    """The parameters with each `ParameterSet` replaced by its rows, as a grid needs it.

    Raises:
        BadInput: a range in a set is continuous.
    """
    return [
        ParameterRows(parameter.name, parameter.to_list())
        if isinstance(parameter, ParameterSet)
        else parameter
        for parameter in parameters
    ]


class SweepParameter(Parameter):
    """A parameter of a sweep file: an Optuna distribution, perhaps under a condition.

    Args:
        name: of the parameter.
        distribution: Optuna's.
        when: the trial gets it only if each named parameter has one of the given values.
    """

    def __init__(
        self, name: str, distribution: BaseDistribution, when: Mapping[str, Sequence[Any]] | None = None
    ) -> None:
        super().__init__(name)
        self._distribution = distribution
        self._when = {key: list(values) for key, values in (when or {}).items()}

    @property
    def conditional(self) -> bool:
        return bool(self._when)

    @property
    def optional(self) -> list[str]:
        return [self.name] if self._when else []

    def distribution(self) -> BaseDistribution:
        return self._distribution

    def suggest(self, trial: Trial, chosen: Mapping[str, Any]) -> dict[str, Any]:
        for key, values in self._when.items():
            # An absent parameter never meets a condition; type matters, as 1 and True are equal in Python.
            if key not in chosen or not any(
                chosen[key] == value and isinstance(chosen[key], bool) == isinstance(value, bool)
                for value in values
            ):
                return {}
        return super().suggest(trial, chosen)

    def to_list(self) -> list[dict[str, Any]]:
        d = self._distribution
        if isinstance(d, CategoricalDistribution):
            return [{self.name: choice} for choice in d.choices]
        if isinstance(d, IntDistribution):
            return [{self.name: value} for value in range(d.low, d.high + 1, d.step)]
        if isinstance(d, FloatDistribution) and d.single():
            return [{self.name: d.low}]
        if isinstance(d, FloatDistribution) and d.step is not None:
            return [{self.name: value} for value in steps(d.low, d.high, d.step)]
        raise BadInput(f"parameters.{self.name}: a grid needs a step, or choices")

    def to_dict(self) -> dict[str, Any]:
        described = json.loads(distribution_to_json(self._distribution))
        return {"type": type(self).__name__, "name": self.name, "distribution": described, "when": self._when}

    @classmethod
    def _build(cls, fields: dict[str, Any]) -> Parameter:
        distribution = json_to_distribution(json.dumps(fields["distribution"]))
        return cls(fields["name"], distribution, fields.get("when"))


_KINDS: tuple[type[Parameter], ...] = (
    UniformParameterRange,
    UniformIntegerParameterRange,
    LogUniformParameterRange,
    DiscreteParameterRange,
    ParameterSet,
    ParameterRows,
    SweepParameter,
)
