"""The strategies whose parameters come from Optuna: `OptimizerOptuna`, `RandomSearch`, `GridSearch`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from controller.api.strategy import SearchStrategy
from controller.search.objective import Objective
from controller.search.parameters import Parameter, rows_of
from controller.search.samplers import grid, made_for_each, make_pruner, make_sampler, seed_after
from controller.search.search import Search
from controller.search.study import open_study, refuse_other_trials
from controller.search.trial_cache import cached
from worker.protocol.errors import BadInput
from worker.protocol.urls import redact
from worker.trials.storage import open_storage, quietly

_KNOWN = (
    "optuna_sampler",
    "optuna_pruner",
    "sampler",
    "pruner",
    "continue_previous_study",
    "study_name",
    "storage",
    "load_if_exists",
    "seed",
)


class OptunaStrategy(SearchStrategy):
    """A strategy over an Optuna study. Base class of the three below."""

    def __init__(
        self,
        base_task_id: str,
        hyper_parameters: Sequence[Parameter],
        objective_metric: Objective,
        *args: Any,
        sampler: BaseSampler | str | None = None,
        pruner: BasePruner | str | None = None,
        seed: int | None = None,
        previous: optuna.Study | str | None = None,
        storage: Any = None,
        load_if_exists: bool = True,
        allow_duplicates: bool = False,
        start_from: optuna.Study | str | None = None,
        **options: Any,
    ) -> None:
        """
        Args:
            sampler, pruner: objects of Optuna's, or their names as in a sweep file.
            previous: a study to go on with, itself or its name.
            storage: Optuna's storage, itself or its URL.
            load_if_exists: go on with a study of that name; False refuses one.
            allow_duplicates: run the same parameters again when the sampler asks for them.
            start_from: a study whose trials the sampler starts with, itself or its name.
        """
        known = [*inspect.signature(SearchStrategy.__init__).parameters, "seed", "start_from"]
        problems = [_unknown(name, known) for name in options if name not in known]
        if problems:
            raise BadInput(*problems)
        super().__init__(base_task_id, hyper_parameters, objective_metric, *args, **options)
        for name, given, kind in (("sampler", sampler, BaseSampler), ("pruner", pruner, BasePruner)):
            if given is not None and not isinstance(given, (str, kind)):
                raise BadInput(f"optuna_{name}: an object of Optuna's {name}s or a name, not {given!r:.80}")
        self._sampler, self._pruner = sampler, pruner
        self._seed = seed
        self._previous = previous
        self._storage = storage
        self._load_if_exists = load_if_exists
        self._allow_duplicates = allow_duplicates
        self._start_from = start_from
        self._tries: list[dict[str, Any]] = []
        self._stored: optuna.Study | None = None
        """The study in its own storage."""
        self._continues = previous is not None
        if previous is not None:
            self._study = previous if isinstance(previous, str) else previous.study_name
        if len(objective_metric.metrics) > 1 and not _is_none(pruner):
            raise BadInput(
                f"optuna_pruner: {len(objective_metric.metrics)} objectives can't be pruned, Optuna prunes a "
                "single one; leave the pruner out"
            )
        if self._search is None:
            # Mistakes in names and options show before anything starts.
            self._make_sampler()
            self._make_pruner()

    def enqueue_trial(self, parameters: Mapping[str, Any]) -> None:
        """A known configuration to try first: name → value; the sampler chooses what is left out.

        Args:
            parameters: before `start`; afterwards it is too late.

        Raises:
            BadInput: a name or value that the search space doesn't have (said by `start`), or it runs.
        """
        if self._search is not None:
            raise BadInput("enqueue_trial: the search has begun; call it before start()")
        self._tries.append(dict(parameters))

    @property
    def optuna_study(self) -> optuna.Study | None:
        """Optuna's study; None before `start`. To look at while the loop runs, which owns it."""
        if self._closed and self._stored is not None:
            return self._stored
        return self._search.study if self._search else None

    # Made at start

    def _space(self) -> list[Parameter]:
        return self._hyper_parameters

    def _kind(self) -> str:
        return self._sampler if isinstance(self._sampler, str) else "tpe"

    def _make_sampler(self, trials: int = 0) -> BaseSampler:
        """The sampler for a study that has so many trials."""
        if isinstance(self._sampler, BaseSampler):
            if self._seed is not None:
                raise BadInput("seed: the sampler is given; seed it where it is made")
            return self._sampler
        kind = self._kind()
        return make_sampler(kind, {}, seed_after(self._seed, trials, kind), self._space())

    def _sampler_for(self) -> Callable[[int], BaseSampler] | None:
        """The sampler of each suggestion, where a seed is given that can be kept so."""
        if isinstance(self._sampler, BaseSampler) or self._seed is None:
            return None
        return self._make_sampler if made_for_each(self._kind(), {}) else None

    def _make_pruner(self) -> BasePruner:
        return self._pruner if isinstance(self._pruner, BasePruner) else make_pruner(self._pruner, {})

    def _open_storage(self) -> Any:
        if self._storage is None:
            return open_storage(self._backend.storage_url)
        return open_storage(self._storage) if isinstance(self._storage, str) else self._storage

    def _storage_shown(self) -> str:
        if self._previous is not None and not isinstance(self._previous, str):
            return type(self._previous._storage).__name__
        if self._storage is None:
            return redact(self._backend.storage_url)
        return redact(self._storage) if isinstance(self._storage, str) else type(self._storage).__name__

    def _is_taken(self, name: str) -> bool:
        with quietly():
            return name in optuna.get_all_study_names(self._open_storage())

    def _open_search(self, name: str) -> Search:
        with quietly():
            self._stored = study = self._open_study(name)
        space = self._space()
        refuse_other_trials(study, {p.name: p.distribution() for p in space})
        search = Search(
            cached(study),
            space,
            allow_duplicates=self._allow_duplicates,
            sampler_for=self._sampler_for(),
        )
        if self._start_from is not None:
            copied, left = search.start_from(self._older(study))
            self._observer.note(f"{copied} trial(s) of the older study are known, {left} don't fit")
        for known in self._tries:
            search.enqueue(known)
        return search

    def _open_study(self, name: str) -> optuna.Study:
        directions = self._objective_metric.directions
        sampler, pruner = self._make_sampler(), self._make_pruner()
        if isinstance(self._previous, optuna.Study):
            study = self._previous
            if list(study.directions) != directions:
                raise BadInput(
                    f"continue_previous_study: study {study.study_name!r} optimizes in other directions"
                )
            if self._sampler is not None:
                study.sampler = sampler
            study.pruner = pruner if self._pruner is not None else make_pruner(None, {})
            return study
        storage = self._open_storage()
        known = set(optuna.get_all_study_names(storage))
        if isinstance(self._previous, str) and name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"continue_previous_study: no study {name!r} in {self._storage_shown()}{hint}")
        if not self._load_if_exists and name in known:
            raise BadInput(
                f"study_name: study {name!r} exists in {self._storage_shown()}; load_if_exists=True goes on "
                "with it"
            )
        study = open_study(storage, name, directions, sampler, pruner)
        study.sampler = self._make_sampler(len(study.get_trials(deepcopy=False)))
        return study

    def _older(self, study: optuna.Study) -> optuna.Study:
        older = self._start_from
        if isinstance(older, optuna.Study):
            return older
        try:
            return optuna.load_study(study_name=older, storage=study._storage)
        except KeyError as error:
            raise BadInput(f"start_from: no study {older!r} in {self._storage_shown()}") from error


