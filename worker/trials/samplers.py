"""Optuna's samplers and pruners by name, with their options checked before anything starts."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import optuna

from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest
from worker.protocol.sampler_names import PRUNERS, SAMPLERS, pruner_name, sampler_name
from worker.trials.history import BoundedHistory
from worker.trials.storage import quietly

_NEEDS = {
    "cmaes": ("cmaes",),
    "gp": ("scipy", "torch"),
    "qmc": ("scipy",),
    "wilcoxon": ("scipy",),
}
"""Packages that Optuna doesn't depend on, but imports in the middle of a study."""
_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "dict[str, Any]": (dict,),
}
"""Types of options, as Optuna annotates them, that a sweep file can give."""
_READ_TRIALS = ("tpe", "gp")
"""Samplers that slow down as trials add up: they have the option ``history``."""
_SET_BY_US = ("search_space", "constraints_func", "wrapped_pruner")


def sampler_class(kind: str, options: Mapping[str, Any]) -> type[optuna.samplers.BaseSampler]:
    """The class of a sampler, its options checked. Raises `BadInput`."""
    cls: type[optuna.samplers.BaseSampler] = getattr(optuna.samplers, SAMPLERS[kind])
    _check(cls, kind, options, "sampler")
    return cls


def build_sampler(
    kind: str, options: Mapping[str, Any], seed: int | None, **more: Any
) -> optuna.samplers.BaseSampler:
    """Build a sampler that doesn't need the search space.

    Args:
        kind: its name, as `known_sampler` returns it.
        options: the sampler's own, and ``history``, see `BoundedHistory`.
        seed: None leaves it unseeded.
        more: arguments that a sweep file can't give.

    Raises:
        BadInput: the sampler doesn't have an option, or refuses its value.
    """
    options = dict(options)
    history = options.pop("history", None)
    cls = sampler_class(kind, options)
    if history is not None and kind not in _READ_TRIALS:
        raise BadInput(f"sampler.history: {kind} has no use for it; {' and '.join(_READ_TRIALS)} have")
    arguments = {**options, **more}
    if kind == "qmc":
        # A sequence of our own, scrambled by the seed; its warnings about independent sampling are moot.
        arguments.setdefault("warn_independent_sampling", False)
    if seed is not None:
        arguments["seed"] = seed
    sampler = _build(cls, arguments, "sampler")
    assert isinstance(sampler, optuna.samplers.BaseSampler)
    return sampler if history is None else BoundedHistory(sampler, history)


def known_sampler(name: str) -> str:
    """A sampler's name with aliases resolved. Raises `BadInput` if there is no such sampler."""
    return _known(name, sampler_name(name), SAMPLERS, "sampler.type")


def make_pruner(name: str | None, options: Mapping[str, Any]) -> optuna.pruners.BasePruner:
    """The pruner of a sweep file's ``[pruner]``; without a name, one that never prunes. Raises `BadInput`."""
    if name is None:
        return optuna.pruners.NopPruner()
    kind = _known(name, pruner_name(name), PRUNERS, "pruner.type")
    if kind == "patient":
        options = dict(options)
        wrapped = options.pop("wrapped", None)
        if wrapped is not None and not isinstance(wrapped, Mapping):
            raise BadInput('pruner.wrapped: must be a table, such as { type = "median" }')
        inner = None
        if wrapped is not None:
            rest = {key: value for key, value in wrapped.items() if key != "type"}
            inner = make_pruner(str(wrapped.get("type", "median")), rest)
        _check(optuna.pruners.PatientPruner, kind, options, "pruner")
        with quietly():
            patient = _build(optuna.pruners.PatientPruner, {**options, "wrapped_pruner": inner}, "pruner")
        assert isinstance(patient, optuna.pruners.BasePruner)
        return patient
    cls = getattr(optuna.pruners, PRUNERS[kind])
    _check(cls, kind, options, "pruner")
    pruner = _build(cls, dict(options), "pruner")
    assert isinstance(pruner, optuna.pruners.BasePruner)
    _try(_build(cls, dict(options), "pruner"))
    return pruner


def _known(name: str, wanted: str, table: Mapping[str, str], where: str) -> str:
    if wanted not in table:
        near = nearest(wanted, table)
        hint = f"; did you mean {near!r}?" if near else f"; there are {', '.join(table)}"
        raise BadInput(f"{where}: unknown {where.split('.')[0]} {name!r}{hint}")
    return wanted


def _check(cls: Any, kind: str, options: Mapping[str, Any], where: str) -> None:
    """Refuse unknown options, options of the wrong type and missing packages. Raises `BadInput`."""
    known = {name: p for name, p in inspect.signature(cls).parameters.items() if name not in _SET_BY_US}
    problems = []
    for name, value in options.items():
        if name not in known:
            near = nearest(name, known)
            there = ", ".join(known) or "no options"
            hint = f"; did you mean {near!r}?" if near else f"; {cls.__name__} has {there}"
            problems.append(f"{where}.{name}: unknown option{hint}")
            continue
        annotation = known[name].annotation
        text = annotation if isinstance(annotation, str) else annotation.__name__
        kinds = [part for part in text.split(" | ") if part != "None"]
        if not all(part in _PLAIN for part in kinds):
            problems.append(f"{where}.{name}: takes a Python object, which a sweep file can't give")
        elif not any(_is(value, _PLAIN[part]) for part in kinds):
            problems.append(f"{where}.{name}: must be {' or '.join(kinds)}, got {value!r}")
    missing = [name for name in _NEEDS.get(kind, ()) if importlib.util.find_spec(name) is None]
    if missing:
        need = f"needs {' and '.join(missing)}, which isn't installed: pip install {' '.join(missing)}"
        problems.append(f"{where}.type: {kind} {need}")
    if problems:
        raise BadInput(*problems)


def _is(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _build(cls: Any, arguments: dict[str, Any], where: str) -> Any:
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in arguments:
            raise BadInput(f"{where}.{name}: missing; {cls.__name__} needs it")
    try:
        return cls(**arguments)
    except ImportError as error:
        raise BadInput(f"{where}: {cls.__name__} needs a package that isn't installed: {error}") from error
    except (TypeError, ValueError) as error:
        raise BadInput(f"{where}: {cls.__name__}: {error}") from error


def _try(pruner: Any) -> None:
    """Prune a few made-up trials: Optuna refuses some options only in use. Raises `BadInput`."""
    with quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
        try:
            for _ in range(3):
                trial = study.ask()
                for step in range(3):
                    trial.report(float(step), step)
                    trial.should_prune()
                study.tell(trial, 0.0)
        except Exception as error:
            raise BadInput(f"pruner: {type(pruner).__name__}: {error}") from error
