"""The head-node side of optuna-rq: asks Optuna, launches, watches budgets, prunes, ranks.

Names are imported when they are first used, so that a command that only asks Redis does not wait for
Optuna to be imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.version import __version__

if TYPE_CHECKING:
    from controller.api.local_job import LocalJob
    from controller.api.optimizer import HyperParameterOptimizer
    from controller.api.optuna_strategy import GridSearch, OptimizerOptuna, RandomSearch
    from controller.api.strategy import SearchStrategy
    from controller.loop.budget import Budget
    from controller.loop.job import Job
    from controller.search.objective import MultiObjective, Objective
    from controller.search.parameters import (
        DiscreteParameterRange,
        LogUniformParameterRange,
        ParameterSet,
        UniformIntegerParameterRange,
        UniformParameterRange,
    )
    from controller.search.samplers import BoundedHistory
    from controller.studies.resuming import StudyArgs, create_or_load_study, create_study_starting_from_trial
    from controller.studies.sampler_checkpoints import checkpoint_sampler, restore_sampler

_HOMES = {
    "BoundedHistory": "search.samplers",
    "Budget": "loop.budget",
    "StudyArgs": "studies.resuming",
    "checkpoint_sampler": "studies.sampler_checkpoints",
    "create_or_load_study": "studies.resuming",
    "create_study_starting_from_trial": "studies.resuming",
    "restore_sampler": "studies.sampler_checkpoints",
    "DiscreteParameterRange": "search.parameters",
    "GridSearch": "api.optuna_strategy",
    "HyperParameterOptimizer": "api.optimizer",
    "Job": "loop.job",
    "LocalJob": "api.local_job",
    "LogUniformParameterRange": "search.parameters",
    "MultiObjective": "search.objective",
    "Objective": "search.objective",
    "OptimizerOptuna": "api.optuna_strategy",
    "ParameterSet": "search.parameters",
    "RandomSearch": "api.optuna_strategy",
    "SearchStrategy": "api.strategy",
    "UniformIntegerParameterRange": "search.parameters",
    "UniformParameterRange": "search.parameters",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


__all__ = [
    "BoundedHistory",
    "Budget",
    "DiscreteParameterRange",
    "GridSearch",
    "HyperParameterOptimizer",
    "Job",
    "LocalJob",
    "LogUniformParameterRange",
    "MultiObjective",
    "Objective",
    "OptimizerOptuna",
    "ParameterSet",
    "RandomSearch",
    "SearchStrategy",
    "StudyArgs",
    "UniformIntegerParameterRange",
    "UniformParameterRange",
    "__version__",
    "checkpoint_sampler",
    "create_or_load_study",
    "create_study_starting_from_trial",
    "restore_sampler",
]
