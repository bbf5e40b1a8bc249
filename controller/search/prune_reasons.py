"""Why a pruner gave a trial up: values, computed when it has done so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from worker.optuna_internals import (
    bracket_of,
    halving_factor,
    patience_of,
    percentile_of,
    rung_key,
    rung_values,
    threshold_of,
    wilcoxon_of,
)
from worker.protocol.sampler_names import PRUNERS

_NAMES = {name: kind for kind, name in PRUNERS.items()}


def why_pruned(study: optuna.Study, trial: FrozenTrial, step: int) -> dict[str, Any]:
    """What the study's pruner rested on, as JSON types.

    Args:
        trial: that was given up, with what it has reported.
        step: of its last report.
    """
    why = {"step": step, "value": _number(trial.intermediate_values.get(step))}
    return why | _of(study.pruner, study, trial, step)


def _of(pruner: BasePruner, study: optuna.Study, trial: FrozenTrial, step: int) -> dict[str, Any]:
    why: dict[str, Any] = {"by": _NAMES.get(type(pruner).__name__, type(pruner).__name__)}
    if isinstance(pruner, optuna.pruners.PercentilePruner):
        return why | _percentile(pruner, study, trial, step)
    if isinstance(pruner, optuna.pruners.HyperbandPruner):
        bracket = bracket_of(pruner, study, trial)

        def in_bracket(other: FrozenTrial) -> bool:
            return bracket_of(pruner, study, other) == bracket

        return why | {"bracket": bracket} | _rung(halving_factor(pruner), study, trial, in_bracket)
    if isinstance(pruner, optuna.pruners.SuccessiveHalvingPruner):
        return why | _rung(halving_factor(pruner), study, trial)
    if isinstance(pruner, optuna.pruners.ThresholdPruner):
        lower, upper = threshold_of(pruner)
        return why | {"lower": _number(lower), "upper": _number(upper)}
    if isinstance(pruner, optuna.pruners.PatientPruner):
        return why | _patience(pruner, study, trial, step)
    if isinstance(pruner, optuna.pruners.WilcoxonPruner):
        return why | _wilcoxon(pruner, study, trial)
    return why


def _percentile(
    pruner: optuna.pruners.PercentilePruner, study: optuna.Study, trial: FrozenTrial, step: int
) -> dict[str, Any]:
    own = [value for value in trial.intermediate_values.values() if not math.isnan(value)]
    if not own:
        return {}
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    others = [one.intermediate_values[step] for one in complete if step in one.intermediate_values]
    kept = percentile_of(pruner)
    upwards = study.direction is StudyDirection.MAXIMIZE
    found: dict[str, Any] = {"best": _number(max(own) if upwards else min(own)), "n": len(others)}
    if others:
        found["bound"] = _number(float(np.nanpercentile(others, 100 - kept if upwards else kept)))
    return found if kept == 50 else found | {"percentile": kept}


def _rung(
    factor: int,
    study: optuna.Study,
    trial: FrozenTrial,
    counts: Callable[[FrozenTrial], bool] = lambda other: True,
) -> dict[str, Any]:
    """Its place among the trials that have come to the last rung that it came to.

    Args:
        counts: which of the others it is compared with.
    """
    values = rung_values(trial)
    if not values:
        return {}
    rung = max(values)
    own, key = values[rung], rung_key(rung)
    reached = [
        one.system_attrs[key]
        for one in study.get_trials(deepcopy=False)
        if key in one.system_attrs and counts(one)
    ]
    upwards = study.direction is StudyDirection.MAXIMIZE
    better = sum(value > own if upwards else value < own for value in reached)
    return {
        "rung": rung,
        "place": better + 1,
        "n": len(reached),
        "go_on": max(1, len(reached) // factor),
    }


def _patience(
    pruner: optuna.pruners.PatientPruner, study: optuna.Study, trial: FrozenTrial, step: int
) -> dict[str, Any]:
    patience, wrapped = patience_of(pruner)
    steps = sorted(trial.intermediate_values)
    best = np.nanmax if study.direction is StudyDirection.MAXIMIZE else np.nanmin
    found: dict[str, Any] = {"patience": patience}
    for name, part in (("before", steps[: -patience - 1]), ("since", steps[-patience - 1 :])):
        if part:
            found[name] = _number(float(best([trial.intermediate_values[one] for one in part])))
    return found if wrapped is None else found | {"wrapped": _of(wrapped, study, trial, step)}


def _wilcoxon(
    pruner: optuna.pruners.WilcoxonPruner, study: optuna.Study, trial: FrozenTrial
) -> dict[str, Any]:
    from scipy.stats import wilcoxon  # type: ignore[import-untyped,unused-ignore] # noqa: PLC0415 - slow to import

    best = study.best_trial
    both = sorted(trial.intermediate_values.keys() & best.intermediate_values.keys())
    over = [trial.intermediate_values[step] - best.intermediate_values[step] for step in both]
    side = "less" if study.direction is StudyDirection.MAXIMIZE else "greater"
    found = wilcoxon(over, alternative=side, zero_method="zsplit")
    return {
        "p": _number(float(found.pvalue)),
        "limit": wilcoxon_of(pruner),
        "n": len(both),
        "against": best.number,
    }


def _number(value: float | None) -> float | None:
    """Six digits; None for what JSON has no word for."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
