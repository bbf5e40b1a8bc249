"""The head-node side of optuna-rq: asks Optuna, launches, watches budgets, prunes, ranks.

Names are imported when they are first used, so that a command that only asks Redis does not wait for
Optuna to be imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.version import __version__

if TYPE_CHECKING:
    from controller.api.bohb import OptimizerBOHB
    from controller.api.local_job import LocalJob
    from controller.api.local_job import LocalJob as LocalClearmlJob
    from controller.api.optimizer import HyperParameterOptimizer
    from controller.api.optuna_strategy import GridSearch, OptimizerOptuna, RandomSearch
    from controller.api.strategy import SearchStrategy
    from controller.loop.budget import Budget
    from controller.loop.job import Job
    from controller.loop.job import Job as ClearmlJob
    from controller.search.objective import MultiObjective, Objective
    from controller.search.parameters import (
        DiscreteParameterRange,
        LogUniformParameterRange,
        Parameter,
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
    "OptimizerBOHB": "api.bohb",
    "OptimizerOptuna": "api.optuna_strategy",
    "Parameter": "search.parameters",
    "ParameterSet": "search.parameters",
    "RandomSearch": "api.optuna_strategy",
    "SearchStrategy": "api.strategy",
    "UniformIntegerParameterRange": "search.parameters",
    "UniformParameterRange": "search.parameters",
}

_ALIASES = {"ClearmlJob": "Job", "LocalClearmlJob": "LocalJob"}
"""ClearML's names of what has another one here."""

_ELSEWHERE = {
    "AutoScaler": "workers --idle and deploy/ scale with the queue",
    "OptunaObjective": "OptimizerOptuna has none: override its create_job, monitor_job or process_step",
    "PipelineController": "pipelines are not part of optuna-rq; start its steps one after the other",
    "PipelineDecorator": "pipelines are not part of optuna-rq; start its steps one after the other",
    "RandomSeed": "give the optimizer a seed, as in OptimizerOptuna(..., seed=1)",
    "TaskScheduler": "cron or a systemd timer starts `controller start` or Task.enqueue at its time",
    "TriggerScheduler": "what brings the event can call Task.enqueue",
}
"""Names of ClearML's that are not there, and what to use."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _ELSEWHERE:
        raise ImportError(f"there is no {name} in {__name__}: {_ELSEWHERE[name]}")
    if name == "optuna":  # as in `from clearml.automation import optuna`
        return import_module(f"{__name__}.api.optuna_strategy")
    name = _ALIASES.get(name, name)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


__all__ = [
    "BoundedHistory",
    "Budget",
    "ClearmlJob",
    "DiscreteParameterRange",
    "GridSearch",
    "HyperParameterOptimizer",
    "Job",
    "LocalClearmlJob",
    "LocalJob",
    "LogUniformParameterRange",
    "MultiObjective",
    "Objective",
    "OptimizerBOHB",
    "OptimizerOptuna",
    "Parameter",
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
