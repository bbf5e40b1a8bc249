"""Objectives written for Optuna: the trial that they are called with, on a compute node.

The worker reaches the study in Optuna's own storage, as Optuna's processes do. Parameters, attributes,
intermediate values and pruning decisions are written and read there; each report also goes to the task, so
that budgets, ranking and `controller top` know it. Only the controller tells Optuna how a trial ended.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution

from worker.optuna_internals import begin_objective, last_step, number_to_id, stop_was_called, trial_id
from worker.protocol.errors import BadInput, ObjectiveLoadError, ServerAway
from worker.protocol.metrics import split_key
from worker.protocol.returned import as_number
from worker.protocol.urls import redact
from worker.protocol.values import plain
from worker.sdk import runtime
from worker.trials.sampler_state import OBJECTIVE_MARK, SamplerState, continued_in
from worker.trials.samplers import build_sampler, known_sampler, make_pruner
from worker.trials.storage import file_of, open_storage, quietly
from worker.trials.storage_retry import PAUSE_S, retry_while_away

log = logging.getLogger(__name__)

# The controller says what happens to trials.
optuna.logging.set_verbosity(optuna.logging.WARNING)

OPENING_S = 120.0
"""Longest wait for a storage that is away when a trial opens it, in seconds."""

_SEQUENCES = ("grid", "qmc", "brute_force")
"""Samplers that find their own place in a sequence: they take the study's seed."""

_storages: dict[str, optuna.storages.BaseStorage] = {}
"""By URL: a runner lives for many trials, and what a storage has cached of finished ones stays valid."""
_lock = threading.Lock()


