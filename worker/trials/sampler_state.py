"""Where a seeded sampler stands, so that a study that was killed goes on as if it was not.

A sampler of Optuna's draws from Mersenne Twisters, and keeps what else it needs in the trials. A twister that
is seeded again and has drawn as often stands at the same place: a count says all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from worker.optuna_internals import fitted_kernels, random_states, restore_kernels

MARK = "optuna-rq:sampler"
"""System attribute of a trial: where the controller's sampler stood when it had suggested the trial."""
OBJECTIVE_MARK = "optuna-rq:objective_sampler"
"""The same of the sampler by which an objective that takes Optuna's trial suggests."""
_compact_json = json.JSONEncoder(separators=(",", ":")).encode
_WORDS = 624
"""Numbers that a twister makes at once."""
_MOST_BLOCKS = 100_000
"""Blocks of numbers drawn for one suggestion; more than any sampler draws."""


class _Twister:
    """One generator of a sampler, and how many numbers it has drawn since the sampler was made."""

    def __init__(self, generator: np.random.RandomState) -> None:
        self._generator = generator
        self._shadow = np.random.MT19937()
        self._shadow.state = self._state()
        self._drawn = 0
        self._look()
        key, at = self._key, self._at
        self.origin = hashlib.blake2b(key + bytes([at >> 8, at & 255]), digest_size=8).hexdigest()
        """Names the place where it began."""

    def _look(self) -> None:
        """Keep where the shadow stands: its state is large, and a copy each time."""
        state = self._shadow.state["state"]
        self._key, self._at = state["key"].tobytes(), state["pos"]

    def _state(self) -> Any:
        return self._generator.get_state(legacy=False)

    def mark(self) -> list[Any] | None:
        """[numbers drawn, whether a normal one is left over, that one]; None where they can't be counted."""
        state = self._state()
        wanted, target = state["state"]["key"].tobytes(), state["state"]["pos"]
        for _ in range(_MOST_BLOCKS):
            at = self._at
            if at <= target and self._key == wanted:
                # Within a block only the place changes.
                self._shadow.random_raw(target - at, output=False)
                self._drawn, self._at = self._drawn + target - at, target
                return [self._drawn, state["has_gauss"], state["gauss"]]
            # To the end of this block, and the first number of the next.
            self._draw(_WORDS - at + 1)
        return None

    def restore(self, mark: Sequence[Any]) -> None:
        """Go to where `mark` was made, from where the sampler was made."""
        drawn, has_gauss, gauss = mark
        self._draw(int(drawn))
        state = self._shadow.state
        self._generator.set_state({**state, "has_gauss": int(has_gauss), "gauss": float(gauss)})

    def _draw(self, count: int) -> None:
        if count:
            self._shadow.random_raw(count, output=False)
            self._drawn += count
            self._look()


class SamplerState:
    """Marks and restores where a sampler stands. Make it before the sampler is used.

    Args:
        after: how many trials the study had when the sampler was seeded.
    """

    def __init__(self, sampler: BaseSampler, after: int = 0) -> None:
        self.sampler = sampler
        self._after = after
        self._twisters = {path: _Twister(found) for path, found in random_states(sampler).items()}
        origins = [type(sampler).__name__, *(twister.origin for twister in self._twisters.values())]
        self._origin = hashlib.blake2b(" ".join(origins).encode(), digest_size=8).hexdigest()

    @property
    def seeded(self) -> bool:
        """Whether there is anything to mark: a sampler without a seed goes on anyhow."""
        return bool(self._twisters)

    def mark(self) -> str | None:
        """Where the sampler stands now, as JSON; None where that can't be told."""
        marks = {path: twister.mark() for path, twister in self._twisters.items()}
        if not marks or None in marks.values():
            return None
        data: dict[str, Any] = {"after": self._after, "origin": self._origin, "at": marks}
        kernels = fitted_kernels(self.sampler)
        if kernels:
            data["kernels"] = kernels
        return _compact_json(data)

    def restore(self, text: str) -> bool:
        """Go to where `text` was made. False, and nothing changes, when that was another sampler or seed."""
        data = json.loads(text)
        if data["origin"] != self._origin or data["at"].keys() != self._twisters.keys():
            return False
        for path, mark in data["at"].items():
            self._twisters[path].restore(mark)
        restore_kernels(self.sampler, data.get("kernels", {}))
        return True


def continued(study: optuna.Study, make: Callable[[int], BaseSampler]) -> SamplerState:
    """The sampler for a study as it stands: it goes on where it stood when it suggested the last trial.

    Args:
        make: gives the sampler for a study that has so many trials.
    """
    return _after(study.get_trials(deepcopy=False), MARK, make)


def continued_in(study: optuna.Study, number: int, make: Callable[[int], BaseSampler]) -> SamplerState:
    """The sampler for the objective of trial `number`, which suggests by itself, maybe beside others.

    It goes on where an earlier attempt stood, or after the trial before. While another one before it still
    runs, it takes random numbers of its own.

    Args:
        make: gives the sampler of a trial by its number.
    """
    earlier = [trial for trial in study.get_trials(deepcopy=False) if trial.number <= number]
    beside = any(trial.state is TrialState.RUNNING for trial in earlier if trial.number != number)
    if beside and OBJECTIVE_MARK not in earlier[-1].system_attrs:
        return SamplerState(make(number), number)
    return _after(earlier[-1:] if beside else earlier, OBJECTIVE_MARK, make, number)


def _after(
    trials: Sequence[FrozenTrial], key: str, make: Callable[[int], BaseSampler], place: int | None = None
) -> SamplerState:
    """The sampler that made the last of these trials.

    Where they don't tell, as another version, sampler or seed made them, it is seeded by how many there are:
    the same seed would repeat them.
    """
    found = (trial.system_attrs[key] for trial in reversed(trials) if key in trial.system_attrs)
    text = next(found, None)
    if text is not None:
        after = int(json.loads(text)["after"])
        state = SamplerState(make(after), after)
        if state.restore(text):
            return state
    place = len(trials) if place is None else place
    return SamplerState(make(place), place)
