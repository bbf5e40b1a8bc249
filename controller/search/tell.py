"""Telling Optuna how one trial has ended."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import optuna
from optuna.trial import TrialState

from controller.search.decision_log import DecisionLog
from worker.optuna_internals import tell, trial_id

log = logging.getLogger(__name__)


class TellResult(Enum):
    """What telling a trial has led to."""

    TOLD = "told"
    LAST = "last"
    """Told, and the sampler has tried everything by now."""
    KNOWN = "known"
    """It was told before; nothing has changed."""


def tell_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    state: TrialState,
    values: Sequence[float] | None,
    constraints: Sequence[float] | None,
    decisions: DecisionLog,
    why: Mapping[str, Any] | None,
) -> TellResult:
    """Tell how a trial has ended, and log it. One without a finite value for each objective has failed.

    Args:
        constraints: by how much each bound is passed; feasible where all are 0 or below.
        why: for the log: what became of its task.
    """
    if state is TrialState.COMPLETE and (values is None or not all(map(math.isfinite, values))):
        state, values = TrialState.FAIL, None
    try:
        for index, violation in enumerate(constraints or ()):
            trial.set_constraint(str(index), violation)
        told = list(values) if state is TrialState.COMPLETE and values else None
        decisions.told(trial, told, {"state": state.name, **(why or {})})
        tell(study, trial, told, state)
    except optuna.exceptions.UpdateFinishedTrialError as error:
        log.info("trial %d was told before: %s", trial.number, error)
        return TellResult.KNOWN
    except RuntimeError as error:
        # Samplers that have tried everything call Study.stop(), which ask-and-tell doesn't know;
        # the result is stored all the same.
        if "stop" not in str(error).lower():
            raise
        return TellResult.LAST
    except ValueError as error:
        if "Cannot tell a" not in str(error):
            raise
        log.info("trial %d was told before: %s", trial.number, error)
        return TellResult.KNOWN
    return TellResult.TOLD


def keep_text(trial: optuna.Trial, name: str, text: str) -> None:
    """Have a running trial keep a text in its system attributes; one that was told keeps nothing more."""
    try:
        trial.storage.set_trial_system_attr(trial_id(trial), name, text)
    except optuna.exceptions.UpdateFinishedTrialError as error:
        log.info("trial %d was told before its %r was kept: %s", trial.number, name, error)
