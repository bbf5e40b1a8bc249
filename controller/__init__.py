"""The head-node side of optuna-rq: asks Optuna, launches, watches budgets, prunes, ranks.

Names are imported when they are first used, so that a command that only asks Redis does not wait for
Optuna to be imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.version import __version__

if TYPE_CHECKING:
    from controller.budget import Budget
    from controller.job import Job, LocalJob
    from controller.objective import MultiObjective, Objective
    from controller.optimizer import HyperParameterOptimizer
    from controller.optuna_strategy import GridSearch, OptimizerOptuna, RandomSearch
    from controller.parameters import (
        DiscreteParameterRange,
        LogUniformParameterRange,
        ParameterSet,
        UniformIntegerParameterRange,
        UniformParameterRange,
    )
    from controller.resuming import StudyArgs, create_or_load_study, create_study_starting_from_trial
    from controller.sampler_checkpoints import checkpoint_sampler, restore_sampler
    from controller.samplers import BoundedHistory
    from controller.strategy import SearchStrategy

_HOMES = {
    "BoundedHistory": "samplers",
    "Budget": "budget",
    "StudyArgs": "resuming",
    "checkpoint_sampler": "sampler_checkpoints",
    "create_or_load_study": "resuming",
    "create_study_starting_from_trial": "resuming",
    "restore_sampler": "sampler_checkpoints",
    "DiscreteParameterRange": "parameters",
    "GridSearch": "optuna_strategy",
    "HyperParameterOptimizer": "optimizer",
    "Job": "job",
    "LocalJob": "job",
    "LogUniformParameterRange": "parameters",
    "MultiObjective": "objective",
    "Objective": "objective",
    "OptimizerOptuna": "optuna_strategy",
    "ParameterSet": "parameters",
    "RandomSearch": "optuna_strategy",
    "SearchStrategy": "strategy",
    "UniformIntegerParameterRange": "parameters",
    "UniformParameterRange": "parameters",
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
