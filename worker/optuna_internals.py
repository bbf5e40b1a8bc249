"""Optuna's private names, all in one place: what its public API does not offer and we can't do without.

A new Optuna may move them without notice: tests/unit/test_optuna_internals.py fails first, and names what is
gone. Nothing here is imported from Optuna before it is needed, as compute nodes may do without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from numpy.random import RandomState
    from optuna.distributions import BaseDistribution
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.pruners import (
        BasePruner,
        HyperbandPruner,
        PatientPruner,
        PercentilePruner,
        SuccessiveHalvingPruner,
        ThresholdPruner,
        WilcoxonPruner,
    )
    from optuna.samplers import BaseSampler, GridSampler, PartialFixedSampler
    from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
    from optuna.trial import FrozenTrial, TrialState

STORAGE_CALLS = ("_create_new_trial", "_set_trial_param", "_get_best_trial_id", "_get_trials")
"""What Optuna's cache calls of a database besides the public methods of storages."""


# Studies and trials


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage that a study is in, Optuna's cache over a database included."""
    return study._storage


def study_id(study: optuna.Study) -> int:
    """The storage's id of a study."""
    return study._study_id


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """The storage's id of a trial."""
    return trial._trial_id


def open_trial(study: optuna.Study, number: int) -> optuna.Trial:
    """A running trial by its number. Raises `KeyError` when the storage has none."""
    from optuna import Trial

    found = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    return Trial(study, found)


def number_to_id(study: optuna.Study, number: int) -> int:
    """The storage's id of the trial of that number. Raises `KeyError` when there is none."""
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)


def tell(study: optuna.Study, trial: optuna.Trial, values: list[float] | None, state: TrialState) -> None:
    """As `Study.tell`, without the deep copy of the trial that it returns: that takes longest."""
    from optuna.study._tell import _tell_with_warning

    _tell_with_warning(study=study, trial=trial, value_or_values=values, state=state)


def chosen_params(trial: optuna.Trial) -> Mapping[str, Any]:
    """As `Trial.params`, not copied: to be read only."""
    return trial._cached_frozen_trial.params


def own_copy(trial: FrozenTrial) -> FrozenTrial:
    """A copy with dicts of its own: `copy.copy` and the public properties take four times as long."""
    copied: FrozenTrial = object.__new__(type(trial))
    known = vars(trial)
    vars(copied).update(known, **{name: dict(known[name]) for name in _TRIAL_DICTS})
    return copied


_TRIAL_DICTS = ("_params", "_distributions", "_user_attrs", "_system_attrs", "intermediate_values")


def set_system_attr(storage: InMemoryStorage, trial_id: int, key: str, value: Any) -> None:
    """As `InMemoryStorage.set_trial_system_attr`, in a third of the time.

    Raises:
        UpdateFinishedTrialError: the trial has ended.
    """
    with storage._lock:
        trial = storage._get_trial(trial_id)
        storage.check_trial_is_updatable(trial_id, trial.state)
        changed: FrozenTrial = object.__new__(type(trial))
        vars(changed).update(vars(trial), _system_attrs={**trial._system_attrs, key: value})
        storage._set_trial(trial_id, changed)


def last_step(trial: optuna.Trial) -> int | None:
    """The last step that a running trial has reported; None without one."""
    return trial._get_latest_trial().last_step


def begin_objective(study: optuna.Study) -> None:
    """Have ``study.stop()`` work, as it does within `Study.optimize`."""
    study._thread_local.in_optimize_loop = True


def stop_was_called(study: optuna.Study) -> bool:
    """Whether an objective has called ``study.stop()``."""
    return bool(study._stop_flag)


def validate(trial: FrozenTrial) -> None:
    """Check that a trial's state, values and parameters fit together. Raises `ValueError`."""
    trial._validate()


# Samplers and distributions


def order_grid(sampler: GridSampler, names: Sequence[str]) -> None:
    """Have a grid's points asked for one after the other, those of the first name changing last.

    Args:
        names: of all its parameters.
    """
    space = sampler._search_space
    rows = product(*(space[name] for name in names))
    places = [names.index(name) for name in sampler._param_names]
    sampler._all_grids = [tuple(row[place] for place in places) for row in rows]


def base_sampler(sampler: PartialFixedSampler) -> BaseSampler:
    """The sampler of the parameters that a partial-fixed one leaves free."""
    return sampler._base_sampler


def fixed_names(sampler: PartialFixedSampler) -> frozenset[str]:
    """The parameters that a partial-fixed sampler does not choose."""
    return frozenset(sampler._fixed_params)


def startup_trials(sampler: BaseSampler) -> int | None:
    """Finished trials before which a sampler draws at random; None for one that does not."""
    found = getattr(sampler, "_n_startup_trials", None)
    return found if isinstance(found, int) else None


def is_multivariate(sampler: BaseSampler, study: optuna.Study) -> bool:
    """Whether TPE chooses a study's parameters together."""
    return bool(sampler._is_multivariate(study))  # type: ignore[attr-defined] # TPE's


def good_trials(sampler: BaseSampler, study: optuna.Study, count: int) -> int:
    """How many of `count` finished trials TPE takes for good ones."""
    from optuna.samplers._tpe.sampler import default_gamma, default_gamma_multiobjective

    gamma = getattr(sampler, "_gamma", None)
    if gamma is None:
        gamma = default_gamma if len(study.directions) == 1 else default_gamma_multiobjective
    return int(gamma(count))


