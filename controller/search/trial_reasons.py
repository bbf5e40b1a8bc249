"""What the decision log keeps of why trials are asked for and given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import optuna

from controller.search.prune_reasons import why_pruned
from controller.search.reasons import MOST_NAMES, AskReasons
from worker.optuna_internals import trial_id

T = TypeVar("T")


class TrialReasons:
    """Reasons of one study's asks and prunes, with what sampler and storage took."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._asks = AskReasons(study)
        self._stored_s = 0.0
        self.given_up: dict[int, dict[str, Any]] = {}
        """Trial → why its pruner gave it up; until it is told."""

    def timed(self, call: Callable[[], T]) -> T:
        """What `call`, which writes to the storage, returns: what it took is noted with the next ask."""
        began = time.perf_counter()
        try:
            return call()
        finally:
            self._stored_s += time.perf_counter() - began

    def asked(
        self, trial: optuna.Trial, names: Sequence[str], seconds: float, closed: Sequence[int] = ()
    ) -> dict[str, Any]:
        """Why a trial was asked for as it was, as JSON types.

        Args:
            names: Optuna's names of its parameters.
            seconds: that the sampler took.
            closed: trials that were asked for before it, and had been tried before.
        """
        why = self._asks.of(trial, trial.storage.get_trial_system_attrs(trial_id(trial)), names)
        if closed:
            why |= {"instead": list(closed[-MOST_NAMES:]), "closed": len(closed)}
        # The storage has taken that since the trial before.
        why |= {"ask_s": round(seconds, 4), "store_s": round(self._stored_s, 4)}
        self._stored_s = 0.0
        return why

    def pruned(self, trial: optuna.Trial, step: int) -> dict[str, Any]:
        """Why the study's pruner has given a trial up at a step, as JSON types."""
        why = why_pruned(self._study, trial.storage.get_trial(trial_id(trial)), step)
        self.given_up[trial.number] = why
        return why
