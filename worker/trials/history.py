"""A sampler that reads only some of the trials, so that a suggestion costs the same after ten thousand."""

from __future__ import annotations

import bisect
import copy
import weakref
from collections.abc import Container, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from worker.protocol.errors import BadInput

SMALLEST = 100
"""Fewest trials that a history may be bounded to: samplers begin to learn from some tens."""
BEST = 25
"""Best trials that are kept however old they are: TPE models at most this many good ones."""


class BoundedHistory(BaseSampler):
    """Wraps a sampler, which then sees only the newest finished trials, the best ones and the running ones.

    TPE's good trials are the best 25 of all, bounded or not. Its others are then the newest ones; it gives
    old ones little weight anyway.

    Args:
        sampler: of Optuna's, such as ``TPESampler()``; one that reads the study's trials, not one that
            keeps a state in them (``CmaEsSampler``, ``NSGAIISampler``).
        newest: how many finished trials it sees, at least 100.

    Raises:
        BadInput: `newest` is too small.
    """

    def __init__(self, sampler: BaseSampler, newest: int = 500) -> None:
        if type(newest) is not int or newest < SMALLEST:
            raise BadInput(f"sampler.history: a number of trials, at least {SMALLEST}; not {newest!r}")
        self._sampler = sampler
        self._newest = newest

    @property
    def inner(self) -> BaseSampler:
        """The sampler that suggests."""
        return self._sampler

    @property
    def newest(self) -> int:
        """How many finished trials it sees."""
        return self._newest

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(self._part(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(self._part(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(self._part(study), trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()

    def _part(self, study: optuna.Study) -> optuna.Study:
        window = _windows.get(study)
        if window is None:
            window = _windows[study] = _Window(study.directions)
        return _Part(study, window.of(study.get_trials(deepcopy=False), self._newest))


class _Window:
    """Chooses which trials of one study a sampler sees. Trials that have ended no longer change."""

    def __init__(self, directions: Sequence[StudyDirection]) -> None:
        # Several objectives have no order.
        self._sign = 0.0
        if len(directions) == 1:
            self._sign = -1.0 if directions[0] is StudyDirection.MAXIMIZE else 1.0
        self._looked_at = 0
        self._open: list[int] = []
        self._ended: list[int] = []
        """Places of the newest that have ended, in the order of their numbers."""
        self._best: list[tuple[float, float, int]] = []
        """(violation, value turned so that smaller is better, place), the best first."""

    def of(self, trials: Sequence[FrozenTrial], newest: int) -> list[FrozenTrial]:
        """The chosen ones of all `trials`, in their order."""
        todo = [*self._open, *range(self._looked_at, len(trials))]
        self._looked_at = len(trials)
        self._open = []
        for place in todo:
            trial = trials[place]
            if not trial.state.is_finished():
                self._open.append(place)
                continue
            bisect.insort(self._ended, place)
            if trial.state is TrialState.COMPLETE and self._sign and trial.value is not None:
                violation = sum(value for value in trial.constraints.values() if value > 0)
                bisect.insort(self._best, (violation, self._sign * trial.value, place))
                del self._best[BEST:]
        del self._ended[:-newest]
        chosen = {*self._open, *self._ended, *(place for _, _, place in self._best)}
        return [trials[place] for place in sorted(chosen)]


_windows: weakref.WeakKeyDictionary[optuna.Study, _Window] = weakref.WeakKeyDictionary()
"""By study: those who look at it share what they have read."""


class _Part(optuna.Study):
    """A study as its sampler sees it: with only some of its trials."""

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]) -> None:
        self.__dict__.update(study.__dict__)
        self._trials_seen = trials

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        found = [trial for trial in self._trials_seen if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)
