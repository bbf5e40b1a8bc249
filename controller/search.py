"""Ask, tell, prune: the only place that talks to Optuna's samplers and pruners."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from controller.parameters import Parameter
from controller.samplers import ignores_history
from controller.study import study_uid, task_id_of

log = logging.getLogger(__name__)

_GRID_ATTRS = ("grid_id", "search_space")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A trial that has its parameters and waits to be launched."""

    number: int
    task_id: str
    parameters: dict[str, Any]
    """Name → the program's value."""


class Search:
    """One study's search. Not thread-safe: the loop owns it.

    Args:
        study: Optuna's, with its sampler and pruner.
        parameters: what is searched, in the order in which conditions are decided.
    """

    def __init__(self, study: optuna.Study, parameters: Sequence[Parameter]) -> None:
        self._study = study
        self._parameters = list(parameters)
        self._uid = study_uid(study)
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, set[int]] = {}
        self._simple = not any(parameter.conditional for parameter in parameters)
        self.exhausted = False
        """The sampler has said that nothing is left to try."""

    @property
    def can_ask_ahead(self) -> bool:
        """Whether asking before results are in gives the same suggestions."""
        return ignores_history(self._study.sampler)

    @property
    def prunes(self) -> bool:
        """Whether reports can lead to a trial being given up."""
        return len(self._study.directions) == 1 and not isinstance(
            self._study.pruner, optuna.pruners.NopPruner
        )

    def ask(self) -> Asked:
        """The next trial. It counts as running for the sampler from now on."""
        if self._simple:
            trial = self._study.ask({p.name: p.distribution() for p in self._parameters})
            parameters = {p.name: p.decode(trial.params[p.name]) for p in self._parameters}
        else:
            trial = self._study.ask()
            parameters = self._suggest(trial)
        self._trials[trial.number] = trial
        return Asked(number=trial.number, task_id=task_id_of(self._uid, trial.number), parameters=parameters)

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        for parameter in self._parameters:
            chosen.update(parameter.suggest(trial, chosen))
        return chosen

    def running(self) -> list[Asked]:
        """The trials that Optuna counts as running: after a restart, those to take up again."""
        found = []
        states = (TrialState.RUNNING,)
        for frozen in self._study.get_trials(deepcopy=False, states=states):
            trial = optuna.Trial(self._study, frozen._trial_id)
            self._trials[frozen.number] = trial
            self._reported[frozen.number] = set(frozen.intermediate_values)
            # Suggesting again gives what was suggested, and the rest where a crash cut it short.
            found.append(
                Asked(
                    number=frozen.number,
                    task_id=task_id_of(self._uid, frozen.number),
                    parameters=self._suggest(trial),
                )
            )
        return found

    def task_id(self, number: int) -> str:
        """The task of a trial."""
        return task_id_of(self._uid, number)

    def report(self, number: int, points: Sequence[tuple[int, float]]) -> bool:
        """Tell a running trial's values, and ask whether it should be given up.

        Args:
            points: (iteration, value), oldest first; an iteration that was told before is skipped, and
                a value that isn't finite is not told.
        """
        trial = self._trials.get(number)
        if trial is None or len(self._study.directions) > 1:
            return False
        told = self._reported.setdefault(number, set())
        fresh = False
        for step, value in points:
            if step not in told and step >= 0 and math.isfinite(value):
                told.add(step)
                trial.report(value, step)
                fresh = True
        return fresh and self.prunes and bool(trial.should_prune())

    def tell(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Tell how a trial has ended. False when that was told before: each trial is told once."""
        trial = self._trials.pop(number, None)
        self._reported.pop(number, None)
        if trial is None:
            return False
        if state is TrialState.COMPLETE and (values is None or not all(map(math.isfinite, values))):
            state, values = TrialState.FAIL, None
        try:
            self._study.tell(
                trial, values=list(values) if state is TrialState.COMPLETE and values else None, state=state
            )
        except optuna.exceptions.UpdateFinishedTrialError as error:
            log.info("trial %d was told before: %s", number, error)
            return False
        except RuntimeError as error:
            # Samplers that have tried everything call Study.stop(), which ask-and-tell doesn't know;
            # the result is stored all the same.
            if "stop" not in str(error).lower():
                raise
            # Interrupted trials that wait for another try are not among what the sampler counts.
            self.exhausted = not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        except ValueError as error:
            if "Cannot tell a" not in str(error):
                raise
            log.info("trial %d was told before: %s", number, error)
            return False
        return True

    def try_again(self, number: int) -> None:
        """Have a later trial use the parameters of running trial `number`, which is being cut short."""
        trial = self._trials.get(number)
        if trial is None:
            return
        # What Optuna's `enqueue_trial` does, and what the grid sampler knows its points by.
        attributes = trial.storage.get_trial_system_attrs(trial._trial_id)
        kept = {name: attributes[name] for name in _GRID_ATTRS if name in attributes}
        self._study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.WAITING, system_attrs={"fixed_params": dict(trial.params), **kept}
            )
        )
