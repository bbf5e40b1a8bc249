"""The head-node side of optuna-rq: asks Optuna, launches, watches budgets, prunes, ranks."""

from controller.budget import Budget
from controller.job import Job, LocalJob
from controller.objective import MultiObjective, Objective
from controller.optuna_strategy import OptimizerOptuna
from controller.parameters import (
    DiscreteParameterRange,
    LogUniformParameterRange,
    ParameterSet,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from controller.strategy import SearchStrategy
from worker.version import __version__

__all__ = [
    "Budget",
    "DiscreteParameterRange",
    "Job",
    "LocalJob",
    "LogUniformParameterRange",
    "MultiObjective",
    "Objective",
    "OptimizerOptuna",
    "ParameterSet",
    "SearchStrategy",
    "UniformIntegerParameterRange",
    "UniformParameterRange",
    "__version__",
]
