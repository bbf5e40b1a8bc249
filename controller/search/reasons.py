"""Why a trial was asked for as it was: values, computed when the sampler has chosen.

They name what the choice rested on rather than repeat it: the numbers of the good trials, whose parameters
stand in those trials.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from controller.search.retries import RETRY_OF
from controller.search.tried import FIXED, GIVEN
from worker.optuna_internals import (
    base_sampler,
    fixed_names,
    generation,
    good_trials,
    grid_size,
    is_multivariate,
    startup_trials,
)
from worker.protocol.sampler_names import SAMPLERS
from worker.trials.history import BoundedHistory

MOST_GOOD = 25
"""Good trials that are named: TPE takes no more by itself."""
MOST_NAMES = 10
"""Parameters, and trials that were closed before this one, that are named."""

_NAMES = {name: kind for kind, name in SAMPLERS.items()}


class AskReasons:
    """Says what each trial that is asked for rests on. Looks at a trial until that has ended, not again.

    Args:
        study: Optuna's; what its sampler is may change.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._finished = Finished(study.directions)
        self._facts = SamplerFacts(study.sampler)

    def of(self, trial: optuna.Trial, attributes: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """Why a trial has its parameters, as JSON types.

        Args:
            trial: that was just asked for.
            attributes: its system attributes.
            names: Optuna's names of its parameters.
        """
        if FIXED in attributes:
            return _given(attributes)
        if self._facts.sampler is not self._study.sampler:
            self._facts = SamplerFacts(self._study.sampler)
        facts, finished = self._facts, self._finished
        why: dict[str, Any] = {"by": facts.name}
        if facts.kind in ("RandomSampler", "QMCSampler", "BruteForceSampler"):
            return why
        if facts.kind == "GridSampler":
            point = attributes.get("grid_id")
            return why | ({} if point is None else {"point": point, "of": facts.points})
        finished.look(self._study.get_trials(deepcopy=False))
        count = finished.count if facts.kind == "TPESampler" else finished.complete
        if facts.startup is not None and count < facts.startup:
            return why | {"startup": count, "of": facts.startup}
        why["n"] = count if facts.newest is None else min(count, facts.newest)
        if facts.kind == "TPESampler":
            why |= self._of_tpe(facts, count, trial, names)
        else:
            found = generation(attributes)
            why |= {} if found is None else {"generation": found}
        return why

    def _of_tpe(
        self, facts: SamplerFacts, count: int, trial: optuna.Trial, names: Sequence[str]
    ) -> dict[str, Any]:
        why: dict[str, Any] = {}
        if is_multivariate(facts.inner, self._study):
            relative = trial.relative_params
            alone = [name for name in names if name not in relative and name not in facts.fixed]
            why["together"] = len(relative)
            why |= {"alone": alone[:MOST_NAMES]} if alone and relative else {}
        if self._finished.ordered and (facts.newest is None or facts.newest >= 10 * MOST_GOOD):
            why["good"] = self._finished.best(good_trials(facts.inner, self._study, count))
        return why


def _given(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Why a trial whose parameters were given has them."""
    retry_of = attributes.get(RETRY_OF)
    if retry_of is not None:
        return {"by": "given", "from": "retry", "trial": retry_of}
    origin = attributes.get(GIVEN)
    if not isinstance(origin, Mapping):
        return {"by": "given", "from": "outside"}
    why = {"by": "given", "from": str(origin.get("from", "outside"))}
    return why | {name: origin[name] for name in ("trial", "person") if name in origin}


class SamplerFacts:
    """What of a sampler stays the same from trial to trial."""

    def __init__(self, sampler: BaseSampler) -> None:
        self.sampler = sampler
        self.newest: int | None = None
        """Finished trials that it sees at most; None for all."""
        self.fixed: frozenset[str] = frozenset()
        """Parameters that it doesn't choose."""
        inner = sampler
        if isinstance(inner, BoundedHistory):
            self.newest, inner = inner.newest, inner.inner
        if isinstance(inner, optuna.samplers.PartialFixedSampler):
            self.fixed, inner = fixed_names(inner), base_sampler(inner)
            if isinstance(inner, BoundedHistory):
                self.newest, inner = inner.newest, inner.inner
        self.inner = inner
        self.kind = type(inner).__name__
        self.name = _NAMES.get(self.kind, self.kind)
        self.startup = startup_trials(inner)
        self.points = grid_size(inner) if isinstance(inner, optuna.samplers.GridSampler) else 0


class Finished:
    """The trials from which samplers learn, the best first as TPE has them."""

    def __init__(self, directions: Sequence[StudyDirection]) -> None:
        self._sign = 0.0
        if len(directions) == 1:
            self._sign = -1.0 if directions[0] is StudyDirection.MAXIMIZE else 1.0
        self._reset()

    def _reset(self) -> None:
        self.count = 0
        """Trials that completed or were pruned."""
        self.complete = 0
        self._looked_at = 0
        self._open: list[int] = []
        self._best: list[tuple[int, float, float, int]] = []

    @property
    def ordered(self) -> bool:
        """Whether there is one order: several objectives have none."""
        return bool(self._sign)

    def best(self, most: int) -> list[int]:
        """Numbers of the best trials, the best first; at most `MOST_GOOD`."""
        return [number for *_, number in self._best[: min(most, MOST_GOOD)]]

    def look(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in the trials that have ended since the last look."""
        if len(trials) < self._looked_at:
            self._reset()  # they were read again
        todo = [*self._open, *range(self._looked_at, len(trials))]
        self._looked_at, self._open = len(trials), []
        for place in todo:
            trial = trials[place]
            if not trial.state.is_finished():
                self._open.append(place)
            elif trial.state is not TrialState.FAIL:
                self.count += 1
                self.complete += trial.state is TrialState.COMPLETE
                if self._sign:
                    bisect.insort(self._best, (*self._rank(trial), trial.number))
                    del self._best[MOST_GOOD:]

    def _rank(self, trial: FrozenTrial) -> tuple[int, float, float]:
        """Lower is better: complete ones by value, pruned ones by how far they came, infeasible ones."""
        violation = sum(value for value in trial.constraints.values() if value > 0)
        if violation > 0:
            return 2, violation, 0.0
        if trial.state is TrialState.COMPLETE:
            return 0, self._sign * (trial.value if trial.value is not None else math.inf), 0.0
        if not trial.intermediate_values:
            return 1, 1.0, 0.0
        step, value = max(trial.intermediate_values.items())
        return 1, -float(step), math.inf if math.isnan(value) else self._sign * value
