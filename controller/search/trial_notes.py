"""Reasons of asks and prunes, kept in the trials that they are about."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.storages import InMemoryStorage

from controller.search.prune_reasons import why_pruned
from controller.search.reasons import MOST_NAMES, AskReasons
from worker.optuna_internals import storage_of, trial_id

log = logging.getLogger(__name__)

WHY = "optuna-rq:why"
"""System attribute of a trial: kind of decision → what it rested on."""


class TrialNotes:
    """Notes in each trial why it was asked for and given up, where that costs no transaction of its own."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._asks = AskReasons(study)
        # Of a storage that is written to at once, each note would be one.
        self._keeps = isinstance(storage_of(study), InMemoryStorage)
        self._stored_s = 0.0
        self.given_up: dict[int, dict[str, Any]] = {}
        """Trial → why its pruner gave it up; until it is told."""

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Measures what the storage takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._stored_s += time.perf_counter() - began

    def asked(
        self, trial: optuna.Trial, names: Sequence[str], seconds: float, closed: Sequence[int] = ()
    ) -> None:
        """A trial was asked for.

        Args:
            names: Optuna's names of its parameters.
            seconds: that the sampler took.
            closed: trials that were asked for before it, and had been tried before.
        """
        if not self._keeps:
            return
        why = self._asks.of(trial, trial.storage.get_trial_system_attrs(trial_id(trial)), names)
        if closed:
            why |= {"instead": list(closed[-MOST_NAMES:]), "closed": len(closed)}
        # The storage has taken that since the trial before.
        why |= {"ask_s": round(seconds, 4), "store_s": round(self._stored_s, 4)}
        self._stored_s = 0.0
        _keep(trial, "asked", why)

    def pruned(self, trial: optuna.Trial, step: int) -> None:
        """A trial was given up at a step by the study's pruner."""
        found = trial.storage.get_trial(trial_id(trial))
        why = why_pruned(self._study, found, step)
        self.given_up[trial.number] = why
        if self._keeps:
            _keep(trial, "pruned", why)


def _keep(trial: optuna.Trial, kind: str, why: Mapping[str, Any]) -> None:
    known = trial.storage.get_trial_system_attrs(trial_id(trial)).get(WHY) or {}
    trial.storage.set_trial_system_attr(trial_id(trial), WHY, {**known, kind: dict(why)})


def keep_text(trial: optuna.Trial, name: str, text: str) -> None:
    """Have a running trial keep a text in its system attributes; one that was told keeps nothing more."""
    try:
        trial.storage.set_trial_system_attr(trial_id(trial), name, text)
    except optuna.exceptions.UpdateFinishedTrialError as error:
        log.info("trial %d was told before its %r was kept: %s", trial.number, name, error)


def kept_reasons(attributes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Kind of decision → what it rested on, by a trial's system attributes; empty for an older trial."""
    found = attributes.get(WHY)
    if not isinstance(found, Mapping):
        return {}
    return {str(kind): dict(why) for kind, why in found.items() if isinstance(why, Mapping)}
