"""How long a study's next trials take, from those that have ended and those that still run.

One that still runs says that trials take at least so long: leaving it out would favor short ones. Therefore
the distribution is the product-limit (Kaplan-Meier) estimate. Where trials report iterations, it is that of
the iterations at which they end, and each trial's time for an iteration goes with it: so a trial that runs
is known to have run for half of its iterations. numpy is imported here: import this module lazily.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]

_BEFORE_FIRST = 0.5
"""Iterations that stand for none, so that the time before the first report counts."""
ALIKE = 0.5
"""After this share of the known trials, an older one counts half; but not before `FEWEST_ALIKE` trials."""
FEWEST_ALIKE = 8
LEAST_DOUBT, MOST_DOUBT = 0.08, 0.2
"""By how much the logarithm of all times may be wrong, where this study has trials, and where it has none."""
LIKELY_CHANGE = 0.3
"""By how much the logarithm of trials' times may change over a study, before its trials tell."""
MOST_CHANGE = 0.3
"""The most that it is taken to change from a known trial to one to come."""
FEW = 2
"""Reports from which on a trial's pace is known."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial has used of its slot, until it ended or until now."""

    seconds: float
    """That it has computed, over all its attempts."""
    iterations: float = 0.0
    """As the budget counts them."""
    reports: float = 0.0
    ended: bool = True
    by_itself: bool = True
    """It was not stopped."""
    failed: bool = False
    """In a way that the budget counts."""
    number: int = 0
    """Of the trial; of an earlier study's, 0: none of those is newer than another."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Trials drawn from what is known: for each, how long it takes, and which trial it is like."""

    seconds: Numbers
    like: Indices
    """Index among the trials that are known."""
    iterations: Numbers
    numbers: Numbers
    """Of the trials whose time each has."""


