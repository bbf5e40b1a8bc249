"""What every searched parameter can do."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import Trial

from controller.search.choices import Choices
from controller.search.points import on_step, possible, suggest
from worker.protocol.errors import BadInput

_KINDS: dict[str, type[Parameter]] = {}
"""Class name → class, for `from_dict`."""


class Parameter:
    """One searched parameter. Subclasses are named and behave as ClearML's.

    One of a program's own, as ClearML's are written, needs `to_list`: Optuna then chooses among its values.

    Attributes:
        name: as the program knows it, with its section where it has one (``General/lr``).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._random = random.Random()

    def __init_subclass__(cls) -> None:
        if not cls.__name__.startswith("_"):
            _KINDS[cls.__name__] = cls

    @property
    def named(self) -> bool:
        """False where `name` is a stopgap that the search space may replace."""
        return True

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

    def distribution(self) -> BaseDistribution:
        """Optuna's distribution of the parameter."""
        return self._listed().distribution

    def _listed(self) -> Choices:
        return Choices(self.name, [row[self.name] for row in self.to_list()])

    def decode(self, value: Any) -> Any:
        """The program's value for one of Optuna's."""
        if type(self).distribution is Parameter.distribution:
            return self._listed().decode(value)
        return on_step(self.distribution(), value)

    def suggest(self, trial: Trial, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Ask `trial` for this parameter's value.

        Args:
            chosen: the values suggested before it in the same trial.

        Returns:
            Name → the program's value; empty when the trial doesn't get it.
        """
        return {self.name: self.decode(suggest(trial, self.name, self.distribution()))}

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
        if type(self).distribution is Parameter.distribution:
            return {self.name: self._listed().encode(values[self.name])}
        return {self.name: possible(self.name, self.distribution(), values[self.name])}

    def to_list(self) -> list[dict[str, Any]]:
        """All values, as ``{name: value}`` each, in order: the grid.

        Raises:
            BadInput: a continuous range of a sweep file, or a class that has no list.
        """
        raise BadInput(f"parameter {self.name}: {type(self).__name__} has no to_list, which says what to try")

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

    def describe(self) -> dict[str, Any]:
        """What it searches, as JSON types: equal for parameters that search the same."""
        return {"distribution": json.loads(distribution_to_json(self.distribution()))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Parameter:
        """The parameter that `to_dict` gave `data` for. Raises `BadInput` for an unknown type."""
        fields = dict(data)
        kind = fields.pop("type", None)
        found = _KINDS.get(str(kind))
        if found is None:
            known = ", ".join(_KINDS)
            raise BadInput(f"parameter type {kind!r} is unknown; there are {known}")
        return found.build(fields)

    @classmethod
    def build(cls, fields: dict[str, Any]) -> Parameter:
        return cls(**fields)