class OptimizerOptuna(OptunaStrategy):
    """Search with Optuna's samplers and pruners. ClearML's class of that name.

    Args:
        base_task_id: task that jobs are made from.
        hyper_parameters: parameters to search.
        objective_metric: what to optimize.
        execution_queue: queue to launch jobs on.
        num_concurrent_workers: jobs at a time.
        max_iteration_per_job: iterations of the objective metric per job.
        total_max_jobs: jobs in all; times `max_iteration_per_job` it is the iteration budget.
        pool_period_min: minutes between two polls.
        min_iteration_per_job: iterations before a job may be stopped early.
        time_limit_per_job: minutes that a job may run.
        compute_time_limit: minutes that all jobs together may compute.
        optuna_kwargs: for Optuna: ``optuna_sampler`` and ``optuna_pruner`` (objects, or names as in a sweep
            file; TPE and none by default), ``seed`` for a sampler named so, ``study_name``, ``storage`` and
            ``load_if_exists``, ``continue_previous_study`` (a study or its name: its trials are kept, and
            this optimizer's budget counts from here). Besides, the keyword arguments of `SearchStrategy`,
            ``allow_duplicates`` and ``start_from``.

    Raises:
        BadInput: an argument that isn't known, with the nearest name; and as `SearchStrategy`.
    """

    def __init__(
        self,
        base_task_id: str,
        hyper_parameters: Sequence[Parameter],
        objective_metric: Objective,
        execution_queue: str = "default",
        num_concurrent_workers: int | None = None,
        max_iteration_per_job: int | None = None,
        total_max_jobs: int | None = None,
        pool_period_min: float = 2.0,
        min_iteration_per_job: int | None = None,
        time_limit_per_job: float | None = None,
        compute_time_limit: float | None = None,
        **optuna_kwargs: Any,
    ) -> None:
        options = dict(optuna_kwargs)
        _refuse_unknown(options)
        if "study_name" in options:
            options["study"] = options.pop("study_name")
        if "continue_previous_study" in options:
            options["previous"] = options.pop("continue_previous_study")
        for name in ("sampler", "pruner"):
            given = options.pop(f"optuna_{name}", None)
            if given is not None:
                options[name] = given
        super().__init__(
            base_task_id,
            hyper_parameters,
            objective_metric,
            execution_queue,
            num_concurrent_workers,
            pool_period_min=pool_period_min,
            time_limit_per_job=time_limit_per_job,
            compute_time_limit=compute_time_limit,
            min_iteration_per_job=min_iteration_per_job,
            max_iteration_per_job=max_iteration_per_job,
            total_max_jobs=total_max_jobs,
            **options,
        )


class RandomSearch(OptunaStrategy):
    """Parameters drawn at random, each set once; arguments as `SearchStrategy`'s, and `seed`."""

    def _kind(self) -> str:
        return "random"


class GridSearch(OptunaStrategy):
    """All combinations of the parameters' values, each once; arguments as `SearchStrategy`'s.

    Ranges need a step; a `ParameterSet` counts with each of its combinations.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        size = 1
        for values in grid(self._space()).values():
            size *= len(values)
        limit = self.budget.jobs.limit
        self.budget.jobs.limit = size if limit is None else min(size, limit)

    def _space(self) -> list[Parameter]:
        return rows_of(self._hyper_parameters)

    def _kind(self) -> str:
        return "grid"


def _is_none(pruner: Any) -> bool:
    return pruner is None or pruner in ("none", "nop") or isinstance(pruner, optuna.pruners.NopPruner)


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    """Arguments that neither Optuna nor the strategy has. Raises `BadInput`."""
    ours = [
        name
        for cls in (SearchStrategy, OptunaStrategy)
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    known = [*_KNOWN, *(name for name in ours if name not in _KNOWN)]
    problems = [_unknown(name, known) for name in options if name not in known]
    if problems:
        raise BadInput(*(f"optuna_kwargs: {problem}" for problem in problems))


def _unknown(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"unknown argument {name!r}; {hint}"