class World:
    """One way in which the trials to come may be, as far as what is known allows: see `Known.world`."""

    def __init__(self, known: Known, weights: Numbers, rng: np.random.Generator) -> None:
        self._pace = math.exp(rng.normal(0.0, known.doubt))
        self._slope = rng.normal(known.slope, known.slope_sd)
        self._known = known
        self._rng = rng
        self._mass = masses(known.places, known.has_ended, weights)
        self._reach = np.cumsum(self._mass)
        # Of trials longer than all that have ended nothing is known but the running ones.
        tail = np.where(known.has_ended, 0.0, weights)
        self._tail = np.cumsum(tail) / tail.sum() if tail.any() else None
        told = np.where(known.reports >= FEW, weights, 0.0)
        self._told = np.concatenate(([0.0], np.cumsum(told)))
        total = float((weights * known.places).sum())
        self._mean = total / max(1e-9, float(weights[known.has_ended].sum()))

    def draw(self, count: int, ahead: float = 0.0, step: float = 1.0) -> Draws:
        """Trials that have not begun.

        Args:
            ahead: how many trials come before the first of them.
            step: how many trials one is from the next.
        """
        drawn = self._after(np.zeros(count), None)
        numbers = self._known.newest + 1 + ahead + step * np.arange(count)
        change = np.clip(self._slope * (numbers - drawn.numbers), -MOST_CHANGE, MOST_CHANGE)
        seconds = drawn.seconds * self._pace * np.exp(change)
        limit = self._known.limit_s
        return replace(drawn, seconds=seconds if limit is None else np.minimum(seconds, limit))

    def rest(self, trial: Trial) -> tuple[float, int, float]:
        """Seconds until a running trial ends, the known trial that it ends like, and its iterations then."""
        known = self._known
        if known.iterative and trial.reports >= FEW:
            pace = trial.seconds / max(trial.iterations, _BEFORE_FIRST)
            drawn = self._after(np.array([trial.iterations]), pace)
        elif known.iterative:
            drawn = self._longer_than(trial.seconds)
        else:
            drawn = self._after(np.array([trial.seconds]), None)
        left = max(0.0, float(drawn.seconds[0]) - trial.seconds)
        return left, int(drawn.like[0]), float(drawn.iterations[0])

    def _longer_than(self, seconds: float) -> Draws:
        """A trial that takes longer than that; it has not reported its pace."""
        drawn = self.draw(32)
        longer = np.flatnonzero(drawn.seconds > seconds)
        at = int(longer[0]) if len(longer) else int(np.argmax(drawn.seconds))
        pick = slice(at, at + 1)
        return Draws(
            seconds=np.maximum(drawn.seconds[pick], seconds),
            like=drawn.like[pick],
            iterations=drawn.iterations[pick],
            numbers=drawn.numbers[pick],
        )

    def _after(self, places: Numbers, pace: float | None) -> Draws:
        """Trials that end after these places.

        Args:
            pace: seconds for an iteration; None for that of the trial that each is like.
        """
        known, rng = self._known, self._rng
        begun = np.where(places > 0, self._reach_at(np.searchsorted(known.places, places, side="right")), 0.0)
        point = begun + rng.random(len(places)) * (1.0 - begun)
        like = np.searchsorted(self._reach, point, side="right")
        is_tail = like >= len(known.places)
        like = np.minimum(like, len(known.places) - 1)
        ends = known.places[like].copy()
        if is_tail.any():
            if self._tail is not None:
                count = int(is_tail.sum())
                among = np.searchsorted(self._tail, rng.random(count), side="right")
                like[is_tail] = np.minimum(among, len(known.places) - 1)
            ends[is_tail] = self._beyond(places[is_tail])
        ends = np.maximum(ends, places)
        if known.iterative:
            timed = self._timed(like, ends) if pace is None else like
            paces = known.paces[timed] if pace is None else pace
            return Draws(seconds=ends * paces, like=like, iterations=ends, numbers=known.numbers[timed])
        seconds = ends if known.limit is None else np.minimum(ends, known.limit)
        return Draws(
            seconds=seconds, like=like, iterations=known.iterations[like], numbers=known.numbers[like]
        )

    def _timed(self, like: Indices, ends: Numbers) -> Indices:
        """Trials whose pace these have: any that came about as far, whether it has ended or runs.

        The newest that have ended are the fast ones; and a short trial's pace is that of its start.
        """
        known, told = self._known, self._told
        first = np.searchsorted(known.places, ends / 2, side="left")
        last = np.searchsorted(known.places, ends * 2, side="right")
        low, high = told[first], told[last]
        point = low + self._rng.random(len(like)) * (high - low)
        any_ones = np.minimum(np.searchsorted(told[1:], point, side="right"), len(known.paces) - 1)
        return np.asarray(np.where((known.reports[like] >= FEW) & (high > low), any_ones, like))

    def _reach_at(self, index: Indices) -> Numbers:
        return np.where(index > 0, self._reach[np.maximum(index - 1, 0)], 0.0)

    def _beyond(self, places: Numbers) -> Numbers:
        """Where trials end that outlast all that have ended: at their last iteration, or some time later."""
        known = self._known
        if known.iterative and known.limit is not None:
            return np.full(len(places), known.limit)
        last = float(known.places[-1])
        return np.maximum(last, places) + self._rng.exponential(self._mean, len(places))


