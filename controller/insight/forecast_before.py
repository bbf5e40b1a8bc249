"""The forecast of a study that has not begun: from earlier studies, or from times that a person states."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from controller.insight.forecast import Forecast, Prices, foresee
from controller.insight.forecast_reading import NEWEST, read_situation, situation_of
from controller.insight.forecast_run import Limits, Situation
from controller.insight.forecast_trials import Trial
from controller.results.study_data import StudyData
from controller.sweep import Sweep, parse_duration
from worker.protocol import Store
from worker.protocol.errors import BadInput, RecordError
from worker.protocol.host import held, pause_left

MOST_STUDIES = 5
"""Earlier studies that a forecast rests on, the newest."""
_STATED = 40
"""Trials that stand for stated times."""


def forecast_sweep(sweep: Sweep, known: Sequence[Trial], slots: int | None, rests_on: str) -> Forecast:
    """The forecast of a sweep.

    Args:
        slots: that run its trials; by default as many as the sweep allows.

    Raises:
        BadInput: nobody says how many trials run at once.
    """
    limits = _limits(sweep)
    if slots is None and limits.concurrent is None:
        raise BadInput(
            f"no worker serves queue {sweep.queue.name!r}, and [budget] has no max_concurrent: say how many "
            "trials run at once with --slots"
        )
    situation = Situation(limits=limits, ended=tuple(known), slots=slots or limits.concurrent or 1)
    prices = Prices.of_sweep(sweep.to_dict())
    return foresee(sweep.study.name, time.time(), situation, prices, rests_on)


def _limits(sweep: Sweep) -> Limits:
    budget = sweep.budget
    return Limits(
        trials=budget.max_trials,
        iterations=(
            budget.max_trials * budget.max_iterations if budget.max_trials and budget.max_iterations else None
        ),
        max_iterations=budget.max_iterations,
        compute_s=budget.total_compute_s,
        wall_clock_s=budget.wall_clock_s,
        failures=budget.max_failures,
        concurrent=budget.max_concurrent,
        time_per_trial_s=budget.time_per_trial_s,
    )


def stated(text: str, sweep: Sweep) -> list[Trial]:
    """Trials that take so long: one duration, or two of which four of five trials lie between.

    Raises:
        BadInput: it is neither.
    """
    ends = [parse_duration(part.strip()) for part in text.split("..")]
    if len(ends) > 2 or min(ends) <= 0 or ends[0] > ends[-1]:
        raise BadInput(f'--trial-time {text!r}: wants a time, or two as in "5m..20m", the shorter one first')
    low, high = np.log(ends[0]), np.log(ends[-1])
    # Evenly over a log-normal distribution, as times spread.
    normal = statistics.NormalDist()
    width = 2 * normal.inv_cdf(0.9)
    places = np.array([normal.inv_cdf((place + 0.5) / _STATED) / width for place in range(_STATED)])
    seconds = np.exp((low + high) / 2 + places * (high - low))
    iterations = sweep.budget.max_iterations or 0
    return [Trial(seconds=float(value), iterations=iterations, reports=iterations) for value in seconds]


def slots_of(store: Store, queue: str) -> int | None:
    """Slots of the workers that serve a queue now; None for none."""
    now = store.clock.now()
    found = [one for one in store.workers.list(queue) if not held(one) and not pause_left(one, now)]
    return sum(int(one.get("slots", 0)) for one in found) or None


def earlier_trials(store: Store, sweep: Sweep, names: Sequence[str]) -> tuple[list[Trial], list[str]]:
    """Trials of earlier studies, and the names of these.

    Args:
        names: of the studies; none for those with the sweep's objective.

    Raises:
        BadInput: no study has trials that say how long they take.
    """
    used, found = [], []
    for name in names or _alike(store, sweep):
        situation, _ = read_situation(store, store.studies.get(name))
        trials = _timeless((*situation.ended, *situation.running))
        if trials:
            used.append(name)
            found += trials
    if not any(trial.ended for trial in found):
        raise BadInput(
            f"no earlier study {'of these ' if names else 'with this objective '}has a trial that ended: "
            "say with --trial-time how long one takes, or with --like which study is alike"
        )
    return found, used


def trials_of(studies: Sequence[StudyData]) -> tuple[Trial, ...]:
    """The trials of studies that stand in files."""
    return tuple(trial for data in studies for trial in _timeless(situation_of(data).ended))


def _timeless(trials: Sequence[Trial]) -> list[Trial]:
    """None of an earlier study's trials is newer than another: its sampler is another one."""
    return [replace(trial, number=0) for trial in trials[-NEWEST:]]


def _alike(store: Store, sweep: Sweep) -> list[str]:
    wanted = sweep.to_dict()["objective"]
    found = []
    for name in store.studies.names():
        try:
            record = store.studies.find(name)
        except RecordError:
            continue
        if record is not None and record.sweep.get("objective") == wanted:
            found.append(name)
    return found[:MOST_STUDIES]
