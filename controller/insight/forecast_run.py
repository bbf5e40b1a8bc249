"""Simulates the rest of a study: its own budget decides what is launched, and what ends it."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np

from controller.insight.forecast_trials import FEW, Indices, Known, Numbers, Trial
from controller.loop.budget import Budget, Verdict

MOST_SLOTS = 48
"""Slots that are simulated; of more, each stands for several, and the study is so many times smaller."""
ONE_BY_ONE = 144
"""Trials, the last ones, that are simulated one by one; before, each slot runs several as one step."""
LEAST_TURNS, MOST_TURNS = 3, 8
"""Trials, the last ones of each slot, that are simulated one by one whatever the number of slots."""
MOST_STEPS = 8_000
"""Steps of all simulations together, which bounds what a forecast costs."""
MOST_WORLDS, FEWEST_WORLDS = 100, 20
SEED = 19
FOREVER_S = 100 * 365 * 86_400.0
"""What has not ended by then never does."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a study; None for no limit. Times are in seconds."""

    trials: float | None = None
    iterations: float | None = None
    """Of all trials together."""
    max_iterations: int | None = None
    """Of one trial."""
    compute_s: float | None = None
    wall_clock_s: float | None = None
    failures: float | None = None
    concurrent: int | None = None
    time_per_trial_s: float | None = None

    @property
    def has_end(self) -> bool:
        return any(
            one is not None for one in (self.trials, self.iterations, self.compute_s, self.wall_clock_s)
        )


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a study has used, its open trials included, as its budget counts it."""

    trials: float = 0.0
    iterations: float = 0.0
    compute_s: float = 0.0
    wall_clock_s: float = 0.0
    failures: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A study at one moment: all that a forecast rests on."""

    limits: Limits
    used: Used = field(default_factory=Used)
    ended: tuple[Trial, ...] = ()
    """Those that are known, of this study or of earlier ones."""
    running: tuple[Trial, ...] = ()
    queued: int = 0
    """Launched, and not begun."""
    slots: int = 1
    gaps_s: tuple[float, ...] = ()
    """From the end of a trial to the start of the next one on its slot, of those that are known."""

    @property
    def at_once(self) -> int:
        """How many trials run at once, as slots and budget allow."""
        return max(1, min(self.slots, self.limits.concurrent or self.slots))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one simulation ended."""

    seconds: float
    """From now."""
    compute_s: float
    """Of all trials from now on, over all slots."""
    trials: float
    """Created from now on."""
    reason: str


def outcomes(situation: Situation) -> list[Outcome]:
    """Ends of a study, simulated, the same for the same situation; none where too little is known.

    At most `MOST_WORLDS`, of which each takes a few hundred steps, whatever the study's size.
    """
    limits = situation.limits
    known = Known(
        (*situation.ended, *situation.running),
        limits.max_iterations,
        limits.time_per_trial_s,
        _horizon(situation),
    )
    if not known.suffices or not limits.has_end:
        return []
    worlds = _worlds(situation, known)
    seeds = np.random.SeedSequence(SEED).spawn(worlds)
    charges = _charges(_budget_of(situation, 1), known)
    return [_Run(situation, known, charges, np.random.default_rng(seed)).outcome() for seed in seeds]


def _horizon(situation: Situation) -> float:
    """About how many trials the study has in all."""
    limits, begun = situation.limits, situation.used.trials
    if limits.iterations is not None and limits.max_iterations:
        least = max(begun, limits.iterations / limits.max_iterations)
        used = situation.used.iterations
        return max(least, begun * limits.iterations / used) if used > 0 else least
    if limits.trials is not None:
        return limits.trials
    if limits.compute_s is not None and situation.used.compute_s > 0:
        return begun * max(1.0, limits.compute_s / situation.used.compute_s)
    return 2 * begun


def _worlds(situation: Situation, known: Known) -> int:
    rough = _left(situation, known)
    slots = min(MOST_SLOTS, situation.at_once)
    turns = rough / situation.at_once
    single = _single_turns(slots)
    steps = slots * (min(turns, single) + (single * math.log(turns / single) if turns > single else 0.0) + 1)
    return int(min(MOST_WORLDS, max(FEWEST_WORLDS, MOST_STEPS / steps)))


def _single_turns(slots: int) -> float:
    """Trials of each slot, the last ones, that are simulated one by one."""
    return max(LEAST_TURNS, min(MOST_TURNS, ONE_BY_ONE / slots))


def _left(situation: Situation, known: Known) -> float:
    """About how many trials are still to be launched."""
    limits, used = situation.limits, situation.used
    gap_s = float(np.mean(situation.gaps_s)) if situation.gaps_s else 0.0
    mean_s = max(1e-3, float(np.mean([trial.seconds for trial in known.trials])) + gap_s)
    found = [float(10**7)]
    if limits.trials is not None and limits.iterations is None:
        found.append(limits.trials - used.trials)
    if limits.iterations is not None:
        share = limits.max_iterations or 1
        used_each = max(1.0, min(share, float(np.mean([max(1, trial.iterations) for trial in known.trials]))))
        found.append((limits.iterations - used.iterations) / (used_each if known.iterative else share))
    failing = float(np.mean(known.failed))
    if limits.failures is not None and failing:
        found.append((limits.failures - used.failures) / failing)
    if limits.compute_s is not None:
        found.append((limits.compute_s - used.compute_s) / mean_s)
    if limits.wall_clock_s is not None:
        found.append((limits.wall_clock_s - used.wall_clock_s) * situation.at_once / mean_s)
    return max(0.0, min(found))


_GOES_ON = Verdict(ok=False, final=False, reason="all slots are busy")


class _Run:
    """One simulation. Each slot stands for `self._each` slots, and each trial for as many trials."""

    def __init__(
        self, situation: Situation, known: Known, charges: Numbers, rng: np.random.Generator
    ) -> None:
        self._situation = situation
        self._known = known
        self._rng = rng
        self._slots = min(MOST_SLOTS, situation.at_once)
        self._each = situation.at_once / self._slots
        self._world = known.world(rng)
        self._budget = _budget_of(situation, self._each)
        self._charges = charges
        self._left = _left(situation, known) / self._each
        self._queued = round(situation.queued / self._each)
        self._now = 0.0
        self._computed = 0.0
        self._created = 0.0
        self._number = 0
        gaps = np.array(situation.gaps_s or (0.0,))
        weights = rng.exponential(size=len(gaps))
        self._gap_s = float(np.average(gaps, weights=weights))
        self._gap_var = float(np.average((gaps - self._gap_s) ** 2, weights=weights))
        self._rate = 0.0
        """Seconds that are computed in one, on all slots: not the gaps."""
        self._heap: list[tuple[float, int, float, float, float]] = []
        """End, number, charged iterations, failed trials, and the share of its time that it computes."""
        self._stock: list[tuple[float, float, float]] = []

    def outcome(self) -> Outcome:
        self._begin()
        verdict = self._go()
        return Outcome(
            seconds=self._now,
            compute_s=self._computed * self._each,
            trials=self._created * self._each,
            reason=verdict.reason,
        )

    def _begin(self) -> None:
        running = list(self._situation.running)
        if self._each > 1:
            kept = self._rng.permutation(len(running))[: round(len(running) / self._each)]
            running = [running[index] for index in kept]
        for trial in running:
            left, like, iterations = self._world.rest(trial)
            limit = self._situation.limits.time_per_trial_s
            if limit is not None:
                left = min(left, max(0.0, limit - trial.seconds))
            charge = self._charge(np.array([like]), np.array([iterations]))
            self._open(left, float(charge[0]), float(self._known.failed[like]), 1.0)
            self._budget.iterations.update(str(self._number), trial.iterations)

    def _go(self) -> Verdict:
        while True:
            verdict = self._launch()
            if not self._heap or verdict.stop:
                return verdict
            self._step()

    def _launch(self) -> Verdict:
        """Launch what budget and slots allow; the verdict on the next one."""
        while True:
            free = self._slots - len(self._heap)
            if self._queued and free > 0 and not self._budget.exceeded():
                self._queued -= 1
                self._new(1)
                self._created -= 1  # it was there before
                continue
            if free <= 0:
                return self._budget.exceeded() or _GOES_ON
            room = self._budget.room()
            if not room:
                over = self._budget.exceeded()
                return over or (_GOES_ON if self._heap else self._budget.may_create())
            for _ in range(min(free, room)):
                self._new(self._grain())

    def _grain(self) -> int:
        """How many trials the next step of a slot has: fewer and fewer towards the end."""
        left = self._left - self._created
        if self._budget.jobs.limit is not None and self._budget.iterations.limit is None:
            left = min(left, self._budget.jobs.limit - self._budget.jobs.used)
        return max(1, int(left / (self._slots * _single_turns(self._slots))))

    def _new(self, count: int) -> None:
        if count == 1:
            seconds, charge, failed = self._next()
        else:
            drawn_ones = min(count, 256)
            times = count / drawn_ones
            drawn = self._world.draw(drawn_ones, self._created * self._each, times * self._each)
            seconds = float(drawn.seconds.sum()) * times
            charge = float(self._charge(drawn.like, drawn.iterations).sum()) * times
            failed = float(self._known.failed[drawn.like].sum()) * times
        self._open(seconds, charge, failed, float(count), self._gaps(count))
        self._created += count

    def _gaps(self, count: int) -> float:
        """Seconds between that many trials of a slot, together."""
        if self._gap_s <= 0 or self._gap_var <= 0:
            return self._gap_s * count
        return float(self._rng.gamma(count * self._gap_s**2 / self._gap_var, self._gap_var / self._gap_s))

    def _next(self) -> tuple[float, float, float]:
        """Seconds, charge and failures of the next of the trials that are drawn in advance."""
        if not self._stock:
            drawn = self._world.draw(32, self._created * self._each, self._each)
            charges = self._charge(drawn.like, drawn.iterations)
            failed = self._known.failed[drawn.like]
            self._stock = list(zip(drawn.seconds.tolist(), charges.tolist(), failed.tolist(), strict=True))
        return self._stock.pop()

    def _open(self, seconds: float, charge: float, failed: float, count: float, gap_s: float = 0.0) -> None:
        self._number += 1
        uid = str(self._number)
        self._budget.open_job(uid)
        if count > 1:
            self._budget.jobs.update(uid, count)
        rate = 1.0
        if count > 1:
            rate = seconds / max(1e-9, seconds + gap_s)
        else:
            self._computed -= gap_s  # which its slot computes nothing
        self._rate += rate
        heapq.heappush(self._heap, (self._now + gap_s + seconds, self._number, charge, failed, rate))

    def _charge(self, like: Indices, iterations: Numbers) -> Numbers:
        """Iterations that trials are charged: their own where they report, else their like's."""
        if not self._known.iterative:
            return self._charges[like]
        return np.where(self._known.reports[like] >= FEW, np.maximum(1.0, iterations), self._charges[like])

    def _step(self) -> None:
        """Go on to the next end of a trial, or to where a limit of time ends the study."""
        budget = self._budget
        end, number, charge, failed, rate = self._heap[0]
        budget.compute_time.update("simulated", self._computed / 60)
        until = min(end, FOREVER_S)
        if budget.wall_clock.limit is not None:
            until = min(until, (budget.wall_clock.limit * 60) - self._situation.used.wall_clock_s)
        if budget.compute_time.limit is not None:
            left = (budget.compute_time.limit - budget.compute_time.used) * 60
            until = min(until, self._now + left / max(1e-9, self._rate))
        until = max(until, self._now)
        self._computed += (until - self._now) * self._rate
        self._now = until
        budget.compute_time.update("simulated", self._computed / 60)
        if until < end:
            # The limit itself, without the rounding on the way to it.
            if budget.wall_clock.limit is not None:
                budget.wall_clock.update("study", (self._situation.used.wall_clock_s + until + 1e-6) / 60)
            budget.compute_time.update("simulated", (self._computed + 1e-6) / 60)
            if until >= FOREVER_S:
                budget.hopeless = "it would take longer than a hundred years"
            return
        heapq.heappop(self._heap)
        self._rate -= rate
        uid = str(number)
        budget.close_job(uid, iterations=charge, by_itself=True, reports=2)  # type: ignore[arg-type] # a mean
        budget.failures.update(uid, failed)


