"""What the best trial may be worse than the optimum, by Optuna's terminator; the loop never waits for it."""

from __future__ import annotations

import heapq
import logging
import threading
from dataclasses import dataclass

import optuna
from optuna.study import StudyDirection
from optuna.terminator import RegretBoundEvaluator
from optuna.trial import FrozenTrial, TrialState

from controller.search.tried import COPIED
from worker.trials.storage import quietly

log = logging.getLogger(__name__)

FIRST = 20
"""Complete trials before the first estimate, as in Optuna's terminator."""
MOST = 150
"""Trials that an estimate rests on: its time grows with their third power."""
SHARE = 0.5
"""The best of them that Optuna's terminator takes."""
STEP, GROWTH = 5, 0.1
"""An estimate follows when so many trials have been completed since the last, or this share of all."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A bound that holds with high probability, if the values look like those of a Gaussian process."""

    regret: float
    trials: int
    """Complete trials at that time."""
    used: int
    """Of these, the ones that it rests on: the best."""


class RegretBound:
    """Estimates in a thread of its own, less and less often, so that a trial's cost stays the same.

    Used by the loop's thread only.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._evaluator = evaluator()
        self._thread: threading.Thread | None = None
        self._next = FIRST
        self._done: Estimate | None = None
        self.problem = ""
        """Why there is no estimate."""

    def look(self, complete: int) -> Estimate | None:
        """The newest estimate; begins another one when it is due.

        Args:
            complete: trials of the study that are complete.
        """
        is_busy = self._thread is not None and self._thread.is_alive()
        if complete >= self._next and not is_busy and not self.problem:
            self._next = complete + max(STEP, int(complete * GROWTH))
            trials = [
                trial
                for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
                if COPIED not in trial.user_attrs
            ]
            self._thread = threading.Thread(target=self._estimate, args=(trials,), name="regret", daemon=True)
            self._thread.start()
        return self._done

    def join(self, timeout_s: float) -> None:
        """Wait for the estimate that is being made."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _estimate(self, trials: list[FrozenTrial]) -> None:
        try:
            self._done = estimate(self._evaluator, trials, self._study.direction)
        except Exception as error:
            # A study must not end because its end can't be judged: a space without numbers, say.
            log.info("the regret was not estimated", exc_info=True)
            self.problem = f"{type(error).__name__}: {error}"


def evaluator() -> RegretBoundEvaluator:
    """Optuna's, for trials that are chosen already."""
    with quietly():  # experimental in Optuna 4, deprecated in 5
        return RegretBoundEvaluator(top_trials_ratio=1.0, min_n_trials=FIRST, seed=0)


def estimate(bound: RegretBoundEvaluator, trials: list[FrozenTrial], direction: StudyDirection) -> Estimate:
    """Optuna's bound on the regret of the best of these complete trials.

    Raises:
        ImportError: torch or scipy isn't installed.
        ValueError: they have no parameter in common.
    """
    sign = -1 if direction == StudyDirection.MAXIMIZE else 1
    most = min(MOST, max(FIRST, int(len(trials) * SHARE)))
    best = heapq.nsmallest(most, trials, key=lambda trial: sign * (trial.value or 0.0))
    return Estimate(regret=float(bound.evaluate(best, direction)), trials=len(trials), used=len(best))
