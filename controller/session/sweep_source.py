"""The Optuna study of a sweep file: its space, sampler and pruner, and what is known beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from controller.loop.observer import Observer
from controller.search.samplers import grid, make_pruner, make_sampler, seed_after
from controller.search.search import Search
from controller.search.study import find_study, name_objectives, open_study, refuse_other_trials
from controller.search.trial_cache import cached
from controller.session.sweep_objects import objective_of, parameters_of
from controller.sweep import Sweep
from worker.protocol.errors import BadInput
from worker.trials.sampler_state import SamplerState, continued


class SweepSource:
    """Makes or continues the study that a sweep file describes, and the search over it.

    Raises:
        BadInput: the sampler or pruner can't be used for this search.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self.parameters = parameters_of(sweep)
        self.objective = objective_of(sweep)
        self._make_sampler(0)
        pruner = sweep.pruner
        self._pruner = make_pruner(pruner.type if pruner else None, pruner.options if pruner else {})
        self._sampler_state: SamplerState | None = None

    @property
    def max_trials(self) -> int | None:
        """Trials in all; a grid has no more than its points."""
        limit = self._sweep.budget.max_trials
        if self._sweep.sampler.type != "grid":
            return limit
        size = math.prod(len(values) for values in grid(self.parameters).values())
        return size if limit is None else min(limit, size)

    def open_study(self, storage: BaseStorage) -> optuna.Study:
        """Optuna's study, made or continued. Raises `BadInput` when it has another space or directions."""
        sweep = self._sweep
        study = open_study(
            storage, sweep.study.name, self.objective.directions, self._make_sampler(0), self._pruner
        )
        name_objectives(study, [metric.key for metric in self.objective.metrics])
        refuse_other_trials(study, {p.name: p.distribution() for p in self.parameters})
        self._sampler_state = continued(study, self._make_sampler)
        study.sampler = self._sampler_state.sampler
        return study

    def open_search(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        observer: Observer,
        kind: Callable[..., Search] = Search,
    ) -> Search:
        """The search over the study. Raises `BadInput` for a study to start from that isn't there.

        Args:
            kind: makes the search.
        """
        by_objective = self._sweep.objective.kind == "optuna"
        search = kind(
            # Objectives that take Optuna's trial write to the storage themselves.
            study if by_objective else cached(study),
            self.parameters,
            # What an objective chooses by itself is not known beforehand.
            allow_duplicates=self._sweep.study.allow_duplicates or by_objective,
            reports=not by_objective,
            sampler_state=self._sampler_state,
        )
        search.settings = self._logged()
        older = self._sweep.study.start_from
        if older is not None:
            copied, left = search.start_from(_older(older, storage))
            observer.note(f"{copied} trial(s) of study {older!r} are known to the sampler, {left} don't fit")
        for parameters in self._sweep.tries:
            search.enqueue(parameters, "try")
        return search

    def _logged(self) -> dict[str, Any]:
        """What a replay makes sampler and pruner from."""
        pruner = self._sweep.pruner
        return {
            "sampler": self._sweep.sampler.to_dict(),
            "pruner": pruner.to_dict() if pruner is not None else {},
        }

    def _make_sampler(self, trials: int) -> BaseSampler:
        """The sampler for a study that has so many trials. Raises `BadInput`."""
        given = self._sweep.sampler
        seed = seed_after(given.seed, trials, given.type)
        return make_sampler(given.type, given.options, seed, self.parameters)


def _older(name: str, storage: BaseStorage) -> optuna.Study:
    study = find_study(storage, name)
    if study is None:
        raise BadInput(f"study.start_from: there is no study {name!r} in Optuna's storage")
    return study
