"""What a set of parameters is made of: its combinations, and their names."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controller.search.parameter import Parameter
from worker.protocol.errors import BadInput
from worker.protocol.values import full

UNNAMED = "parameter_set"
"""Name of the first set that has none of its own."""


def apart(where: str, parameters: Iterable[Parameter]) -> list[Parameter]:
    """The parameters, each under a name of its own for the sampler.

    The first set without a name is ``parameter_set``, the next ones ``parameter_set 2`` and so on.

    Args:
        where: they are given, for messages.

    Raises:
        BadInput: one is no parameter, or two have one name.
    """
    if isinstance(parameters, (Parameter, str, Mapping)) or not isinstance(parameters, Iterable):
        raise BadInput(f"{where}: a list of parameter ranges, not {parameters!r:.80}")
    given = list(parameters)
    for parameter in given:
        if not isinstance(parameter, Parameter):
            raise BadInput(
                f"{where}: {parameter!r:.80} is no parameter; give a UniformParameterRange, "
                "DiscreteParameterRange, ParameterSet or one of the others"
            )
    own = [parameter.name for parameter in given if parameter.named]
    values = [full(name) for parameter in given for name in parameter.names]
    twice = _repeated(values) or _repeated(own)
    if twice:
        raise BadInput(*(f"{where}: {name} is given twice" for name in twice))
    taken, found = set(own), []
    for parameter in given:
        if not parameter.named:
            parameter = copy.copy(parameter)
            parameter.name = _free(taken)
            taken.add(parameter.name)
        found.append(parameter)
    return found


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _free(taken: set[str]) -> str:
    number, name = 1, UNNAMED
    while name in taken:
        number += 1
        name = f"{UNNAMED} {number}"
    return name


def combinations_of(name: str, given: Any) -> list[dict[str, Any]]:
    """The combinations of a set. Raises `BadInput` where there are none, or one is no dict."""
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise BadInput(f"{name}: a list of combinations, not {given!r:.80}")
    found = list(given)
    if not found:
        raise BadInput(f"{name}: there are no combinations to choose from")
    for place, combination in enumerate(found):
        if not isinstance(combination, Mapping):
            raise BadInput(
                f"{name}: combination {place} must be a dict of name → value or range, "
                f"not {combination!r:.80}"
            )
    return [dict(combination) for combination in found]


class Labelled:
    """A trial of Optuna's whose parameters all begin with a label.

    Args:
        trial: that is asked.
        label: put before each name.
    """

    def __init__(self, trial: Any, label: str) -> None:
        self._trial = trial
        self._label = label

    def suggest_float(self, name: str, *bounds: float, **more: Any) -> Any:
        return self._trial.suggest_float(self._label + name, *bounds, **more)

    def suggest_int(self, name: str, *bounds: int, **more: Any) -> Any:
        return self._trial.suggest_int(self._label + name, *bounds, **more)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._trial.suggest_categorical(self._label + name, choices)