def grid_size(sampler: GridSampler) -> int:
    """Points of a grid."""
    return len(sampler._all_grids)


def generation(attributes: Mapping[str, Any]) -> int | None:
    """The generation that an evolutionary sampler notes in a trial's system attributes; None for none."""
    for key, value in attributes.items():
        if key.endswith(":generation") and isinstance(value, int):
            return value
    return None


# Pruners


def rung_key(rung: int) -> str:
    """The system attribute of a trial with the value with which it came to a rung of successive halving."""
    return f"completed_rung_{rung}"


def rung_values(trial: FrozenTrial) -> dict[int, float]:
    """Rung → the value with which a trial came there."""
    prefix = rung_key(0)[:-1]
    return {
        int(key.removeprefix(prefix)): value
        for key, value in trial.system_attrs.items()
        if key.startswith(prefix)
    }


def halving_factor(pruner: SuccessiveHalvingPruner | HyperbandPruner) -> int:
    """Of so many trials one comes to the next rung."""
    return pruner._reduction_factor


def bracket_of(pruner: HyperbandPruner, study: optuna.Study, trial: FrozenTrial) -> int:
    """The bracket that Hyperband has put a trial into."""
    return pruner._get_bracket_id(study, trial)


def percentile_of(pruner: PercentilePruner) -> float:
    """The share of trials, in percent, that a pruner lets go on."""
    return pruner._percentile


def threshold_of(pruner: ThresholdPruner) -> tuple[float, float]:
    """Between which values a trial goes on."""
    return pruner._lower, pruner._upper


def patience_of(pruner: PatientPruner) -> tuple[int, BasePruner | None]:
    """For how many steps a pruner waits, and the pruner that it asks then."""
    return pruner._patience, pruner._wrapped_pruner


def wilcoxon_of(pruner: WilcoxonPruner) -> float:
    """The p-value below which a trial is given up."""
    return pruner._p_threshold


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a distribution has the value. Raises `TypeError` or `ValueError` for one of another kind."""
    return bool(distribution._contains(distribution.to_internal_repr(value)))


def fanova_share(evaluator: FanovaImportanceEvaluator, parameters: Sequence[int]) -> float:
    """Of the differences, what some parameters explain together, from 0 to 1.

    Args:
        evaluator: one that has evaluated a study, with a list of parameters that all vary.
        parameters: their places in that list, sorted by name.
    """
    import numpy as np

    fitted: Any = evaluator._evaluator
    columns = np.concatenate([fitted._column_to_encoded_columns[place] for place in parameters])
    trees = [tree for tree in fitted._trees if tree.variance > 0]
    return float(np.mean([tree.get_marginal_variance(columns) / tree.variance for tree in trees]))


def forget_search_space(value: Any) -> bool:
    """Clear a sampler's cached search space, which belongs to the id of one study. False if it is none."""
    if not (hasattr(value, "_include_pruned") and hasattr(value, "_study_id")):
        return False
    value.__init__(include_pruned=value._include_pruned)
    return True


def random_states(sampler: BaseSampler) -> dict[str, RandomState]:
    """The seeded random generators of a sampler and of those that it is made of, by where they are kept."""
    from numpy.random import RandomState

    found: dict[str, RandomState] = {}
    seen: set[int] = set()

    def walk(value: Any, path: str) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, RandomState):
            found[path] = value
        elif type(value).__module__.startswith(("optuna.", "worker.")):
            for name, inner in sorted(getattr(value, "__dict__", {}).items()):
                walk(inner, f"{path}.{name}" if path else name)

    walk(sampler, "")
    return found


_KERNELS = ("_gprs_cache_list", "_constraints_gprs_cache_list")
_KERNEL = ("inverse_squared_lengthscales", "kernel_scale", "noise_var")


def fitted_kernels(sampler: BaseSampler) -> dict[str, list[list[Any]]]:
    """What a ``GPSampler`` begins its next fit with: numbers by where they are kept; empty for others."""
    found = {name: getattr(sampler, name, None) for name in _KERNELS}
    return {
        name: [[getattr(fit, part).tolist() for part in _KERNEL] for fit in fits]
        for name, fits in found.items()
        if fits
    }


def restore_kernels(sampler: BaseSampler, kernels: Mapping[str, Sequence[Sequence[Any]]]) -> None:
    """Inverse of `fitted_kernels`."""
    if not kernels:
        return
    import torch  # type: ignore[import-not-found,unused-ignore] # of the extra `samplers`

    for name, fits in kernels.items():
        parts = [[torch.tensor(part, dtype=torch.float64) for part in fit] for fit in fits]
        setattr(sampler, name, [SimpleNamespace(**dict(zip(_KERNEL, fit, strict=True))) for fit in parts])


# Storages


def backend_of(storage: BaseStorage) -> Any:
    """What a cache, or a journal's storage, writes to; None where a storage has no such thing."""
    return getattr(storage, "_backend", None)


def database_models() -> Any:
    """The classes of a database's tables."""
    from optuna.storages._rdb import models

    return models


def database_session(storage: RDBStorage) -> Any:
    """A transaction of a database, as a context manager."""
    from optuna.storages._rdb.storage import _create_scoped_session

    return _create_scoped_session(storage.scoped_session, True)


# Artifact stores


def wrapped_store(backoff: Any) -> Any:
    """The artifact store that a ``Backoff`` wraps."""
    return backoff._backend


def store_folder(store: Any) -> Any:
    """The folder of a ``FileSystemArtifactStore``."""
    return store._base_path