class TaskTrial(optuna.Trial):
    """Optuna's trial, whose parameters and reports are the task's as well.

    Args:
        study: its sampler chooses the parameters that the sweep file doesn't name.
        trial_id: Optuna's id of the trial in its storage, not its number.
        task: the task that runs the trial.
        min_iterations: reports of this attempt before `should_prune` may say yes.
        state: of the study's sampler; the trial keeps where that stands.
    """

    def __init__(
        self, study: optuna.Study, trial_id: int, task: Any, min_iterations: int, state: SamplerState
    ) -> None:
        super().__init__(study, trial_id)
        self._task = task
        self._state = state
        self._min_iterations = min_iterations
        self._known = set(task.get_parameters())
        # Keep only what was reported before this attempt's checkpoint: it reports the rest again.
        resumed = task.resumed_at
        values = self._cached_frozen_trial.intermediate_values
        kept = {step: value for step, value in values.items() if resumed is not None and step <= resumed}
        self._cached_frozen_trial.intermediate_values = kept

    def report(self, value: float, step: int) -> None:
        """As Optuna's. Raises `TaskStopped` once the task is asked to stop."""
        new = step not in self._cached_frozen_trial.intermediate_values
        super().report(value, step)
        if new:
            title, series = split_key(self._task.about["metrics"][0])
            self._task.report_scalar(title, series, float(value), int(step))

    def should_prune(self) -> bool:
        """As Optuna's, by the study's pruner; False before the study's ``min_iterations``."""
        enough = len(self._cached_frozen_trial.intermediate_values) >= self._min_iterations
        return super().should_prune() if enough else False

    def _chosen(self, name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
        """The value of one parameter; of one that the controller chose among lists, the objective's list."""
        known = self._cached_frozen_trial.distributions.get(name)
        if isinstance(known, CategoricalDistribution) and known != distribution:
            texts = _texts_of(distribution)
            if texts == known.choices:
                assert isinstance(distribution, CategoricalDistribution)
                return distribution.choices[texts.index(super()._suggest(name, known))]
        return super()._suggest(name, distribution)

    def _suggest(self, name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
        new = name not in self._cached_frozen_trial.params
        value = self._chosen(name, distribution)
        mark = self._state.mark() if new else None
        if mark is not None:
            self.storage.set_trial_system_attr(trial_id(self), OBJECTIVE_MARK, mark)
        if name not in self._known:
            self._known.add(name)
            self._task.session.parameters({name: plain(value)})
        return value


def _texts_of(distribution: optuna.distributions.BaseDistribution) -> tuple[str, ...] | None:
    """The JSON text of each choice, which Optuna has for lists; None where there are no choices."""
    if not isinstance(distribution, CategoricalDistribution):
        return None
    try:
        return tuple(json.dumps(plain(choice)) for choice in distribution.choices)
    except ValueError:
        return None


def check_objective(function: Callable[..., Any], target: str) -> Callable[..., Any]:
    """What to call with a trial: `function`, or an instance of it if it is a class.

    Raises:
        ObjectiveLoadError: it can't be called with one argument.
    """
    if inspect.isclass(function):
        made: Any
        try:
            made = function()
        except Exception as error:
            raise ObjectiveLoadError(
                f"objective {target!r}: it is a class, and making an instance of it fails: {error}; name an "
                "instance, as in: objective = Objective(artifact_store)"
            ) from error
        if not callable(made):
            raise ObjectiveLoadError(f"objective {target!r}: instances of this class can't be called")
        function = made
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ObjectiveLoadError(
            f"objective {target!r} is a coroutine or a generator, which would never run; "
            "make it a plain function"
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        call = f"{getattr(function, '__name__', type(function).__name__)}{inspect.signature(function)}"
        raise ObjectiveLoadError(
            f"objective {target!r}: {call} can't be called with a trial alone: {error}"
        ) from error
    except ValueError:
        pass  # built in: it has no signature to check
    return function


def open_trial(task: Any, objective: Mapping[str, Any], storage_url: str | None) -> TaskTrial:
    """The trial of `task`, in the storage that this worker reaches.

    Args:
        objective: the task's description of it, see `worker.runner.objective`.
        storage_url: as this worker knows it; None if it was given none.

    Raises:
        ObjectiveLoadError: the study can't be reached from here; says what to set.
    """
    study, state = open_trial_study(task.study, objective, storage_url, task.trial_number)
    # Optuna's cache writes only to trials that it has read.
    study.get_trials(deepcopy=False)
    try:
        found = number_to_id(study, task.trial_number)
    except KeyError as error:
        where = redact(str(storage_url))
        raise ObjectiveLoadError(
            f"study {task.study!r} has no trial {task.trial_number} in {where}; {_advice(objective)}"
        ) from error
    return TaskTrial(study, found, task, int(objective.get("min_iterations", 0)), state)


def open_trial_study(
    name: str, objective: Mapping[str, Any], storage_url: str | None, number: int
) -> tuple[optuna.Study, SamplerState]:
    """The study with the sampler of trial `number`, and where that stands. Raises `ObjectiveLoadError`."""
    if not storage_url:
        raise ObjectiveLoadError(f"this worker doesn't know where Optuna's trials are; {_advice(objective)}")
    path = file_of(storage_url)
    if path is not None and not path.exists():
        # Opening it would create an empty one.
        raise ObjectiveLoadError(
            f"storage {redact(storage_url)}: no such file on this machine; {_advice(objective)}"
        )
    sampler = dict(objective.get("sampler") or {"type": "tpe"})
    pruner = dict(objective.get("pruner") or {})
    try:
        with _lock:
            if storage_url not in _storages:
                _storages[storage_url] = _open_with_retries(storage_url)
        kind = known_sampler(str(sampler.pop("type")))
        seed = sampler.pop("seed", None)

        def make(place: int) -> optuna.samplers.BaseSampler:
            return build_sampler(kind, sampler, _seed(seed, place, kind))

        with quietly():
            study = optuna.load_study(
                study_name=name,
                storage=_storages[storage_url],
                pruner=make_pruner(pruner.pop("type", None), pruner),
            )
            state = continued_in(study, number, make)
        study.sampler = state.sampler
        return study, state
    except BadInput as error:
        raise ObjectiveLoadError(f"{error}; {_advice(objective)}") from error
    except KeyError as error:
        raise ObjectiveLoadError(
            f"there is no study {name!r} in {redact(storage_url)}; {_advice(objective)}"
        ) from error


def call_objective(function: Callable[..., Any], trial: optuna.Trial) -> tuple[list[float], bool]:
    """Call an objective as Optuna does.

    Returns:
        Its values, one for each of the study's objectives, and whether it has called ``study.stop()``.

    Raises:
        InvalidValue: it returned what is no number.
    """
    study = trial.study
    begin_objective(study)
    try:
        value = function(trial)
    except optuna.TrialPruned as error:
        last = last_step(trial)
        if str(error) or last is None:
            raise
        raise optuna.TrialPruned(f"given up at iteration {last}") from error
    many = isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
    wanted = "a number, or one for each objective"
    values = [as_number(item, value, wanted) for item in (value if many else (value,))]
    return values, stop_was_called(study)


def _seed(seed: int | None, number: int, kind: str) -> int | None:
    """The seed of a trial's sampler: the same on every worker, and the study's own for the first trial."""
    if seed is None or kind in _SEQUENCES or not number:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed}/trial {number}".encode(), digest_size=4).digest(), "big")


_warned_at = float("-inf")


def _wait(reason: str) -> None:
    """Called while the storage is away. Raises `TaskStopped` once this program's task is asked to stop."""
    global _warned_at
    if time.monotonic() - _warned_at > 30:
        _warned_at = time.monotonic()
        log.warning("Optuna's storage can't be used (%s); waiting for it", reason)
    current = runtime.current()
    if current is not None:
        current.session.check_stop()


def _open_with_retries(url: str) -> optuna.storages.BaseStorage:
    """Open the storage, and wait while it is locked or away. Raises `BadInput`."""
    deadline = time.monotonic() + OPENING_S
    while True:
        try:
            storage = optuna.storages.get_storage(open_storage(url))
        except ServerAway as error:
            if time.monotonic() > deadline:
                raise
            _wait(str(error))
            time.sleep(PAUSE_S)
            continue
        retry_while_away(storage, _wait)
        return storage


def _advice(objective: Mapping[str, Any]) -> str:
    where = objective.get("storage")
    shown = f" (the controller's is {where})" if where else ""
    return f"set OPTUNA_STORAGE on this worker to a storage that it shares with the controller{shown}"
