"""Failed trials whose parameters are run again: which ones were, and the trials that do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from controller.search.trial_snapshot import SNAPSHOT
from controller.search.tried import FIXED, GIVEN, NOT_RUN

RETRY_OF = "optuna-rq:retry_of"
"""System attribute of a trial that runs a failed one's parameters again: the number of that one."""
_KEPT = ("grid_id", "search_space", RETRY_OF)
"""System attributes that go on: what the grid sampler knows its points by, and what is retried."""


def given_trial(chosen: Mapping[str, Any], origin: str, **more: Any) -> FrozenTrial:
    """A trial that waits to run known parameters, as Optuna's `enqueue_trial` makes them.

    Args:
        chosen: Optuna's name → value.
        origin: who gives them: a key of `controller.search.reason_words`.
        more: of who gives them.
    """
    kept = {FIXED: dict(chosen), GIVEN: {"from": origin, **more}}
    return optuna.trial.create_trial(state=TrialState.WAITING, system_attrs=kept)


def once_more(
    chosen: Mapping[str, Any],
    attributes: Mapping[str, Any],
    *,
    retry_of: int | None = None,
    again: int | None = None,
) -> FrozenTrial:
    """A trial that waits to run another one's parameters, as Optuna's `enqueue_trial` makes them.

    Args:
        chosen: Optuna's name → value.
        attributes: system attributes of the other one.
        retry_of: its number, if it has failed.
        again: its number, if it was cut short.
    """
    kept = {name: attributes[name] for name in _KEPT if attributes.get(name) is not None}
    if retry_of is not None:
        kept[RETRY_OF] = retry_of
    if again is not None:
        kept[GIVEN] = {"from": "again", "trial": again}
    return optuna.trial.create_trial(state=TrialState.WAITING, system_attrs={FIXED: dict(chosen), **kept})


def retried(study: optuna.Study) -> set[int]:
    """Numbers of the trials that were given another try, which has run, runs, or waits."""
    return {
        int(trial.system_attrs[RETRY_OF])
        for trial in study.get_trials(deepcopy=False)
        if trial.system_attrs.get(RETRY_OF) is not None
        # One that was asked for, and closed without a task, has retried nothing.
        and (NOT_RUN not in trial.user_attrs or SNAPSHOT in trial.system_attrs)
    }
