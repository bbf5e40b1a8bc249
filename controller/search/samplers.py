"""Optuna's samplers for a search space that is known, and what is known of samplers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, IntDistribution

from controller.search.parameters import Parameter, ParameterRows
from worker.optuna_internals import base_sampler
from worker.protocol.errors import BadInput
from worker.trials.history import BoundedHistory
from worker.trials.samplers import build_sampler, known_sampler, make_pruner
from worker.trials.storage import quietly

__all__ = ["BoundedHistory", "grid", "ignores_history", "make_pruner", "make_sampler", "seed_after"]

MOST_POINTS = 1_000_000
"""Points of a grid, and values of one range that a sampler lists."""
_FEWER = f"at most {MOST_POINTS}: give a larger step, or take another sampler"

_IGNORE_HISTORY = ("RandomSampler", "GridSampler", "QMCSampler")


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
    kind = known_sampler(name)
    if kind == "partial_fixed":
        return _partial_fixed(options, seed, parameters, constraints)
    if kind == "brute_force":
        _refuse_endless(kind, parameters)
    more: dict[str, Any] = {}
    if kind == "grid":
        more["search_space"] = grid(parameters)
    if constraints is not None:
        more["constraints_func"] = constraints
    return build_sampler(kind, options, seed, **more)


def _partial_fixed(
    options: Mapping[str, Any],
    seed: int | None,
    parameters: Sequence[Parameter],
    constraints: Callable[[optuna.trial.FrozenTrial], Sequence[float]] | None,
) -> optuna.samplers.BaseSampler:
    """``fixed``: name → value of parameters that stay; ``base``: the sampler of the others."""
    problems = [
        f"sampler.{name}: unknown option; partial_fixed has fixed, base"
        for name in options
        if name not in ("fixed", "base")
    ]
    fixed, base = options.get("fixed"), options.get("base", {})
    if not isinstance(fixed, Mapping) or not fixed:
        problems.append("sampler.fixed: missing; give the parameters that stay, such as { lr = 0.1 }")
    if not isinstance(base, Mapping):
        problems.append('sampler.base: must be a table, such as { type = "tpe" }')
    if problems:
        raise BadInput(*problems)
    assert isinstance(fixed, Mapping)
    assert isinstance(base, Mapping)
    kept = {name: value for parameter in parameters for name, value in parameter.encode(fixed).items()}
    for name in fixed:
        if name not in {known for parameter in parameters for known in parameter.names}:
            raise BadInput(f"sampler.fixed: there is no parameter {name!r}")
    inner = make_sampler(
        str(base.get("type", "tpe")),
        {name: value for name, value in base.items() if name != "type"},
        seed,
        [parameter for parameter in parameters if parameter.name not in kept],
        constraints,
    )
    with quietly():
        return optuna.samplers.PartialFixedSampler(kept, inner)


def grid(parameters: Sequence[Parameter]) -> dict[str, list[Any]]:
    """Name → all its values.

    Raises:
        BadInput: a range of a sweep file is continuous, there is a condition, or the grid is too large.
    """
    _refuse_endless("grid", [each for each in parameters if not each.conditional])
    problems: list[str] = []
    space: dict[str, list[Any]] = {}
    for parameter in parameters:
        if parameter.conditional and not isinstance(parameter, ParameterRows):
            problems.append(
                f"parameters.{parameter.name}: the grid sampler knows no conditions; use brute_force"
            )
            continue
        try:
            distribution = parameter.distribution()
            if isinstance(distribution, optuna.distributions.CategoricalDistribution):
                space[parameter.name] = list(distribution.choices)
            else:
                space[parameter.name] = [next(iter(row.values())) for row in parameter.to_list()]
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(*problems)
    size = math.prod(map(len, space.values()))
    if size > MOST_POINTS:
        raise BadInput(f"sampler: the grid has {size} points; {_FEWER}")
    return space


def _refuse_endless(kind: str, parameters: Sequence[Parameter]) -> None:
    """Raises `BadInput` for a range with more values than the sampler, which lists them, can hold."""
    problems = []
    for parameter in parameters:
        found = parameter.distribution()
        if not isinstance(found, (FloatDistribution, IntDistribution)) or found.step is None:
            continue
        count = int((found.high - found.low) // found.step) + 1
        if count > MOST_POINTS:
            name = f"parameters.{parameter.name}"
            problems.append(f"{name}: has {count} values, which the {kind} sampler can't list; {_FEWER}")
    if problems:
        raise BadInput(*problems)


def seed_after(seed: int | None, trials: int, kind: str) -> int | None:
    """The seed for a sampler that goes on after so many trials: the same one would repeat them.

    Samplers that find their place in a sequence by themselves keep theirs.
    """
    if seed is None or not trials or kind in ("grid", "qmc", "brute_force"):
        return seed
    digest = hashlib.blake2b(f"{seed}/{trials}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def ignores_history(sampler: optuna.samplers.BaseSampler) -> bool:
    """True when what the sampler suggests doesn't depend on results, so that it can be asked ahead."""
    if isinstance(sampler, optuna.samplers.PartialFixedSampler):
        return ignores_history(base_sampler(sampler))
    return type(sampler).__name__ in _IGNORE_HISTORY