def _budget_of(situation: Situation, each: float) -> Budget:
    """The study's budget and what ended trials have used of it, for a study that is `each` times smaller."""
    limits, used = situation.limits, situation.used

    def part(value: float | None) -> float | None:
        return None if value is None else max(1e-9, value / each)

    budget = Budget(
        compute_time_limit=None if limits.compute_s is None else limits.compute_s / each / 60,
        max_iteration_per_job=limits.max_iterations,
        wall_clock_limit=None if limits.wall_clock_s is None else limits.wall_clock_s / 60,
        max_concurrent=None if limits.concurrent is None else math.ceil(limits.concurrent / each),
    )
    budget.jobs.limit = part(limits.trials)
    budget.iterations.limit = part(limits.iterations)
    budget.failures.limit = part(limits.failures)
    open_trials = len(situation.running) + situation.queued
    iterations = sum(trial.iterations for trial in situation.running)
    budget.jobs.update("before", (used.trials - open_trials) / each)
    budget.iterations.update("before", (used.iterations - iterations) / each)
    budget.compute_time.update("before", used.compute_s / each / 60)
    budget.failures.update("before", used.failures / each)
    budget.wall_clock.update("study", used.wall_clock_s / 60)
    return budget


def _charges(budget: Budget, known: Known) -> Numbers:
    """Iterations that each known trial is charged, by the budget's own rule."""
    rule = Budget(
        iterations_limit=budget.iterations.limit, max_iteration_per_job=budget.max_iteration_per_job
    )
    for place, trial in enumerate(known.trials):
        rule.open_job(str(place))
        rule.close_job(
            str(place),
            iterations=int(trial.iterations),
            by_itself=trial.by_itself,
            reports=int(trial.reports),
        )
    return np.array([rule.iterations.of(str(place)) for place in range(len(known.trials))])
