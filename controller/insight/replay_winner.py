"""Whether a study's winner would have survived another pruner or budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import TrialState

from controller.insight.replay_record import Recorded
from controller.insight.whatif_result import Winner
from worker.trials.storage import quietly


def winner_of(recorded: Recorded, values: Mapping[int, Sequence[float]]) -> Winner | None:
    """The recorded best trials, and those that it would have been; None where no trial has a result.

    Args:
        values: trial → the values that it would have had, of those with results.
    """
    before = _best(recorded, {t.number: t.values for t in recorded.trials if t.state is TrialState.COMPLETE})
    if not before:
        return None
    after = _best(recorded, values)
    return Winner(
        trials=tuple(before),
        values=tuple(tuple(recorded.trials[number].values) for number in before),
        survive=tuple(number for number in before if number in after),
        instead=tuple(after),
        instead_values=tuple(tuple(values[number]) for number in after),
    )


def _best(recorded: Recorded, values: Mapping[int, Sequence[float]]) -> list[int]:
    """Numbers of the best trials, or of the Pareto front; bounds are kept."""
    with quietly():
        study = optuna.create_study(directions=list(recorded.directions))
    numbers = []
    for number, found in values.items():
        constraints = {
            key: value
            for key, value in recorded.trials[number].system_attrs.items()
            if key.startswith("constraints")
        }
        study.add_trial(
            optuna.trial.create_trial(state=TrialState.COMPLETE, values=list(found), system_attrs=constraints)
        )
        numbers.append(number)
    best = sorted(numbers[trial.number] for trial in study.best_trials)
    return best[:1] if len(recorded.directions) == 1 else best
