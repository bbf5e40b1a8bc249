"""What a forecast rests on, from a study's records: bounded, whatever the study's size."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from controller.insight.forecast import Forecast, Prices, foresee
from controller.insight.forecast_run import Limits, Situation, Used
from controller.insight.forecast_trials import Trial
from controller.loop.budget import Budget
from controller.results.limits import number_of
from controller.results.status import ENDED
from controller.results.study_data import StudyData
from worker.protocol import Reason, Status, Store, StudyRecord, TaskRecord
from worker.protocol.gpu_status import unpack
from worker.protocol.host import held, pause_left

NEWEST = 400
"""Trials, the newest, that a forecast rests on."""
MOST_OPEN = 1_000
"""Open trials that are read, those that were launched first."""
_CUT_SHORT = (Reason.USER, Reason.STUDY_STOPPED, Reason.COMPUTE_BUDGET)
"""Why a trial was stopped that would have gone on: that says how long it takes at least."""


def forecast_study(store: Store, name: str, slots: int | None = None) -> Forecast:
    """The forecast of a study in the store. The cost has a bound, whatever the study's size.

    Args:
        slots: that run its trials from now on; by default those that do now.

    Raises:
        BadInput: there is no such study.
    """
    study = store.studies.get(name)
    situation, gpus = read_situation(store, study)
    if slots is not None:
        situation = replace(situation, slots=slots)
    return _foresee(study, store.clock.now(), situation, gpus)


def forecast_data(data: StudyData) -> Forecast:
    """As `forecast_study`, of a study that has been read, or stands in a file."""
    return _foresee(data.study, data.at, situation_of(data), None)


def _foresee(study: StudyRecord, at: float, situation: Situation, gpus: float | None) -> Forecast:
    if study.state in ENDED:
        return Forecast(
            study=study.name, at=at, unknown=(f"nothing is left to foresee: it is {study.state}",)
        )
    prices = Prices.of_sweep(study.sweep, gpus)
    return foresee(study.name, at, situation, prices, rests_on(situation))


def rests_on(situation: Situation) -> str:
    """The trials that a forecast rests on, in words."""
    ended = sum(trial.ended for trial in situation.ended)
    return f"{ended} ended and {len(situation.running)} running trials"


def read_situation(store: Store, study: StudyRecord) -> tuple[Situation, float | None]:
    """How a study stands, and the GPUs of a trial as its workers show them; None if they don't."""
    now = store.clock.now()
    ids = dict.fromkeys(store.studies.newest(study.name, NEWEST))
    for status in (Status.QUEUED, Status.IN_PROGRESS):
        ids.update(dict.fromkeys(store.studies.oldest_in(study.name, status, MOST_OPEN)))
    records = [record for record in store.tasks.get_many(list(ids)) if record and record.study == study.name]
    registrations = [
        one
        for one in store.workers.list(study.queue)
        if not held(one) and not pause_left(one, now) and one.get("state") != "draining"
    ]
    slots = sum(int(one.get("slots", 0)) for one in registrations)
    gpus = sum(len(unpack(one.get("gpus", ""))) for one in registrations)
    situation = _situation(study, records, now, used_by(study.budget))
    if slots:
        # Where jobs wait, the other slots are busy with something else.
        at_once = max(1, len(situation.running)) if situation.queued else slots
        situation = replace(situation, slots=min(slots, max(at_once, len(situation.running))))
    return situation, gpus / slots if slots and gpus else None


def situation_of(data: StudyData, at: float | None = None) -> Situation:
    """How a study stands, or stood at a moment, if all of its trials are known.

    A trial that ran then is taken to have reported evenly over its time.
    """
    moment = data.at if at is None else at
    records = [task.record for task in data.tasks]
    if at is None:
        return _situation(data.study, records[-NEWEST:], moment, used_by(data.study.budget))
    then = [_as_of(record, moment) for record in records if record.created_at <= moment]
    used = _used_until(data.study, then, moment)
    return _situation(data.study, then[-NEWEST:], moment, used)


def _situation(study: StudyRecord, records: Sequence[TaskRecord], now: float, used: Used) -> Situation:
    begun = [record for record in records if record.started_at is not None]
    running = [_trial(record, now) for record in begun if record.status is Status.IN_PROGRESS]
    ended = [_trial(record, now) for record in begun if record.status.is_finished]
    at_once = _most_at_once(begun, now)
    limits = limits_of(study, records)
    return Situation(
        limits=limits,
        used=used,
        ended=tuple(ended),
        running=tuple(running),
        queued=sum(record.status is Status.QUEUED for record in records),
        slots=at_once or limits.concurrent or 1,
        gaps_s=_gaps_s(begun, at_once),
    )


