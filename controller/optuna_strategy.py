"""`OptimizerOptuna`: the search strategy whose parameters come from Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.backend import Backend
from controller.objective import Objective
from controller.observer import Observer
from controller.parameters import Parameter
from controller.search import Search
from controller.strategy import SearchStrategy


class OptimizerOptuna(SearchStrategy):
    """Search with Optuna's samplers and pruners.

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
        optuna_kwargs: further arguments, see `SearchStrategy`.
    """

    def __init__(
        self,
        base_task_id: str,
        hyper_parameters: Sequence[Parameter],
        objective_metric: Objective,
        execution_queue: str,
        num_concurrent_workers: int | None,
        max_iteration_per_job: int | None,
        total_max_jobs: int | None,
        pool_period_min: float = 2.0,
        min_iteration_per_job: int | None = None,
        time_limit_per_job: float | None = None,
        compute_time_limit: float | None = None,
        *,
        backend: Backend,
        study: str,
        search: Search,
        observer: Observer | None = None,
        **optuna_kwargs: Any,
    ) -> None:
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
            backend=backend,
            study=study,
            search=search,
            observer=observer,
            **optuna_kwargs,
        )
