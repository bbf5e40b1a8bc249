"""Trials that somebody has enqueued in Optuna's study, with values as the objective knows them."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from controller.search.parameter import Parameter
from controller.search.retries import given_trial
from controller.search.study import given_before
from controller.search.tried import FIXED, TriedPoints
from worker.optuna_internals import contains
from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest
from worker.protocol.study_log import MAX_WHO

log = logging.getLogger(__name__)


def encoded(given: Mapping[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """A known configuration as Optuna has it.

    Args:
        given: name → the program's value.

    Raises:
        BadInput: there is no such parameter, with the nearest name, or a value is not possible.
    """
    known = [name for parameter in parameters for name in parameter.names]
    for name in given:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"
            raise BadInput(f"try: there is no parameter {name!r}; {hint}")
    found: dict[str, Any] = {}
    for parameter in parameters:
        found.update(parameter.encode(given))
    return found


def enqueue_once(
    study: optuna.Study,
    given: Mapping[str, Any],
    parameters: Sequence[Parameter],
    tried: TriedPoints | None,
    origin: str,
    by: str = "",
) -> str:
    """Enqueue a known configuration, unless that was done before.

    Args:
        given: name → the program's value.
        tried: what was tried already, and is not to be tried again; None where it may be.
        origin: ``try``, ``program`` or ``person``.
        by: the person.

    Returns:
        Why it is not enqueued; empty where it is.

    Raises:
        BadInput: there is no such parameter, with the nearest name, or a value is not possible.
    """
    point = encoded(given, parameters)
    if given_before(study, point):
        return "it was given before"
    earlier = tried.number_of(given) if tried is not None else None
    if earlier is not None:
        return f"trial {earlier} had the same parameters"
    study.add_trial(given_trial(point, origin, **({"person": by[:MAX_WHO]} if by else {})))
    return ""


def foreign_trials(
    study: optuna.Study, known: Container[int], parameters: Sequence[Parameter]
) -> list[FrozenTrial]:
    """Running trials other than those known by number, enqueued with values that Optuna doesn't have."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if trial.number not in known and is_foreign(trial, parameters)]


def enqueue_as_meant(study: optuna.Study, trial: FrozenTrial, parameters: Sequence[Parameter]) -> None:
    """Enqueue again what a trial was given, as Optuna has it; say so where a value is not possible."""
    given = trial.system_attrs[FIXED]
    try:
        study.add_trial(given_trial(_as_optunas(given, parameters), "outside"))
    except BadInput as error:
        log.warning("trial %d was enqueued with %s and is not run: %s", trial.number, dict(given), error)


def _as_optunas(given: Mapping[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Optuna's name → value: of a list, its text. Raises `BadInput` where a value is not possible."""
    found = dict(given)
    for parameter in parameters:
        name = parameter.name
        if name in given and not _has(parameter, given[name]):
            found.update(parameter.encode({name: given[name]}))
    return found


def is_foreign(trial: FrozenTrial, parameters: Sequence[Parameter]) -> bool:
    """Whether a trial was enqueued with a value that Optuna doesn't have for the parameter."""
    given = trial.system_attrs.get(FIXED, {})
    return any(each.name in given and not _has(each, given[each.name]) for each in parameters)


def _has(parameter: Parameter, value: Any) -> bool:
    try:
        return contains(parameter.distribution(), value)
    except (TypeError, ValueError):
        return False
