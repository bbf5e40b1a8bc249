"""What is searched: ClearML's parameter ranges, turned into Optuna's distributions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import Trial

from controller.search.choices import Choices
from controller.search.parameter import Parameter
from controller.search.points import same, steps, suggest
from controller.search.ranges import (
    LogUniformParameterRange,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from controller.search.sets import UNNAMED, Labelled, apart, combinations_of
from controller.sweep.values import same as equal
from worker.protocol.errors import BadInput

__all__ = [
    "DiscreteParameterRange",
    "LogUniformParameterRange",
    "Parameter",
    "ParameterRows",
    "ParameterSet",
    "SweepParameter",
    "UniformIntegerParameterRange",
    "UniformParameterRange",
    "rows_of",
]


class DiscreteParameterRange(Parameter):
    """One of some values, which may be of any JSON type.

    Args:
        name: of the parameter.
        values: to choose from. A path counts as its text, a tuple as a list, an array as its numbers.

    Raises:
        BadInput: there are no values, or one that JSON can't hold.
    """

    def __init__(self, name: str, values: Sequence[Any] = ()) -> None:
        super().__init__(name)
        if isinstance(values, (str, bytes, Mapping)):
            raise BadInput(f"parameter {name}: values must be a list, not {values!r:.80}")
        self._choices = Choices(name, values)
        self.values = self._choices.values

    def distribution(self) -> BaseDistribution:
        return self._choices.distribution

    def decode(self, value: Any) -> Any:
        return self._choices.decode(value)

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {self.name: self._choices.encode(values[self.name])} if self.name in values else {}

    def to_list(self) -> list[dict[str, Any]]:
        return [{self.name: value} for value in self.values]

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **_encoded(self._choices)}


def _encoded(choices: Choices | None) -> dict[str, Any]:
    """What tells a list from the text that Optuna gets for it."""
    return {"encoded": True} if choices is not None and choices.encoded else {}


class ParameterSet(Parameter):
    """One of several combinations, each with values and ranges of its own: a conditional branch.

    Sets are independent of each other, named or not. A combination may hold a set in turn.

    Args:
        parameter_combinations: dicts of name → value, or name → range.
        name: under which the choice of the combination is known to the sampler; without one it gets one
            of its own, see `apart`.

    Attributes:
        values: `parameter_combinations`, as ClearML has them.

    Raises:
        BadInput: there are none, one is no dict or has a name twice, or JSON can't hold a value.
    """

    def __init__(
        self, parameter_combinations: Sequence[Mapping[str, Any]] = (), name: str | None = None
    ) -> None:
        super().__init__(UNNAMED if name is None else name)
        self._named = name is not None
        self.values = combinations_of(self.name, parameter_combinations)
        self._combinations = [
            apart(
                f"{self.name}: combination {place}",
                [
                    value if isinstance(value, Parameter) else DiscreteParameterRange(key, [value])
                    for key, value in combination.items()
                ],
            )
            for place, combination in enumerate(self.values)
        ]

    @property
    def named(self) -> bool:
        return self._named

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
            everywhere &= {name for p in combination for name in p.names if name not in p.optional}
        return [name for name in self.names if name not in everywhere]

    def distribution(self) -> BaseDistribution:
        return CategoricalDistribution(list(range(len(self._combinations))))

    def suggest(self, trial: Trial, chosen: Mapping[str, Any]) -> dict[str, Any]:
        which = suggest(trial, self.name, self.distribution())
        # The same name may mean another range in another branch, which Optuna would refuse.
        inside: Any = Labelled(trial, f"{self.name}.{which}.")
        found: dict[str, Any] = {}
        for parameter in self._combinations[which]:
            found.update(
                {parameter.name: parameter.values[0]}
                if _is_fixed(parameter)
                else parameter.suggest(inside, {})
            )
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
                    encoded = parameter.encode(given)
                    if not _is_fixed(parameter):
                        found |= {f"{self.name}.{which}.{name}": value for name, value in encoded.items()}
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
        if not self.named:  # several may have the same stopgap
            self._random.seed(f"{seed}/{' '.join(self.names)}")
        for combination in self._combinations:
            for parameter in combination:
                parameter.seed(seed)

    def to_dict(self) -> dict[str, Any]:
        parts = [{p.name: p.to_dict() for p in combination} for combination in self._combinations]
        name = self.name if self.named else None
        return {"type": type(self).__name__, "name": name, "parameter_combinations": parts}

    def describe(self) -> dict[str, Any]:
        return {"combinations": [{p.name: p.describe() for p in parts} for parts in self._combinations]}

    @classmethod
    def build(cls, fields: dict[str, Any]) -> Parameter:
        fields["parameter_combinations"] = [
            {key: Parameter.from_dict(value) for key, value in combination.items()}
            for combination in fields["parameter_combinations"]
        ]
        return cls(**fields)


def _is_fixed(parameter: Parameter) -> TypeGuard[DiscreteParameterRange]:
    """Whether it has one value only, which no sampler needs to know of."""
    return isinstance(parameter, DiscreteParameterRange) and len(parameter.values) == 1


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
        return dict(self.rows[suggest(trial, self.name, self.distribution())])

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: values[name] for name in self.names if name in values}
        if not given:
            return {}
        for index, row in enumerate(self.rows):
            if all(name in row and same(row[name], value) for name, value in given.items()):
                return {self.name: index}
        raise BadInput(f"parameter {self.name}: no combination has {given!r}")

    def to_list(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.rows]


def rows_of(parameters: Sequence[Parameter]) -> list[Parameter]:
    """The parameters with each `ParameterSet` replaced by its rows, as a grid needs it."""
    return [
        ParameterRows(parameter.name, parameter.to_list())
        if isinstance(parameter, ParameterSet)
        else parameter
        for parameter in parameters
    ]


class SweepParameter(Parameter):
    """A parameter of a sweep file: an Optuna distribution or choices, perhaps under a condition.

    Args:
        name: of the parameter.
        searched: Optuna's distribution, or values to choose from.
        when: the trial gets it only if each named parameter has one of the given values.
    """

    def __init__(
        self,
        name: str,
        searched: BaseDistribution | Choices,
        when: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        super().__init__(name)
        self._choices = searched if isinstance(searched, Choices) else None
        self._distribution = searched.distribution if isinstance(searched, Choices) else searched
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
            # An absent parameter never meets a condition.
            if key not in chosen or not any(equal(chosen[key], value) for value in values):
                return {}
        return super().suggest(trial, chosen)

    def decode(self, value: Any) -> Any:
        return super().decode(value) if self._choices is None else self._choices.decode(value)

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        if self._choices is None or self.name not in values:
            return super().encode(values)
        return {self.name: self._choices.encode(values[self.name])}

    def to_list(self) -> list[dict[str, Any]]:
        d = self._distribution
        if self._choices is not None:
            return [{self.name: value} for value in self._choices.values]
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
        values = {"values": self._choices.values} if self._choices is not None else {}
        found = {"type": type(self).__name__, "name": self.name, "distribution": described}
        return {**found, "when": self._when, **values}

    def describe(self) -> dict[str, Any]:
        # The values of a condition are a set: their order is the writer's whim.
        when = {parent: sorted(values, key=json.dumps) for parent, values in self._when.items()}
        return {**super().describe(), **_encoded(self._choices), **({"when": when} if when else {})}

    @classmethod
    def build(cls, fields: dict[str, Any]) -> Parameter:
        searched: BaseDistribution | Choices
        if "values" in fields:
            searched = Choices(fields["name"], fields["values"])
        else:
            searched = json_to_distribution(json.dumps(fields["distribution"]))
        return cls(fields["name"], searched, fields.get("when"))
