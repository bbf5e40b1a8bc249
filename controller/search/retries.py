"""Failed trials whose parameters are run again: which ones were, and the trials that do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

RETRY_OF = "optuna-rq:retry_of"
"""System attribute of a trial that runs a failed one's parameters again: the number of that one."""
NOT_RUN = "optuna-rq:not_run"
"""User attribute of a trial that was not run, or cut short for no fault of its own, as with its study."""
FIXED = "fixed_params"
"""System attribute, Optuna's, of a trial whose parameters were given."""
_KEPT = ("grid_id", "search_space", RETRY_OF)
"""System attributes that go on: what the grid sampler knows its points by, and what is retried."""


def once_more(
    chosen: Mapping[str, Any], attributes: Mapping[str, Any], *, retry_of: int | None = None
) -> FrozenTrial:
    """A trial that waits to run another one's parameters, as Optuna's `enqueue_trial` makes them.

    Args:
        chosen: Optuna's name → value.
        attributes: system attributes of the other one.
        retry_of: its number, if it has failed.
    """
    kept = {name: attributes[name] for name in _KEPT if name in attributes}
    about = {} if retry_of is None else {RETRY_OF: retry_of}
    return optuna.trial.create_trial(
        state=TrialState.WAITING, system_attrs={FIXED: dict(chosen), **kept, **about}
    )


def retried(study: optuna.Study) -> set[int]:
    """Numbers of the trials that were given another try, which has run, runs, or waits."""
    trials = study.get_trials(deepcopy=False)
    return {
        int(trial.system_attrs[RETRY_OF])
        for trial in trials
        if RETRY_OF in trial.system_attrs and NOT_RUN not in trial.user_attrs
    }
