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
_IN_NEXT = 0.5
"""Iterations that a running trial has done since its last report."""
_LEAST_SHARE = 1e-9
"""Of trials, in place of none."""
NEWTON = 4
"""Steps of Newton's method."""
ALIKE = 0.5
"""After this share of the known trials, an older one counts half; but not before `FEWEST_ALIKE` trials."""
FEWEST_ALIKE = 8
LEAST_DOUBT, MOST_DOUBT = 0.06, 0.2
"""By how much the logarithm of all times may be wrong, where this study has trials, and where it has none."""
LIKELY_CHANGE = 0.3
"""By how much the logarithm of trials' times may change over a study, before its trials tell."""
MOST_CHANGE = 0.3
"""The most that it is taken to change from a known trial to one to come."""
LIKELY_SPREAD = 0.5
"""Of the logarithm of trials' times, before they tell."""
BEYOND = 0.5
"""By how many spreads the times that outlast all known ones do so, on average."""
LIKELY_PRUNING = 1.0
"""By how much the logarithm of the rate of early ends may change over a study, before its trials tell."""
MOST_PRUNING = 2.0
"""The most that it is taken to change from the known trials to one to come."""
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
        self._pruning = rng.normal(known.pruning, known.pruning_sd)
        self._center = float(np.average(known.numbers, weights=weights))
        self._mass = masses(known.places, known.has_ended, weights, self._early(known.numbers))
        self._reach = np.cumsum(self._mass)
        # Of trials longer than all that have ended nothing is known but the running ones.
        tail = np.where(known.has_ended, 0.0, weights)
        self._tail = np.cumsum(tail) / tail.sum() if tail.any() else None
        told = np.where(known.reports >= FEW, weights, 0.0)
        self._told = np.concatenate(([0.0], np.cumsum(told)))
        on_the_way = np.where(known.has_ended, 0.0, told) / np.maximum(_LEAST_SHARE, 1.0 - self._reach)
        self._on_the_way = np.concatenate(([0.0], np.cumsum(on_the_way)))

    def draw(self, count: int, ahead: float = 0.0, step: float = 1.0) -> Draws:
        """Trials that have not begun.

        Args:
            ahead: how many trials come before the first of them.
            step: how many trials one is from the next.
        """
        numbers = self._known.newest + 1.0 + ahead + step * np.arange(count, dtype=np.float64)
        drawn = self._after(np.zeros(count), None, numbers)
        change = np.clip(self._slope * (numbers - drawn.numbers), -MOST_CHANGE, MOST_CHANGE)
        # Between the known times lie others, and beyond the longest: a smoothed bootstrap, of the same mean.
        width = self._known.bandwidth
        change += self._rng.normal(-(width**2) / 2, width, count)
        seconds = drawn.seconds * self._pace * np.exp(change)
        limit = self._known.limit_s
        return replace(drawn, seconds=seconds if limit is None else np.minimum(seconds, limit))

    def rest(self, trial: Trial) -> tuple[float, int, float]:
        """Seconds until a running trial ends, the known trial that it ends like, and its iterations then."""
        known = self._known
        if known.iterative and trial.reports >= FEW:
            pace = trial.seconds / known.done(trial)
            drawn = self._after(np.array([float(trial.iterations)]), pace, np.array([float(trial.number)]))
        elif known.iterative:
            drawn = self._longer_than(trial.seconds)
        else:
            drawn = self._after(np.array([trial.seconds]), None, np.array([float(trial.number)]))
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

    def _early(self, numbers: Numbers) -> Numbers:
        """The logarithm of how many times the rate of early ends these trials have."""
        return np.clip(self._pruning * (numbers - self._center), -MOST_PRUNING, MOST_PRUNING)

    def _after(self, places: Numbers, pace: float | None, numbers: Numbers) -> Draws:
        """Trials of these numbers, which end after these places.

        Args:
            pace: seconds for an iteration; None for that of the trial that each is like.
        """
        known, rng = self._known, self._rng
        begun = np.where(places > 0, self._reach_at(np.searchsorted(known.places, places, side="right")), 0.0)
        # Proportional hazards: where the rate is r times as high, of S go on S**r.
        outlast = rng.random(len(places)) ** np.exp(-self._early(numbers))
        point = begun + (1.0 - outlast) * (1.0 - begun)
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
        """Trials whose pace these have: any that came about as far, or may yet.

        The newest that have ended are the fast ones, and so are the first to come far: one that runs counts
        by how likely it comes that far. Of those that ended early, the pace is that of their start.
        """
        known, told = self._known, self._told
        first = np.searchsorted(known.places, ends / 2, side="left")
        last = np.searchsorted(known.places, ends * 2, side="right")
        low, high = told[first], told[last]
        come = self._on_the_way[first] * (1.0 - self._reach_at(first))
        point = self._rng.random(len(like)) * (high - low + come) - come
        far = np.searchsorted(told[1:], low + point, side="right")
        share = -point / np.maximum(_LEAST_SHARE, come) * self._on_the_way[first]
        yet = np.searchsorted(self._on_the_way[1:], share, side="right")
        any_ones = np.minimum(np.where(point < 0, yet, far), len(known.paces) - 1)
        return np.asarray(np.where((known.reports[like] >= FEW) & (high - low + come > 0), any_ones, like))

    def _reach_at(self, index: Indices) -> Numbers:
        return np.where(index > 0, self._reach[np.maximum(index - 1, 0)], 0.0)

    def _beyond(self, places: Numbers) -> Numbers:
        """Where trials end that outlast all that have ended: at their last iteration, or some time later."""
        known = self._known
        if known.iterative and known.limit is not None:
            return np.full(len(places), known.limit)
        least = np.maximum(float(known.places[-1]), places)
        return least * np.exp(self._rng.exponential(BEYOND * known.spread, len(places)))


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
        self.paces = seconds / np.array([self.done(trial) for trial in self.trials])
        self.newness = self._newness()
        self.newest = max((trial.number for trial in self.trials), default=0)
        self.numbers = np.array([float(trial.number) for trial in self.trials])
        self.slope, self.slope_sd = self._slope(horizon)
        self.pruning, self.pruning_sd = self._pruning(horizon)
        self.spread, self.bandwidth = self._spread()
        is_own = self.newest > 0 and self.has_ended.sum() >= FEWEST_ALIKE
        # That of a log-normal mean besides what bootstraps know: few trials show none of the rare long ones.
        unseen = self.spread**2 / math.sqrt(2 * max(1, self.has_ended.sum()))
        self.doubt = math.hypot(LEAST_DOUBT, unseen) if is_own else MOST_DOUBT

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

    def _pruning(self, horizon: float) -> tuple[float, float]:
        """How the logarithm of the rate of early ends changes from trial to trial: mean and deviation.

        Cox's partial likelihood, with the prior that the whole study's change is about `LIKELY_PRUNING`,
        either way: pruning compares with ever more trials, and samplers learn.
        """
        if not self.newest or not self.iterative:
            return 0.0, 0.0
        prior = (max(1.0, horizon) / LIKELY_PRUNING) ** 2
        x = self.numbers - self.numbers.mean()
        early = self.has_ended if self.limit is None else self.has_ended & (self.places < self.limit)
        slope, precision = 0.0, prior
        for _ in range(NEWTON):
            risk = np.exp(np.clip(slope * x, -MOST_PRUNING, MOST_PRUNING))
            sums = [np.cumsum((risk * x**power)[::-1])[::-1][early] for power in range(3)]
            mean = sums[1] / sums[0]
            precision = float((sums[2] / sums[0] - mean**2).sum()) + prior
            slope += (float((x[early] - mean).sum()) - prior * slope) / precision
        return slope, precision**-0.5

    def _spread(self) -> tuple[float, float]:
        """Of the logarithm of trials' times: its deviation, and Silverman's width for smoothing it."""
        told = self.reports >= FEW if self.iterative else self.has_ended
        logs = np.log(np.maximum(1e-9, self.paces[told] if self.iterative else self.places[told]))
        count = len(logs)
        if count < FEW:
            return LIKELY_SPREAD, 0.0
        low, high = np.quantile(logs, [0.25, 0.75])
        spread = float(min(logs.std(), (high - low) / 1.34))
        # As if some more trials had shown the likely spread.
        likely = math.sqrt((count * spread**2 + FEW * LIKELY_SPREAD**2) / (count + FEW))
        return likely, 0.9 * spread * count**-0.2 if self.newest else 0.0

    def done(self, trial: Trial) -> float:
        """Iterations that a trial's time was for: one that runs is in the middle of its next."""
        return max(_BEFORE_FIRST, trial.iterations + (0.0 if trial.ended else _IN_NEXT))

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


def masses(
    places: Numbers, has_ended: NDArray[np.bool_], weights: Numbers, rates: Numbers | None = None
) -> Numbers:
    """The product-limit estimate of where trials end: the share of each, by rising place.

    What is missing to 1 belongs to those that outlast all that have ended.

    Args:
        places: rising; where each ended, or how far it has come.
        weights: what each counts.
        rates: the logarithm of how many times the rate each has of the one that is wanted (proportional
            hazards, by Kalbfleisch and Prentice); by default all have that one.
    """
    times = np.ones(len(places)) if rates is None else np.exp(rates)
    at_risk = np.cumsum((weights * times)[::-1])[::-1]
    stay = np.where(has_ended, np.maximum(0.0, 1.0 - weights * times / at_risk) ** (1.0 / times), 1.0)
    survival = np.cumprod(stay)
    before = np.concatenate(([1.0], survival[:-1]))
    return before * (1.0 - stay)