def _trial(record: TaskRecord, now: float) -> Trial:
    is_running = record.status is Status.IN_PROGRESS
    begun = now if record.started_at is None else record.started_at
    ran = max(0.0, now - begun) if is_running else 0.0
    reason = record.reason_class
    return Trial(
        number=max(0, record.trial),
        seconds=record.compute_s + ran,
        iterations=record.used_iterations,
        reports=record.iterations,
        ended=not is_running and reason not in _CUT_SHORT,
        by_itself=record.status is not Status.STOPPED,
        failed=record.status is Status.FAILED and not (reason is not None and reason.is_machine_fault),
    )


def limits_of(study: StudyRecord, records: Sequence[TaskRecord] = ()) -> Limits:
    """The limits that a study has now."""
    said = [record.spec.max_iterations for record in records if record.spec.max_iterations]
    in_sweep = (study.sweep.get("budget") or {}).get("max_iterations")
    max_iterations = said[-1] if said else in_sweep if isinstance(in_sweep, int) else None
    minutes = {
        name: None if limit is None else limit * 60
        for name in ("compute_time", "wall_clock", "time_per_trial")
        for limit in [number_of(study.budget, name, "limit")]
    }
    concurrent = number_of(study.budget, "concurrent", "limit")
    return Limits(
        trials=number_of(study.budget, "jobs", "limit"),
        iterations=number_of(study.budget, "iterations", "limit"),
        max_iterations=max_iterations,
        compute_s=minutes["compute_time"],
        wall_clock_s=minutes["wall_clock"],
        failures=number_of(study.budget, "failures", "limit"),
        concurrent=None if concurrent is None else max(1, int(concurrent)),
        time_per_trial_s=minutes["time_per_trial"],
    )


def used_by(budget: Mapping[str, Any]) -> Used:
    """What a study's budget says that it has used."""

    def used(name: str) -> float:
        return number_of(budget, name, "used") or 0.0

    return Used(
        trials=used("jobs"),
        iterations=used("iterations"),
        compute_s=used("compute_time") * 60,
        wall_clock_s=used("wall_clock") * 60,
        failures=used("failures"),
    )


def _used_until(study: StudyRecord, records: Iterable[TaskRecord], moment: float) -> Used:
    """What these trials had used, by the budget's own rule."""
    records = list(records)
    limits = limits_of(study, records)
    budget = Budget(max_iteration_per_job=limits.max_iterations)
    budget.iterations.limit = limits.iterations
    compute_s = 0.0
    for record in records:
        trial = _trial(record, moment)
        compute_s += trial.seconds
        budget.open_job(record.id)
        budget.iterations.update(record.id, trial.iterations)
        if record.status.is_finished:
            budget.close_job(
                record.id,
                iterations=int(trial.iterations),
                by_itself=trial.by_itself,
                reports=int(trial.reports),
            )
            budget.failures.update(record.id, float(trial.failed))
    return Used(
        trials=budget.jobs.used,
        iterations=budget.iterations.used,
        compute_s=compute_s,
        wall_clock_s=max(0.0, moment - study.created_at),
        failures=budget.failures.used,
    )


def _as_of(record: TaskRecord, moment: float) -> TaskRecord:
    """A task as it stood at an earlier moment."""
    if record.started_at is None or record.started_at > moment:
        return replace(record, status=Status.QUEUED, started_at=None, ended_at=None, compute_s=0.0)
    if record.ended_at is None or record.ended_at <= moment:
        return record
    share = (moment - record.started_at) / max(1e-9, record.ended_at - record.started_at)
    return replace(
        record,
        status=Status.IN_PROGRESS,
        ended_at=None,
        compute_s=0.0,
        reason_class=None,
        iterations=int(record.iterations * share),
        last_iteration=int((record.last_iteration + 1) * share) - 1,
    )


def _most_at_once(records: Sequence[TaskRecord], now: float) -> int:
    """The most of these trials that ran at the same time."""
    changes = [(record.started_at or 0.0, 1) for record in records]
    changes += [(record.ended_at, -1) for record in records if record.ended_at is not None]
    most = running = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def _gaps_s(records: Sequence[TaskRecord], at_once: int) -> tuple[float, ...]:
    """From the end of each trial until the one that takes its place starts."""
    starts = sorted(record.started_at or 0.0 for record in records)
    ends = sorted(record.ended_at for record in records if record.ended_at is not None)
    gaps = [max(0.0, start - end) for start, end in zip(starts[at_once:], ends, strict=False)]
    if not gaps:
        return ()
    # A pause of the study is none of them.
    most = 10 * max(0.1, statistics.median(gaps))
    return tuple(min(gap, most) for gap in gaps)
