"""Trials that somebody has enqueued in Optuna's study, with values as the objective knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from controller.search.parameter import Parameter
from controller.search.tried import FIXED
from worker.optuna_internals import contains
from worker.protocol.errors import BadInput


def as_optunas(given: Mapping[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any] | None:
    """Values that were given to Optuna's `enqueue_trial`, as Optuna has them: of a list, its text.

    Returns:
        Optuna's name → value; None where one is not possible.
    """
    found = dict(given)
    for parameter in parameters:
        name = parameter.name
        if name not in given or _has(parameter, given[name]):
            continue
        try:
            found.update(parameter.encode({name: given[name]}))
        except BadInput:
            return None
    return None if found == given else found


def is_foreign(trial: FrozenTrial, parameters: Sequence[Parameter]) -> bool:
    """Whether a trial was enqueued with a value that Optuna doesn't have for the parameter."""
    given = trial.system_attrs.get(FIXED, {})
    return any(each.name in given and not _has(each, given[each.name]) for each in parameters)


def _has(parameter: Parameter, value: Any) -> bool:
    try:
        return contains(parameter.distribution(), value)
    except (TypeError, ValueError):
        return False
