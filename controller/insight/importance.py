"""What matters in a study: how much each parameter does for its result, and how sure that is.

Two of Optuna's measures, over ranks instead of values, so that one absurd value doesn't decide. PED-ANOVA
says how differently the best tenth choose a parameter, over all trials, conditional parameters included.
fANOVA says how much of the differences between trials a parameter explains by itself, and a pair beyond its
two; it looks at trials that have the same parameters.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial

from controller.insight.importance_forest import PREDICTS_LITTLE, Forest, forest_of, has_forests
from controller.insight.importance_sample import Drawn, Sample, Searched, frozen_trials, sample_of
from controller.insight.importance_share import Share, shares_of
from controller.results.space import shown
from controller.results.study_data import StudyData
from controller.search.study import quiet_optuna

BOOTSTRAPS = 40
"""How often the trials are drawn again for intervals."""
CHANCE = 0.05
"""A parameter matters where chance does as much in no more of the shuffled studies, or where a forest that
predicts something owes it more than a little."""
NO_MORE_THAN_CHANCE = 0.2
"""It doesn't where chance does as much in so many of them, and a forest finds little in it."""
FEWEST_TO_DISMISS = 40
"""Trials that have a parameter before it is said not to matter."""
LITTLE = 0.1
"""Of the differences, what a forest may explain by a parameter that doesn't matter, at the interval's top."""
SHUFFLES = 100


@dataclass(frozen=True, kw_only=True)
class Matter:
    """One parameter, and what it does for the result."""

    name: str
    share: Share
    """Of all that makes the best tenth differ from the others (PED-ANOVA); the shares add up to 1."""
    explains: Share | None
    """Of the differences between the trials that have it, what it explains by itself (fANOVA); None where
    too few trials have it, where a forest predicts little, or without scikit-learn."""
    chance: float
    """How many of the studies with shuffled results have as large an importance, from 0 to 1."""
    matters: str
    """``yes``, ``no`` or ``unclear``."""
    trials: int
    """That have it."""
    where: str
    """Where it exists, such as ``opt = sgd``; empty for everywhere."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two parameters whose values have to fit each other."""

    names: tuple[str, str]
    explains: Share
    """Of the differences, beyond what each explains by itself (fANOVA)."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What matters for one objective of a study."""

    study: str
    objective: str
    """Key of the metric."""
    trials: int
    """That were looked at."""
    best: int
    """Of these, the best, which PED-ANOVA sets apart."""
    parameters: tuple[Matter, ...]
    """The most important first."""
    pairs: tuple[Pair, ...]
    """What a pair explains most first; empty where a forest predicts too little to say."""
    predicts: float | None
    """Of the differences between trials that it hasn't seen, what the forest of fANOVA predicts; below 0.2 it
    says little. None without one."""
    notes: tuple[str, ...]
    """What limits the answer, in sentences."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def of(self, name: str) -> Matter | None:
        return next((one for one in self.parameters if one.name == name), None)


def importance_of(data: StudyData, objective: int = 0, *, bootstraps: int = BOOTSTRAPS) -> Importance:
    """What matters in a study; the same for the same trials.

    Args:
        objective: place of the objective that is looked at.
        bootstraps: draws that intervals are made of.

    Raises:
        BadInput: too few trials have a result, or nothing differs; says how many it would take.
    """
    return importance_in(sample_of(data, objective), bootstraps=bootstraps)


def importance_in(sample: Sample, *, bootstraps: int = BOOTSTRAPS) -> Importance:
    """As `importance_of`, of a sample. What was found of the same trials before is known still."""
    few = replace(sample.data, tasks=(), curves={}, events=())
    return _found(_Asked(of=_identity(sample), bootstraps=bootstraps, sample=replace(sample, data=few)))


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The same for the same trials, by any reader."""

    of: str
    bootstraps: int
    sample: Sample = field(compare=False, repr=False)


def _identity(sample: Sample) -> str:
    trials = [(task.record.id, row) for task, row in zip(sample.tasks, sample.rows, strict=True)]
    spaces = [(one.name, one.space.text if one.space else "") for one in sample.parameters]
    about = (sample.data.study.name, sample.objective, sample.notes, spaces, trials, sample.ranks.tolist())
    return hashlib.sha256(json.dumps(about, default=str).encode("utf-8", "replace")).hexdigest()


@lru_cache(maxsize=16)
def _found(asked: _Asked) -> Importance:
    sample, bootstraps = asked.sample, asked.bootstraps
    quiet_optuna()
    rng = np.random.default_rng(len(sample.tasks))
    shares, chance = _ped_anova(sample, bootstraps, rng)
    forests = _forests(sample, bootstraps, rng)
    matters = [
        _matter(sample, one, shares[one.name], chance[one.name], forests)
        for one in sample.parameters
        if one.varies
    ]
    matters.sort(key=lambda one: -one.share.value)
    whole = forests.get(frozenset(range(len(sample.tasks))))
    pairs = _pairs(forests)
    notes = [*sample.notes, *_notes(whole)]
    return Importance(
        study=sample.data.study.name,
        objective=sample.data.objectives[sample.objective].key,
        trials=len(sample.tasks),
        best=len(sample.best),
        parameters=tuple(_with_pairs(matters, pairs)),
        pairs=tuple(pairs),
        predicts=whole.predicts if whole else None,
        notes=tuple(notes),
    )


