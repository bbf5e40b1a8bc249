"""The arguments that ClearML's optimizers take: zero for "no limit", and those that have no effect there."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

from controller.loop.budget import Budget
from controller.loop.state import refuse_contradictions
from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest

log = logging.getLogger(__name__)

WITHOUT_EFFECT = {
    "base_task_kwargs": "set them on a clone of the base task: Task.clone, then set_parameters",
    "clone_base_task_name_suffix": "set_job_naming_scheme names the jobs",
    "direction": "objective_metric_sign says it",
    "directions": "objective_metric_sign says it",
    "job_complete_callback": "start(job_complete_callback=...) takes it",
    "local_port": "nothing listens on a port here",
    "max_iteration": "max_iteration_per_job limits a job",
    "min_iteration": "min_iteration_per_job keeps a job from being pruned early",
    "n_jobs": "max_number_of_concurrent_tasks (num_concurrent_workers of a strategy) limits jobs at a time",
    "n_trials": "total_max_jobs limits the jobs",
    "objective_metric_goal": "objective_metric_sign says it",
    "optimizer_kwargs": "give what is in it as arguments of their own",
    "optuna_kwargs": "give what is in it as arguments of their own",
    "parameter_override": "give a DiscreteParameterRange with one value for each",
    "project_name": "spawn_project of HyperParameterOptimizer names the jobs' project",
    "task_name": "set_job_naming_scheme names the jobs",
    "timeout": "optimization_time_limit (wall_clock_limit of a strategy) limits the whole",
}
"""Arguments of real scripts that ClearML takes and ignores, and what to use."""


_ZERO_IS_NONE = ("time_limit_per_job", "compute_time_limit", "max_iteration_per_job", "total_max_jobs")


def rest(given: Mapping[str, Any], known: Iterable[str], *, prefix: str = "") -> dict[str, Any]:
    """`given` without what has no effect, a warning for each of those.

    Args:
        given: keyword arguments, by name.
        known: names that are possible.
        prefix: of each message.

    Raises:
        BadInput: a name that is not known, with the nearest one.
    """
    names = list(known)
    found, problems = {}, []
    for name, value in given.items():
        if name in names:
            found[name] = value
        elif name in WITHOUT_EFFECT:
            log.warning("%s=%.80r has no effect, as in ClearML; %s", name, value, WITHOUT_EFFECT[name])
        else:
            near = nearest(name, names)
            hint = f"did you mean {near!r}?" if near else f"there are {', '.join(names)}"
            problems.append(f"{prefix}unknown argument {name!r}; {hint}")
    if problems:
        raise BadInput(*problems)
    return found


def names_of(function: Callable[..., object]) -> list[str]:
    """The arguments that `function` has by name."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    given = inspect.signature(function).parameters.items()
    return [name for name, parameter in given if parameter.kind in kinds and name != "self"]


def no_limit(value: Any) -> Any:
    """A limit as ClearML takes it: 0 is none, and so is infinity."""
    if value is None or isinstance(value, str):
        return value
    return None if value in (0, math.inf) else value


def checked_minutes(name: str, value: Any) -> float | None:
    """A time limit in minutes; None for none. Raises `BadInput` for one that is no number above 0."""
    limit = no_limit(value)
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, Real):
        raise BadInput(f"{name} {value!r:.80} must be a number of minutes")
    if not float(limit) > 0:
        raise BadInput(f"{name} {value} must be above 0; None or 0 for no limit")
    return float(limit)


def checked_limits(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a strategy, with None for each limit that is none.

    Raises:
        BadInput: a line for each limit that is not possible, or contradicts another.
    """
    given = {**arguments, **{name: no_limit(arguments[name]) for name in _ZERO_IS_NONE}}
    if given["pool_period_min"] is None:
        raise BadInput("pool_period_min None must be a number")
    refuse_contradictions(given, given["min_iteration_per_job"])
    return given


def budget_of(given: Mapping[str, Any]) -> Budget:
    """The budget that a strategy's arguments describe."""
    return Budget(
        given["total_max_jobs"],
        None,
        given["compute_time_limit"],
        max_iteration_per_job=given["max_iteration_per_job"],
        wall_clock_limit=given["wall_clock_limit"],
        max_concurrent=given["num_concurrent_workers"],
        max_failures=given["max_failures"],
        time_limit_per_job=given["time_limit_per_job"] or None,
        min_iteration_per_job=given["min_iteration_per_job"] or None,
    )