class Known:
    """What is known of the trials of a study.

    Args:
        trials: ended and running ones; at least one, and one that has ended or has reported twice.
        max_iterations: that a trial may report; None where there is no such limit.
        limit_s: seconds that one may take; None for no limit.
        horizon: about how many trials the study has in all.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        max_iterations: float | None,
        limit_s: float | None,
        horizon: float = 0.0,
    ) -> None:
        told = [trial for trial in trials if trial.ended or trial.reports >= FEW]
        reporting = sum(trial.reports >= FEW for trial in told)
        self.iterative = max_iterations is not None and reporting * 2 >= len(told) > 0
        self.limit_s = limit_s
        self.limit = max_iterations if self.iterative else limit_s
        if self.iterative:
            # A running one without a pace says nothing of iterations.
            trials = told
        # Of two at the same place, the one that runs was still there when the other ended.
        self.trials = sorted(trials, key=lambda trial: (self._place(trial), not trial.ended))
        self.places = np.array([self._place(trial) for trial in self.trials])
        self.has_ended = np.array([trial.ended for trial in self.trials], dtype=bool)
        seconds = np.array([trial.seconds for trial in self.trials])
        self.iterations = np.array([float(trial.iterations) for trial in self.trials])
        self.reports = np.array([trial.reports for trial in self.trials])
        self.failed = np.array([float(trial.failed) for trial in self.trials])
        self.paces = seconds / np.maximum(self.iterations, _BEFORE_FIRST)
        self.newness = self._newness()
        self.newest = max((trial.number for trial in self.trials), default=0)
        is_own = self.newest > 0 and self.has_ended.sum() >= FEWEST_ALIKE
        self.doubt = LEAST_DOUBT if is_own else MOST_DOUBT
        self.numbers = np.array([float(trial.number) for trial in self.trials])
        self.slope, self.slope_sd = self._slope(horizon)

    def _newness(self) -> Numbers:
        """What each trial counts: a sampler that learns makes the newest ones more like those to come."""
        numbers = np.array([float(trial.number) for trial in self.trials])
        life = max(FEWEST_ALIKE, len(numbers) * ALIKE)
        return np.asarray(0.5 ** ((numbers.max(initial=0.0) - numbers) / life))

    def _slope(self, horizon: float) -> tuple[float, float]:
        """How the logarithm of trials' times changes from trial to trial: its mean and standard deviation.

        A straight line with the prior that the whole study's change is about `LIKELY_CHANGE`, either way.
        """
        prior = (max(1.0, horizon) / LIKELY_CHANGE) ** 2
        numbers = np.array([trial.number for trial in self.trials], dtype=float)
        running = int((~self.has_ended).sum())
        if self.iterative:
            told = self.reports >= FEW
        else:
            # Of the newest, those that have ended are the short ones.
            told = self.has_ended & (numbers <= numbers.max(initial=0.0) - 3 * running)
        if not self.newest:
            return 0.0, 0.0
        if told.sum() < FEWEST_ALIKE:
            return 0.0, prior**-0.5
        x = numbers[told] - numbers[told].mean()
        y = np.log(np.maximum(1e-9, self.paces[told] if self.iterative else self.places[told]))
        y = y - y.mean()
        if self.iterative:
            # A short trial is slow for its iterations, whenever it ran.
            length = np.log(self.places[told])
            length = length - length.mean()
            if (size := float(length @ length)) > 0:
                x, y = x - (x @ length) / size * length, y - (y @ length) / size * length
        across = float(x @ x)
        fit = float(x @ y) / across if across else 0.0
        noise = max(1e-6, float(((y - fit * x) ** 2).sum()) / (len(x) - 2))
        precision = across / noise + prior
        return across / noise * fit / precision, precision**-0.5

    def _place(self, trial: Trial) -> float:
        return max(trial.iterations, _BEFORE_FIRST) if self.iterative else trial.seconds

    @property
    def suffices(self) -> bool:
        """Whether a forecast can rest on it."""
        return bool(self.has_ended.any() or (self.iterative and len(self.trials)))

    def world(self, rng: np.random.Generator) -> World:
        """Other weights for the known trials (the Bayesian bootstrap): few leave many worlds possible.

        Besides, trials may become longer or shorter as they have done until now.
        """
        weights = self.newness * rng.exponential(size=len(self.trials))
        return World(self, weights, rng)


def masses(places: Numbers, has_ended: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """The product-limit estimate of where trials end: the share of each, by rising place.

    What is missing to 1 belongs to those that outlast all that have ended.

    Args:
        places: rising; where each ended, or how far it has come.
        weights: what each counts.
    """
    at_risk = np.cumsum(weights[::-1])[::-1]
    hazard = np.where(has_ended, weights / at_risk, 0.0)
    survival = np.cumprod(1.0 - hazard)
    before = np.concatenate(([1.0], survival[:-1]))
    return before * hazard
