"""A search space looked at without a sampler: all its points, and what an earlier trial had of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from controller.search.parameter import Parameter
from controller.search.points import steps
from worker.optuna_internals import contains

MOST = 5_000
"""Points of a space that is still enumerated."""


class Endless(Exception):
    """The space is continuous, or too large to be enumerated."""


class _Asked:
    """What `Parameter.suggest` asks of a trial, in one place: subclasses decide the value."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        """Optuna's name → value, of all that was suggested."""
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._suggest(name, FloatDistribution(low, high, step=step, log=log)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._suggest(name, IntDistribution(low, high, step=step, log=log)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._suggest(name, CategoricalDistribution(choices))

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.params:
            self.params[name] = self._value(name, distribution)
            self.distributions[name] = distribution
        return self.params[name]

    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        raise NotImplementedError


class _Walk(_Asked):
    """Takes the values that a path of indexes names; beyond its end the first ones, noted in the path."""

    def __init__(self, path: list[list[int]]) -> None:
        super().__init__()
        self._path = path
        self._depth = 0

    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        values = values_of(distribution)
        if self._depth == len(self._path):
            self._path.append([0, len(values)])
        index = self._path[self._depth][0]
        self._depth += 1
        return values[index]


class _Replay(_Asked):
    """Gives the values that a trial had. Raises `KeyError` for one that it hadn't, or that is impossible."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__()
        self._given = params

    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        value = self._given[name]
        try:
            possible = contains(distribution, value)
        except (TypeError, ValueError):
            possible = False
        if not possible:
            raise KeyError(name)
        return value


def values_of(distribution: BaseDistribution) -> Sequence[Any]:
    """All values of a distribution. Raises `Endless` when there are too many."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        found = range(distribution.low, distribution.high + 1, distribution.step)
        if len(found) > MOST:
            raise Endless
        return found
    assert isinstance(distribution, FloatDistribution)
    if distribution.single():
        return [distribution.low]
    if distribution.step is None:
        raise Endless
    if (distribution.high - distribution.low) / distribution.step >= MOST:
        raise Endless
    return steps(distribution.low, distribution.high, distribution.step)


def points(parameters: Sequence[Parameter], limit: int = MOST) -> list[dict[str, Any]] | None:
    """Every point of a finite search space, conditional branches included.

    Returns:
        Optuna's name → value for each; None when a range is continuous or there are more than `limit`.
    """
    found: list[dict[str, Any]] = []
    path: list[list[int]] = []
    while True:
        walk = _Walk(path)
        try:
            chosen_by(parameters, walk)
        except Endless:
            return None
        found.append(walk.params)
        if len(found) > limit:
            return None
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return found
        path[-1][0] += 1


def chosen_by(parameters: Sequence[Parameter], trial: Any) -> dict[str, Any]:
    """The program's values that `trial` suggests, in the order in which conditions are decided."""
    chosen: dict[str, Any] = {}
    for parameter in parameters:
        chosen.update(parameter.suggest(trial, chosen))
    return chosen


def replay(
    parameters: Sequence[Parameter], params: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
    """What a trial with `params` has in this search space.

    Returns:
        The program's values, and this space's distributions by Optuna's names; None when the trial lacks
        a parameter, or has a value that is not possible here.
    """
    trial = _Replay(params)
    try:
        chosen = chosen_by(parameters, trial)
    except KeyError:
        return None
    return chosen, trial.distributions
