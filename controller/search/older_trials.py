"""An older study's trials as what a sampler knows beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from controller.search.parameters import Parameter
from controller.search.space import replay
from controller.search.tried import COPIED
from worker.protocol.errors import BadInput


def copy_trials(older: optuna.Study, study: optuna.Study, parameters: Sequence[Parameter]) -> tuple[int, int]:
    """Copy the trials of an older study that fit this search space.

    They are not run, and no budget counts them. Repeating it copies nothing twice.

    Returns:
        How many are known now, and how many don't fit.

    Raises:
        BadInput: the older study optimizes in other directions.
    """
    if list(older.directions) != list(study.directions):
        raise BadInput(f"start_from: study {older.study_name!r} optimizes in other directions")
    have = {trial.user_attrs.get(COPIED) for trial in study.get_trials(deepcopy=False)}
    copied = left = 0
    for trial in older.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        found = replay(parameters, trial.params)
        if found is None or set(found[1]) != set(trial.params):
            left += 1
            continue
        copied += 1
        origin = f"{older.study_name}/{trial.number}"
        if origin not in have:
            study.add_trial(
                optuna.trial.create_trial(
                    state=trial.state,
                    values=trial.values if trial.state is TrialState.COMPLETE else None,
                    params=dict(trial.params),
                    distributions=found[1],
                    intermediate_values=dict(trial.intermediate_values),
                    user_attrs={COPIED: origin},
                )
            )
    return copied, left
