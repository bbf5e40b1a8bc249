"""A sweep file's sections as the objects that the loop works with."""

from __future__ import annotations

from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from controller.search.choices import Choices
from controller.search.objective import Objective
from controller.search.parameters import Parameter, SweepParameter
from controller.sweep import FloatParameter, IntParameter, Sweep
from worker.protocol import TaskSpec
from worker.protocol.metrics import split_key
from worker.protocol.urls import redact


def parameters_of(sweep: Sweep) -> list[Parameter]:
    """The sweep's parameters, in the file's order."""
    found: list[Parameter] = []
    for name, given in sweep.parameters.items():
        searched: FloatDistribution | IntDistribution | Choices
        if isinstance(given, FloatParameter):
            searched = FloatDistribution(given.low, given.high, log=given.log, step=given.step)
        elif isinstance(given, IntParameter):
            searched = IntDistribution(given.low, given.high, log=given.log, step=given.step)
        else:
            searched = Choices(name, given.choices)
        found.append(SweepParameter(name, searched, given.when))
    return found


def objective_of(sweep: Sweep) -> Objective:
    """The sweep's objectives."""
    titles, series = zip(*(split_key(metric.name) for metric in sweep.study.metrics), strict=True)
    signs = ["max" if metric.goal == "maximize" else "min" for metric in sweep.study.metrics]
    return Objective(list(titles), list(series), signs)


def constraints_of(sweep: Sweep) -> list[dict[str, Any]]:
    """The sweep's constraints, as `TaskSpec.constraints` holds them."""
    return [
        {"metric": given.name, **({"max": given.max} if given.max is not None else {"min": given.min})}
        for given in sweep.study.constraints
    ]


def _sampler_of_the_rest(sweep: Sweep) -> dict[str, Any]:
    """The sampler for parameters that the sweep file doesn't declare, as a worker makes it."""
    given = sweep.sampler.to_dict()
    seed = {} if sweep.sampler.seed is None else {"seed": sweep.sampler.seed}
    if sweep.sampler.type == "grid":
        return {"type": "random", **seed}  # a grid knows declared parameters only
    if sweep.sampler.type == "partial_fixed":
        return {"type": "tpe", **seed, **given.get("base", {})}
    return given


def task_spec(
    sweep: Sweep,
    parameters: list[Parameter],
    objective: Objective,
    *,
    artifacts_url: str,
    storage_url: str,
    grace_s: float,
) -> TaskSpec:
    """What all tasks of the study share; its parameters have no values yet, only names."""
    given = sweep.objective
    description: dict[str, Any]
    if given.kind == "function":
        description = {"kind": "function", "target": given.function}
    elif given.kind == "script":
        description = {"kind": "script", "path": given.script, "args": list(given.args)}
    elif given.kind == "command":
        description = {"kind": "command", "argv": list(given.command or ())}
    else:
        description = {
            "kind": "optuna",
            "target": given.optuna,
            "study": sweep.study.name,
            "storage": redact(storage_url),
            "sampler": _sampler_of_the_rest(sweep),
            "pruner": {} if sweep.pruner is None else sweep.pruner.to_dict(),
            "min_iterations": sweep.budget.min_iterations or 0,
        }
    if given.env:
        description["env"] = dict(given.env)
    if given.reuse:
        description["reuse"] = True
    if given.reuse_limit is not None:
        description["reuse_limit"] = given.reuse_limit
    return TaskSpec(
        objective=description,
        parameters={name: None for parameter in parameters for name in parameter.names},
        optional=tuple(name for parameter in parameters for name in parameter.optional),
        metrics=objective.metrics,
        queue=sweep.queue.name,
        artifacts=artifacts_url,
        time_limit_s=sweep.budget.time_per_trial_s,
        grace_s=grace_s,
        seed=sweep.sampler.seed,
    )
