"""fANOVA: what a forest that predicts the order of trials owes to each parameter, and to pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial
from scipy.stats import ttest_rel

from controller.insight.importance_sample import Drawn, Sample, Searched, frozen_trials
from controller.insight.importance_share import Share, shares_of
from worker.optuna_internals import fanova_share

FEWEST_FOR_A_FOREST = 30
PREDICTS_LITTLE = 0.2
"""Of the differences between unseen trials: a forest that predicts less says little of their causes."""
TREES, DEPTH = 16, 6
PAIRS_OF = 3
"""Of the parameters that explain most, pairs are looked at."""
WORTH_TELLING = 0.05
"""Of the differences, what a pair explains at least beyond its two."""
FEWEST_FOR_PAIRS = 60
FOLDS = 8
HELPS = 0.02
"""Of the differences between unseen trials, what knowing a pair predicts at least beyond its two."""
SURE = 0.05
"""How likely it may at most be by chance."""
MOST_DRAWS = 12
"""Bootstraps of a forest: each takes up to half a second."""


@dataclass(frozen=True, kw_only=True)
class Forest:
    """What a forest owes to what."""

    explains: Mapping[str, Share]
    """Name → of the differences between the trials, what it explains by itself."""
    pairs: Mapping[tuple[str, str], Share]
    """Two names → what both together explain beyond that, where knowing it helps with unseen trials."""
    predicts: float
    """Of the differences between trials that a tree hasn't seen; below 0 where it only misleads."""


def has_forests() -> bool:
    """Whether scikit-learn is there, of which Optuna's fANOVA makes its forest."""
    return find_spec("sklearn") is not None


def forest_of(
    sample: Sample,
    places: Sequence[int],
    parameters: Sequence[Searched],
    bootstraps: int,
    rng: np.random.Generator,
) -> Forest | None:
    """A forest over some trials; None where they are too few, or all alike.

    Args:
        parameters: those that each of the trials has.
    """
    parameters = _varying(sample, places, parameters)
    if len(places) < FEWEST_FOR_A_FOREST or not parameters:
        return None
    names = sorted(one.name for one in parameters)
    trials = frozen_trials(sample, places, forest=True)
    if len({trial.value for trial in trials}) == 1:
        return None
    predicts = _predicts(trials, names)
    found, pairs = _explained(trials, names, ())
    couples: list[tuple[str, str]] = []
    if predicts >= PREDICTS_LITTLE and len(places) >= FEWEST_FOR_PAIRS:
        first = sorted(names, key=lambda name: -found[names.index(name)])[:PAIRS_OF]
        couples = list(itertools.combinations(sorted(first), 2))
        found, pairs = _explained(trials, names, couples)
        told = [couple for couple, share in zip(couples, pairs, strict=True) if share >= WORTH_TELLING]
        helping = pairs_that_help(trials, names, told)
        kept = [place for place, couple in enumerate(couples) if couple in helping]
        couples, pairs = [couples[place] for place in kept], [pairs[place] for place in kept]
    drawn, drawn_pairs = [], []
    for _ in range(min(bootstraps, MOST_DRAWS)):
        again = [trials[place] for place in rng.integers(len(trials), size=len(trials))]
        mains, both = _explained(again, names, couples)
        drawn.append(mains)
        drawn_pairs.append(both)
    return Forest(
        explains=dict(zip(names, shares_of(found, drawn), strict=True)),
        pairs=dict(zip(couples, shares_of(pairs, drawn_pairs if couples else ()), strict=True)),
        predicts=predicts,
    )


def _varying(sample: Sample, places: Sequence[int], parameters: Sequence[Searched]) -> list[Searched]:
    """Parameters that differ between these trials: what the others depend on is the same in them."""
    return [
        one
        for one in parameters
        if len({str(one.value(sample.rows[place][one.name])) for place in places}) > 1
    ]


def _explained(
    trials: Sequence[FrozenTrial], names: Sequence[str], couples: Sequence[tuple[str, str]]
) -> tuple[list[float], list[float]]:
    """What each parameter explains by itself, and each couple beyond; zeros where all trials are alike.

    Args:
        names: sorted, as Optuna has them.
    """
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=0)
    try:
        found = evaluator.evaluate(Drawn(list(trials)), list(names))
    except RuntimeError:  # no tree has a variance
        return [0.0] * len(names), [0.0] * len(couples)
    alone = [float(found[name]) for name in names]
    beyond = []
    for couple in couples:
        places = [names.index(name) for name in couple]
        beyond.append(max(0.0, fanova_share(evaluator, places) - sum(alone[place] for place in places)))
    return alone, beyond


def _predicts(trials: Sequence[FrozenTrial], names: Sequence[str]) -> float:
    """Of the differences between trials, what a forest predicts that hasn't seen them."""
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415 - need not be installed

    x, y = _arrays(trials, names)
    forest = RandomForestRegressor(n_estimators=64, max_depth=DEPTH, oob_score=True, random_state=0)
    return float(forest.fit(x, y).oob_score_)


def pairs_that_help(
    trials: Sequence[FrozenTrial], names: Sequence[str], couples: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Those pairs by which a model predicts unseen trials better than one that only adds up what each
    parameter does. A forest finds pairs in noise as well: this one doesn't."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - need not be installed
    from sklearn.model_selection import KFold, cross_val_score  # noqa: PLC0415 - the same
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with it

    x, y = _arrays(trials, names)
    folds = KFold(FOLDS, shuffle=True, random_state=0)

    def scores(*together: set[int]) -> np.ndarray:
        apart = [{place} for place in range(len(names))]
        model = HistGradientBoostingRegressor(
            max_iter=40, min_samples_leaf=5, interaction_cst=[*apart, *together], random_state=0
        )
        with threadpool_limits(1):
            return np.asarray(cross_val_score(model, x, y, cv=folds))

    found, added = [], scores() if couples else np.zeros(FOLDS)
    for couple in couples:
        joined = scores({names.index(name) for name in couple})
        better = float(ttest_rel(joined, added, alternative="greater").pvalue)
        if (joined - added).mean() >= HELPS and better <= SURE:
            found.append(couple)
    return found


def _arrays(trials: Sequence[FrozenTrial], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    x = np.array([[_number(trial, name) for name in names] for trial in trials])
    return x, np.array([trial.value for trial in trials])


def _number(trial: FrozenTrial, name: str) -> float:
    return float(trial.distributions[name].to_internal_repr(trial.params[name]))