def _ped_anova(
    sample: Sample, bootstraps: int, rng: np.random.Generator
) -> tuple[dict[str, Share], dict[str, float]]:
    """Name → its share, and name → how many shuffled studies have as large an importance."""
    evaluator = PedAnovaImportanceEvaluator(target_quantile=sample.quantile)
    trials = frozen_trials(sample, range(len(sample.tasks)))
    study = Drawn(trials)
    found = _evaluate(evaluator, study)
    names = list(found)
    drawn = []
    for _ in range(bootstraps):
        again = [trials[place] for place in rng.integers(len(trials), size=len(trials))]
        importances = _evaluate(evaluator, Drawn(again))
        drawn.append(_normal([importances.get(name, 0.0) for name in names]))
    as_large = dict.fromkeys(names, 0)
    shuffling = np.random.default_rng(
        len(trials)
    )  # its own: chance doesn't depend on the number of bootstraps
    for _ in range(SHUFFLES):
        by_chance = _evaluate(evaluator, study, target=_looked_up(shuffling.permutation(sample.ranks)))
        for name in names:
            as_large[name] += by_chance[name] >= found[name]
    shares = shares_of(_normal([found[name] for name in names]), drawn)
    # The study itself counts among those that chance may have made.
    return dict(zip(names, shares, strict=True)), {n: (c + 1) / (SHUFFLES + 1) for n, c in as_large.items()}


def _evaluate(
    evaluator: PedAnovaImportanceEvaluator,
    study: Drawn,
    target: Callable[[FrozenTrial], float] | None = None,
) -> dict[str, float]:
    """Optuna's answer. It warns where a conditional parameter has few trials; the intervals show that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return evaluator.evaluate(study, target=target)


def _looked_up(ranks: np.ndarray) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(ranks[trial.number])


def _normal(values: Sequence[float]) -> list[float]:
    total = sum(values)
    return [value / total if total else 1 / len(values) for value in values]


def _forests(sample: Sample, bootstraps: int, rng: np.random.Generator) -> dict[frozenset[int], Forest]:
    """Trials that have the same parameters → their forest, where there are enough of them."""
    if not has_forests():
        return {}
    found = {}
    for numbers in sample.groups():
        inside = [one for one in sample.parameters if one.numbers >= numbers]
        forest = forest_of(sample, sorted(numbers), inside, bootstraps, rng)
        if forest is not None:
            found[numbers] = forest
    return found


def _matter(
    sample: Sample,
    one: Searched,
    share: Share,
    chance: float,
    forests: Mapping[frozenset[int], Forest],
) -> Matter:
    forest = forests.get(one.numbers)
    explains = forest.explains.get(one.name) if forest and forest.predicts >= PREDICTS_LITTLE else None
    matters = "unclear"
    if chance <= CHANCE or (explains is not None and explains.low > LITTLE):
        matters = "yes"
    elif (
        len(one.numbers) >= FEWEST_TO_DISMISS
        and chance > NO_MORE_THAN_CHANCE
        and (explains is None or explains.high <= LITTLE)
    ):
        matters = "no"
    return Matter(
        name=one.name,
        share=share,
        explains=explains,
        chance=chance,
        matters=matters,
        trials=len(one.numbers),
        where=_where(sample, one),
    )


def _where(sample: Sample, one: Searched) -> str:
    if len(one.numbers) == len(sample.tasks):
        return ""
    when = one.space.when if one.space else {}
    if when:
        return " and ".join(
            f"{name} = {' or '.join(shown(value) for value in values)}" for name, values in when.items()
        )
    trials = [sample.tasks[place].record.trial for place in one.numbers]
    others = [task.record.trial for place, task in enumerate(sample.tasks) if place not in one.numbers]
    if min(trials) > max(others):
        return f"since trial {min(trials)}"
    return f"up to trial {max(trials)}" if max(trials) < min(others) else "in some trials"


def _pairs(forests: Mapping[frozenset[int], Forest]) -> list[Pair]:
    found: dict[tuple[str, str], Pair] = {}
    for forest in forests.values():
        for names, share in forest.pairs.items():
            if share.low > 0:
                found.setdefault(names, Pair(names=names, explains=share))
    return sorted(found.values(), key=lambda pair: -pair.explains.value)


def _with_pairs(matters: Sequence[Matter], pairs: Sequence[Pair]) -> list[Matter]:
    """What is in a pair that explains something matters by it, or may."""
    joined = {name for pair in pairs for name in pair.names}
    return [
        replace(one, matters="unclear") if one.matters == "no" and one.name in joined else one
        for one in matters
    ]


def _notes(whole: Forest | None) -> list[str]:
    if not has_forests():
        return ["fANOVA and pairs need scikit-learn: pip install scikit-learn"]
    if whole is not None and whole.predicts < PREDICTS_LITTLE:
        little = f"{max(0.0, whole.predicts):.0%}"
        return [f"a forest predicts only {little} of the order of other trials: fANOVA says little"]
    return []
