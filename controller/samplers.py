"""Optuna's samplers and pruners by name, with their options checked before anything starts."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from controller.parameters import Parameter
from worker.protocol.errors import BadInput

_SAMPLERS = {
    "random": "RandomSampler",
    "tpe": "TPESampler",
    "grid": "GridSampler",
    "qmc": "QMCSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "brute_force": "BruteForceSampler",
}
_PRUNERS = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "asha": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "threshold": "ThresholdPruner",
    "wilcoxon": "WilcoxonPruner",
    "nop": "NopPruner",
}
_ALIASES = {
    "successive_halving": "asha",
    "none": "nop",
    "nsga_ii": "nsgaii",
    "nsga_iii": "nsgaiii",
    "cma_es": "cmaes",
}

_IGNORE_HISTORY = ("RandomSampler", "GridSampler", "QMCSampler", "BruteForceSampler")


def make_sampler(
    name: str,
    options: Mapping[str, Any],
    seed: int | None,
    parameters: Sequence[Parameter],
    constraints: Callable[[optuna.trial.FrozenTrial], Sequence[float]] | None = None,
) -> optuna.samplers.BaseSampler:
    """The sampler of a sweep file's ``[sampler]``.

    Raises:
        BadInput: an option that it doesn't have, or a value that it refuses.
    """
    kind = _known(name, _SAMPLERS, "sampler.type")
    arguments = dict(options)
    cls = getattr(optuna.samplers, _SAMPLERS[kind])
    if kind == "grid":
        arguments["search_space"] = grid(parameters)
    elif kind == "qmc":
        # A sequence of our own, scrambled by the seed; its warnings about independent sampling are moot.
        arguments.setdefault("warn_independent_sampling", False)
    if seed is not None:
        arguments.setdefault("seed", seed)
    if constraints is not None:
        arguments["constraints_func"] = constraints
    sampler = _build(cls, arguments, "sampler")
    assert isinstance(sampler, optuna.samplers.BaseSampler)
    return sampler


def make_pruner(name: str | None, options: Mapping[str, Any]) -> optuna.pruners.BasePruner:
    """The pruner of a sweep file's ``[pruner]``; none asked for means none. Raises `BadInput`."""
    if name is None:
        return optuna.pruners.NopPruner()
    kind = _known(name, _PRUNERS, "pruner.type")
    pruner = _build(getattr(optuna.pruners, _PRUNERS[kind]), dict(options), "pruner")
    assert isinstance(pruner, optuna.pruners.BasePruner)
    return pruner


def grid(parameters: Sequence[Parameter]) -> dict[str, list[Any]]:
    """Name → all its values. Raises `BadInput` for a continuous range or a condition."""
    problems, space = [], {}
    for parameter in parameters:
        if parameter.conditional:
            problems.append(
                f"parameters.{parameter.name}: the grid sampler knows no conditions; use brute_force"
            )
            continue
        try:
            space[parameter.name] = [next(iter(row.values())) for row in parameter.to_list()]
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(*problems)
    return space


def ignores_history(sampler: optuna.samplers.BaseSampler) -> bool:
    """True when what the sampler suggests doesn't depend on results, so that it can be asked ahead."""
    return type(sampler).__name__ in _IGNORE_HISTORY


def _known(name: str, table: Mapping[str, str], where: str) -> str:
    wanted = name.lower().replace("-", "_")
    wanted = _ALIASES.get(wanted, wanted)
    if wanted not in table:
        near = difflib.get_close_matches(wanted, table, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(table)}"
        raise BadInput(f"{where}: unknown {where.split('.')[0]} {name!r}{hint}")
    return wanted


def _build(cls: Any, arguments: dict[str, Any], where: str) -> Any:
    known = [name for name in inspect.signature(cls).parameters if name not in ("search_space",)]
    problems = []
    for name in arguments:
        if name not in known and name != "search_space":
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; {cls.__name__} has {', '.join(known)}"
            problems.append(f"{where}.{name}: unknown option{hint}")
    if problems:
        raise BadInput(*problems)
    try:
        return cls(**arguments)
    except ImportError as error:
        raise BadInput(f"{where}: {cls.__name__} needs a package that isn't installed: {error}") from error
    except (TypeError, ValueError) as error:
        raise BadInput(f"{where}: {cls.__name__}: {error}") from error
