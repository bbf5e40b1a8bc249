"""Where a strategy's Optuna study comes from: its storage, sampler, pruner, and what is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, GridSampler

from controller.loop.observer import Observer
from controller.search.parameters import Parameter
from controller.search.samplers import make_pruner, make_sampler, seed_after
from controller.search.search import Search
from controller.search.study import find_study, open_study, refuse_other_trials
from controller.search.trial_cache import cached
from worker.optuna_internals import order_grid, storage_of
from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest
from worker.protocol.urls import redact
from worker.trials.sampler_state import SamplerState, continued
from worker.trials.storage import open_storage, quietly

IN_ORDER = "optuna-rq:grid_in_order"
"""User attribute of a study whose grid is not shuffled."""


class OptunaSource:
    """Makes or continues one study of Optuna's, and the search over it.

    Args:
        space: what is searched.
        directions: of the objectives.
        default_storage_url: used where no storage is given.
        default_sampler: name of the sampler where none is given.
        sampler, pruner: objects of Optuna's, or their names as in a sweep file.
        seed: of a sampler given by its name.
        previous: a study to continue, itself or its name.
        storage: Optuna's storage, itself or its URL.
        load_if_exists: continue a study of that name; False refuses one.
        allow_duplicates: run the same parameters again when the sampler asks for them.
        start_from: a study whose trials the sampler starts with, itself or its name.

    Raises:
        BadInput: a sampler or pruner is unknown, or can't be used for this search.
    """

    def __init__(
        self,
        space: Sequence[Parameter],
        directions: list[optuna.study.StudyDirection],
        default_storage_url: str,
        default_sampler: str,
        *,
        sampler: BaseSampler | str | None = None,
        pruner: BasePruner | str | None = None,
        seed: int | None = None,
        previous: optuna.Study | str | None = None,
        storage: Any = None,
        load_if_exists: bool = True,
        allow_duplicates: bool = False,
        start_from: optuna.Study | str | None = None,
    ) -> None:
        for name, given, kind in (("sampler", sampler, BaseSampler), ("pruner", pruner, BasePruner)):
            if given is not None and not isinstance(given, (str, kind)):
                raise BadInput(f"optuna_{name}: an object of Optuna's {name}s or a name, not {given!r:.80}")
        if len(directions) > 1 and not _is_none(pruner):
            raise BadInput(
                f"optuna_pruner: {len(directions)} objectives can't be pruned, Optuna prunes a single one; "
                "leave the pruner out"
            )
        self._space = list(space)
        self._directions = directions
        self._default_storage_url = default_storage_url
        self._default_sampler = default_sampler
        self._sampler, self._pruner = sampler, pruner
        self._seed = seed
        self._previous = previous
        self._storage = storage
        self._load_if_exists = load_if_exists
        self._allow_duplicates = allow_duplicates
        self._start_from = start_from
        self._tries: list[dict[str, Any]] = []
        self._sampler_state: SamplerState | None = None
        self._in_order = False
        """A grid's points are asked for one after the other."""
        self.stored: optuna.Study | None = None
        """The study in its own storage, once it is open."""

    @property
    def continues(self) -> bool:
        """Whether a study was named that is to be continued."""
        return self._previous is not None

    @property
    def name(self) -> str:
        """Name of the study that is to be continued; empty if there is none."""
        if self._previous is None:
            return ""
        return self._previous if isinstance(self._previous, str) else self._previous.study_name

    def try_first(self, parameters: Mapping[str, Any]) -> None:
        """A known configuration to try first: name → value."""
        self._tries.append(dict(parameters))

    def use(self, sampler: BaseSampler, pruner: BasePruner) -> None:
        """Search with these instead."""
        self._sampler, self._pruner = sampler, pruner

    def check(self) -> None:
        """Make sampler and pruner, so that mistakes show before anything starts. Raises `BadInput`."""
        self._make_sampler()
        self._make_pruner()

    # The study

    def storage_shown(self) -> str:
        """Where the trials are, without a password."""
        if self._previous is not None and not isinstance(self._previous, str):
            return type(storage_of(self._previous)).__name__
        if self._storage is None:
            return redact(self._default_storage_url)
        return redact(self._storage) if isinstance(self._storage, str) else type(self._storage).__name__

    def is_taken(self, name: str) -> bool:
        """Whether the storage has a study of that name."""
        with quietly():
            return name in optuna.get_all_study_names(self._open_storage())

    def open(self, name: str, observer: Observer) -> Search:
        """Make or continue the study `name`, and search it.

        Raises:
            BadInput: it has trials of another search space, or can't be continued.
        """
        with quietly():
            self.stored = study = self._open_study(name)
        refuse_other_trials(study, {p.name: p.distribution() for p in self._space})
        search = Search(
            cached(study),
            self._space,
            allow_duplicates=self._allow_duplicates,
            sampler_state=self._sampler_state,
        )
        search.settings = {
            "sampler": {"class": type(study.sampler).__name__},
            "pruner": {"class": type(study.pruner).__name__},
        }
        if self._start_from is not None:
            copied, left = search.start_from(self._older(study))
            observer.note(f"{copied} trial(s) of the older study are known, {left} don't fit")
        for known in self._tries:
            search.enqueue(known)
        return search

    def _open_study(self, name: str) -> optuna.Study:
        if isinstance(self._previous, optuna.Study):
            return self._continue(self._previous)
        storage = self._open_storage()
        known = set(optuna.get_all_study_names(storage))
        if isinstance(self._previous, str) and name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {near!r}?" if near else ""
            raise BadInput(f"continue_previous_study: no study {name!r} in {self.storage_shown()}{hint}")
        if not self._load_if_exists and name in known:
            raise BadInput(
                f"study_name: study {name!r} exists in {self.storage_shown()}; load_if_exists=True goes on "
                "with it"
            )
        study = open_study(storage, name, self._directions, self._make_sampler(), self._make_pruner())
        self._in_order = self._default_sampler == "grid" and _keeps_order(study)
        self._sampler_state = continued(study, self._make_sampler)
        study.sampler = self._sampler_state.sampler
        return study

    def _continue(self, study: optuna.Study) -> optuna.Study:
        """A study that the program has, with this strategy's sampler and pruner where it names them."""
        if list(study.directions) != self._directions:
            raise BadInput(
                f"continue_previous_study: study {study.study_name!r} optimizes in other directions"
            )
        if self._sampler is not None:
            study.sampler = self._make_sampler()
        study.pruner = self._make_pruner() if self._pruner is not None else make_pruner(None, {})
        return study

    def _older(self, study: optuna.Study) -> optuna.Study:
        older = self._start_from
        if isinstance(older, optuna.Study):
            return older
        found = find_study(storage_of(study), older or "")
        if found is None:
            raise BadInput(f"start_from: no study {older!r} in {self.storage_shown()}")
        return found

    def _open_storage(self) -> Any:
        if self._storage is None:
            return open_storage(self._default_storage_url)
        return open_storage(self._storage) if isinstance(self._storage, str) else self._storage

    # Sampler and pruner

    def _kind(self) -> str:
        return self._sampler if isinstance(self._sampler, str) else self._default_sampler

    def _make_sampler(self, trials: int = 0) -> BaseSampler:
        """The sampler for a study that has so many trials."""
        if isinstance(self._sampler, BaseSampler):
            if self._seed is not None:
                raise BadInput("seed: the sampler is given; seed it where it is made")
            return self._sampler
        kind = self._kind()
        sampler = make_sampler(kind, {}, seed_after(self._seed, trials, kind), self._space)
        if isinstance(sampler, GridSampler) and self._in_order:
            order_grid(sampler, [parameter.name for parameter in self._space])
        return sampler

    def _make_pruner(self) -> BasePruner:
        return self._pruner if isinstance(self._pruner, BasePruner) else make_pruner(self._pruner, {})


def _keeps_order(study: optuna.Study) -> bool:
    """Whether a grid is to be in order: one that an earlier version began is shuffled, and stays so."""
    if IN_ORDER not in study.user_attrs and not study.get_trials(deepcopy=False):
        study.set_user_attr(IN_ORDER, True)
    return IN_ORDER in study.user_attrs


def _is_none(pruner: Any) -> bool:
    return pruner is None or pruner in ("none", "nop") or isinstance(pruner, optuna.pruners.NopPruner)
