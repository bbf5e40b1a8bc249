"""`OptimizerBOHB`: Hyperband with a model, by Optuna's means."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from controller.api.optuna_strategy import OptunaStrategy
from controller.search.objective import Objective
from controller.search.parameters import Parameter
from controller.search.samplers import make_pruner, make_sampler
from worker.protocol.errors import BadInput

log = logging.getLogger(__name__)

_OPTIONS = (
    "eta",
    "min_budget",
    "max_budget",
    "min_points_in_model",
    "num_samples",
    "top_n_percent",
    "random_fraction",
    "bandwidth_factor",
    "min_bandwidth",
)
_OF_THE_DENSITIES = ("top_n_percent", "random_fraction", "bandwidth_factor", "min_bandwidth")


class OptimizerBOHB(OptunaStrategy):
    """BOHB's idea: Hyperband stops jobs early, a model of densities suggests parameters. ClearML's class.

    Optuna's Hyperband pruner decides between `min_iteration_per_job` and `max_iteration_per_job`
    iterations, its multivariate TPE sampler suggests. Jobs are not begun again with a larger budget: one
    that is good goes on.

    Args:
        min_iteration_per_job, max_iteration_per_job, total_max_jobs: needed; else as `OptimizerOptuna`'s.
        local_port: ClearML's, without effect.
        seed: of the sampler.
        options: as `set_optimization_args`; else the keyword arguments of `OptunaStrategy`.

    Raises:
        BadInput: the budget lacks one of the three; and as `OptimizerOptuna`.
    """

    def __init__(
        self,
        base_task_id: str,
        hyper_parameters: Sequence[Parameter],
        objective_metric: Objective,
        execution_queue: str = "default",
        num_concurrent_workers: int | None = None,
        min_iteration_per_job: int | None = None,
        max_iteration_per_job: int | None = None,
        total_max_jobs: int | None = None,
        pool_period_min: float = 2.0,
        time_limit_per_job: float | None = None,
        compute_time_limit: float | None = None,
        local_port: int = 9090,
        *,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        budget = {
            "min_iteration_per_job": min_iteration_per_job,
            "max_iteration_per_job": max_iteration_per_job,
            "total_max_jobs": total_max_jobs,
        }
        missing = [name for name, value in budget.items() if not value]
        if missing:
            raise BadInput(f"OptimizerBOHB needs {', '.join(missing)}: Hyperband divides that budget")
        given = {name: options.pop(name) for name in _OPTIONS if name in options}
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
            pruner="hyperband",
            **options,
        )
        self._seed = seed
        self.set_optimization_args(**given)

    def set_optimization_args(
        self,
        eta: float = 3,
        min_budget: float | None = None,
        max_budget: float | None = None,
        min_points_in_model: int | None = None,
        num_samples: int | None = None,
        **others: Any,
    ) -> None:
        """Set what BOHB's constructor takes. Call it before `start`.

        Args:
            eta: one of so many jobs goes on from rung to rung; a whole number from 2.
            min_budget, max_budget: shares of `max_iteration_per_job`, by default the two limits.
            min_points_in_model: jobs before the model suggests; 10 by default.
            num_samples: points that the model compares for each suggestion; 24 by default.
            others: ``top_n_percent``, ``random_fraction``, ``bandwidth_factor`` and ``min_bandwidth`` have
                no effect: TPE has its own densities.

        Raises:
            BadInput: a value is not possible, or there is no such argument.
        """
        if self._inside.begun:
            raise BadInput("set_optimization_args: the search has begun; call it before start()")
        for name in others:
            if name not in _OF_THE_DENSITIES:
                raise BadInput(f"OptimizerBOHB: unknown argument {name!r}; there are {', '.join(_OPTIONS)}")
            log.warning("OptimizerBOHB: %s has no effect, Optuna's TPE has its own densities", name)
        most, least = self.max_iteration_per_job or 1, self.min_iteration_per_job or 1
        low = least / most if min_budget is None else min_budget
        high = 1.0 if max_budget is None else max_budget
        _refuse_impossible(eta, low, high)
        conditional = any(parameter.conditional for parameter in self._hyper_parameters)
        model: dict[str, Any] = {"multivariate": True, "group": conditional}
        if min_points_in_model is not None:
            model["n_startup_trials"] = min_points_in_model
        if num_samples is not None:
            model["n_ei_candidates"] = num_samples
        sampler: BaseSampler = make_sampler("tpe", model, self._seed, self._hyper_parameters)
        rungs = {
            "min_resource": max(1, round(low * most)),
            "max_resource": max(1, round(high * most)),
            "reduction_factor": round(eta),
        }
        pruner: BasePruner = make_pruner("hyperband", rungs)
        self._source.use(sampler, pruner)


def _refuse_impossible(eta: Any, low: Any, high: Any) -> None:
    problems = []
    if not _is_number(eta) or eta != round(eta) or eta < 2:
        problems.append(f"OptimizerBOHB: eta {eta!r:.80} must be a whole number from 2")
    if not (_is_number(low) and _is_number(high) and 0 < low <= high <= 1):
        problems.append(
            f"OptimizerBOHB: min_budget {low!r:.80} and max_budget {high!r:.80} must be shares of 1, the "
            "lower one first"
        )
    if problems:
        raise BadInput(*problems)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
