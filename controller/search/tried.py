"""What a study's trials have tried, so that nothing is tried twice."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from controller.search.parameters import Parameter
from controller.search.space import MOST, chosen_by, points, replay
from worker.trials.storage import quietly

FIXED = "fixed_params"
"""System attribute, Optuna's, of a trial whose parameters were given."""
GIVEN = "optuna-rq:given"
"""System attribute of a trial whose parameters were given: by whom, ``{"from": …}``."""
DUPLICATE = "optuna-rq:duplicate_of"
"""User attribute of a trial that was not run: the number of the one that had its parameters."""
COPIED = "optuna-rq:from"
"""User attribute of a trial that was copied: study and number it had there."""
NOT_RUN = "optuna-rq:not_run"
"""User attribute of a trial that was not run, or cut short for no fault of its own, as with its study."""
DRAWS = 100
"""Random points that are tried, to find one that no trial has had."""
SMALL = 500
"""Points of a space that is enumerated from the beginning, so that its end comes without a duplicate."""


class TriedPoints:
    """The parameters that the trials of one study have had; read from them when first asked.

    Args:
        study: Optuna's.
        parameters: what is searched, in the order in which conditions are decided.
    """

    def __init__(self, study: optuna.Study, parameters: Sequence[Parameter]) -> None:
        self._study = study
        self._parameters = parameters
        self._numbers: dict[str, int] | None = None
        """Key of a point → the number of its trial; None before the first look."""
        self._unseen: dict[str, dict[str, Any]] | None = None
        """Key → point of a finite space that no trial has had; None where they are not counted."""

    def reset(self) -> None:
        """Read the trials again when next asked."""
        self._numbers = self._unseen = None

    @property
    def complete(self) -> bool:
        """Whether the space is finite and each of its points was tried, as far as that is known."""
        self._known()
        return self._unseen is not None and not self._unseen

    def number_of(self, parameters: Mapping[str, Any]) -> int | None:
        """The number of the trial that had these parameters; None for new ones."""
        return self._known().get(_key(parameters))

    def claim(self, parameters: Mapping[str, Any], number: int) -> int | None:
        """The number of the trial that had these parameters; None for new ones, now those of `number`."""
        key, known = _key(parameters), self._known()
        earlier = known.get(key)
        if earlier is None:
            known[key] = number
            if self._unseen is not None:
                self._unseen.pop(key, None)
        return earlier

    def release(self, chosen: Mapping[str, Any], point: Mapping[str, Any]) -> None:
        """What a trial had may be tried again.

        Args:
            chosen: Optuna's name → value of all that was suggested.
            point: the same of what is searched.
        """
        replayed = replay(self._parameters, chosen)
        if replayed is None or self._numbers is None:
            return
        key = _key(replayed[0])
        self._numbers.pop(key, None)
        if self._unseen is not None:
            self._unseen[key] = dict(point)

    def count_unseen(self) -> None:
        """List the points that no trial has had, where the space is finite and not too large."""
        if self._unseen is None:
            self._unseen = self._list_unseen()

    def pick_unseen(self, seed: str) -> dict[str, Any] | None:
        """A point that no trial has had, the same for the same seed; None where none is found."""
        if self._unseen is None:
            return self._draw_unseen(seed)
        return random.Random(seed).choice(list(self._unseen.values())) if self._unseen else None

    def _draw_unseen(self, seed: str) -> dict[str, Any] | None:
        """A random point of a space whose points are not counted: it is large, so that a few draws do."""
        number = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=4).digest(), "big")
        with quietly():
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
        for _ in range(DRAWS):
            trial = study.ask()
            if self.number_of(chosen_by(self._parameters, trial)) is None:
                return dict(trial.params)
        return None

    def _known(self) -> dict[str, int]:
        """The points of all trials, except those that wait for another try."""
        if self._numbers is None:
            self._numbers, waiting = {}, []
            for trial in self._study.get_trials(deepcopy=False):
                if trial.state is TrialState.WAITING:
                    waiting.append(trial.system_attrs.get(FIXED, {}))
                elif not any(mark in trial.user_attrs for mark in (DUPLICATE, COPIED, NOT_RUN)):
                    found = replay(self._parameters, trial.params)
                    if found is not None:
                        self._numbers.setdefault(_key(found[0]), trial.number)
            for params in waiting:
                found = replay(self._parameters, params)
                if found is not None:
                    self._numbers.pop(_key(found[0]), None)
            self._unseen = self._list_unseen(SMALL)
        return self._numbers

    def _list_unseen(self, most: int = MOST) -> dict[str, dict[str, Any]] | None:
        """The points that no trial has had; None where they can't be counted, or are more than `most`."""
        every = points(self._parameters, most)
        if every is None:
            return None
        numbers = self._known()
        found = {}
        for params in every:
            replayed = replay(self._parameters, params)
            assert replayed is not None
            key = _key(replayed[0])
            if key not in numbers:
                found[key] = params
        return found


_sorted_json = json.JSONEncoder(sort_keys=True).encode


def _key(parameters: Mapping[str, Any]) -> str:
    """The same for two trials that would run the same."""
    text = _sorted_json(parameters)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
