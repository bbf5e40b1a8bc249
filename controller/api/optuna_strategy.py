"""The strategies whose parameters come from Optuna: `OptimizerOptuna`, `RandomSearch`, `GridSearch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from controller.api.arguments import names_of, rest
from controller.api.optuna_source import OptunaSource
from controller.api.strategy import SearchStrategy
from controller.search.objective import Objective
from controller.search.parameters import Parameter, rows_of
from controller.search.samplers import grid
from controller.search.search import Search
from controller.search.study import name_objectives
from controller.session.study_session import StudyDefinition
from worker.protocol.errors import BadInput

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

    DEFAULT_SAMPLER = "tpe"

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
            previous: a study to continue, itself or its name.
            storage: Optuna's storage, itself or its URL.
            load_if_exists: continue a study of that name; False refuses one.
            allow_duplicates: run the same parameters again when the sampler asks for them.
            start_from: a study whose trials the sampler starts with, itself or its name.
        """
        known = [*names_of(SearchStrategy.__init__), "seed", "start_from"]
        options = rest(options, known)
        super().__init__(base_task_id, hyper_parameters, objective_metric, *args, **options)
        self._source = OptunaSource(
            self._space(),
            objective_metric.directions,
            self.backend.storage_url,
            self.DEFAULT_SAMPLER,
            sampler=sampler,
            pruner=pruner,
            seed=seed,
            previous=previous,
            storage=storage,
            load_if_exists=load_if_exists,
            allow_duplicates=allow_duplicates,
            start_from=start_from,
        )
        if self._source.name:
            self._inside.state.study = self._source.name
        if self._inside.search is None:
            # Mistakes in names and options show before anything starts.
            self._source.check()

    def enqueue_trial(self, parameters: Mapping[str, Any]) -> None:
        """A known configuration to try first: name → value; the sampler chooses what is left out.

        Args:
            parameters: before `start`; afterwards it is too late.

        Raises:
            BadInput: a name or value that the search space doesn't have (said by `start`), or it runs.
        """
        if self._inside.search is not None:
            raise BadInput("enqueue_trial: the search has begun; call it before start()")
        self._source.try_first(parameters)

    @property
    def optuna_study(self) -> optuna.Study | None:
        """Optuna's study; None before `start`. To look at while the loop runs, which owns it."""
        if self._inside.state.closed and self._source.stored is not None:
            return self._source.stored
        return self._inside.search.study if self._inside.search else None

    def _definition(self) -> StudyDefinition:
        return replace(
            super()._definition(),
            storage=self._source.storage_shown(),
            is_taken=self._source.is_taken,
            continues=self._source.continues,
        )

    def _open_search(self) -> Search:
        search = self._source.open(self._inside.state.study, self.observer)
        if self._source.stored is not None:
            name_objectives(self._source.stored, [metric.key for metric in self._objective_metric.metrics])
        return search

    def _space(self) -> list[Parameter]:
        return self._hyper_parameters


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
        options = rest(optuna_kwargs, _known(), prefix="optuna_kwargs: ")
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

    DEFAULT_SAMPLER = "random"


class GridSearch(OptunaStrategy):
    """All combinations of the parameters' values, each once; arguments as `SearchStrategy`'s.

    In ClearML's order: the first parameter's values change last. A `ParameterSet` counts with each of its
    combinations, a range without steps with 100 of them.
    """

    DEFAULT_SAMPLER = "grid"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        size = 1
        for values in grid(self._space()).values():
            size *= len(values)
        limit = self.budget.jobs.limit
        self.budget.jobs.limit = size if limit is None else min(size, limit)

    def _space(self) -> list[Parameter]:
        return rows_of(self._hyper_parameters)


def _known() -> list[str]:
    """Arguments of Optuna's optimizer, those first that ClearML has beside the strategies'."""
    every = [
        *_KNOWN,
        *names_of(OptimizerOptuna.__init__),
        *names_of(SearchStrategy.__init__),
        *names_of(OptunaStrategy.__init__),
    ]
    return list(dict.fromkeys(every))
