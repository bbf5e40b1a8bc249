"""The pruner decides as in Optuna's own loop, however the reports of a trial arrive."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from controller.loop.decisions import summary_of
from controller.loop.telling import Telling
from controller.search.samplers import make_pruner
from tests.loop_parts import STUDY, LoopParts
from worker.protocol import Reason, Status, Summary, keys
from worker.protocol.batch import Point
from worker.sdk.reporter import Reporter

NAN = math.nan
Curve = Sequence[tuple[int, float]]
PRUNERS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "none": (None, {}),
    "median": ("median", {"n_startup_trials": 2, "n_warmup_steps": 1}),
    "median in intervals": ("median", {"n_startup_trials": 1, "interval_steps": 3}),
    "percentile": ("percentile", {"percentile": 30.0, "n_startup_trials": 2}),
    "asha": ("asha", {"min_resource": 1, "reduction_factor": 3}),
    "asha auto": ("asha", {}),
    "hyperband": ("hyperband", {"min_resource": 1, "max_resource": 12, "reduction_factor": 3}),
    "threshold": ("threshold", {"upper": 0.9}),
    "patient": ("patient", {"patience": 2, "wrapped": {"type": "median", "n_startup_trials": 1}}),
    "wilcoxon": ("wilcoxon", {"n_startup_steps": 2}),
}


def curves() -> Iterator[Curve]:
    """What trials report: mostly better by the step, some with what programs do wrong."""
    rng = random.Random(5)
    for number in range(24):
        top = rng.uniform(0.1, 0.8)
        curve = [(step, top + 0.5 * 0.7**step + rng.gauss(0, 0.02)) for step in range(12)]
        if number % 8 == 3:
            curve[5:] = [(step, NAN) for step in range(5, 12)]
        elif number % 8 == 5:
            curve = [(3 * step, value) for step, value in curve]
        elif number % 8 == 6:
            curve[4] = (2, 9.9)
        elif number % 8 == 7:
            curve[3], curve[4] = curve[4], curve[3]
        elif number % 8 == 4:
            curve.reverse()
        yield curve


def shown(trials: Sequence[FrozenTrial]) -> list[Any]:
    rungs = [{k: v for k, v in t.system_attrs.items() if k.startswith("completed_rung")} for t in trials]
    return [
        (t.number, t.state.name, repr(sorted(t.intermediate_values.items())), repr(rung))
        for t, rung in zip(trials, rungs, strict=True)
    ]


@pytest.fixture(scope="module")
def optunas_own() -> dict[str, list[Any]]:
    """Pruner → the trials of Optuna's own loop."""
    found = {}
    for case, (name, options) in PRUNERS.items():
        study = optuna.create_study(
            study_name=STUDY, sampler=optuna.samplers.RandomSampler(seed=1), pruner=make_pruner(name, options)
        )
        given = curves()

        def objective(trial: optuna.Trial, given: Iterator[Curve] = given) -> float:
            trial.suggest_float("x", 0, 1)
            curve = next(given)
            for step, value in curve:
                trial.report(value, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return max(curve)[1]

        study.optimize(objective, n_trials=24)
        found[case] = shown(study.trials)
    return found


def run(parts: LoopParts, telling: Telling, curve: Curve, size: int, *, hears: bool) -> None:
    """One trial whose reports arrive `size` at a time; its program stops when it `hears` that it is to."""
    job = parts.running()
    reporter = Reporter(parts.store, job.record, lambda: 0.0)
    for start in range(0, len(curve), size):
        for step, value in curve[start : start + size]:
            reporter.add(Point(title="loss", series="", value=value, iteration=step, at=1.0))
        reporter.flush()
        if size < len(curve):
            loop_step(parts, telling)
        if hears and reporter.stop is None:
            reporter.renew()
        if hears and reporter.stop is not None:
            parts.finish(job, reporter.stop.reason_class.status, reporter.stop.reason_class)
            break
    else:
        value = reporter.summaries()["loss"].last
        if math.isfinite(value):
            parts.finish(job)
        else:
            parts.finish(job, Status.FAILED, Reason.INVALID_VALUE)
    loop_step(parts, telling)


def loop_step(parts: LoopParts, telling: Telling) -> None:
    changes = parts.monitor.read(0.5)
    parts.tracker.apply(changes)
    parts.tracker.monitor_due()
    telling.tell_reports(changes.points)
    telling.tell_ended()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::UserWarning")
@pytest.mark.parametrize("size", [1, 5, 99])
@pytest.mark.parametrize("case", PRUNERS)
def test_decisions_are_those_of_optunas_own_loop(
    redis_url: str, tmp_path: Path, optunas_own: dict[str, list[Any]], case: str, size: int
) -> None:
    name, options = PRUNERS[case]
    parts = LoopParts(redis_url, tmp_path, pruner=make_pruner(name, options), on_nan="ignore")
    telling = Telling(parts.context, parts.tracker, lambda job: None)
    for number, curve in enumerate(curves()):
        run(parts, telling, curve, size, hears=number % 2 == 0)
    assert shown(parts.study.trials) == optunas_own[case]
    # Ranking and pruner know the same value.
    for trial, record in zip(parts.study.trials, records(parts), strict=True):
        assert (record.status is Status.COMPLETED) == (trial.state.name == "COMPLETE")
        if trial.state.name == "PRUNED":
            assert record.reason_class is Reason.PRUNED
            summary = parts.store.reports.scalars([record.id])[0]["loss"]
            last = trial.intermediate_values[trial.last_step or 0]
            assert summary.last == last or (math.isnan(summary.last) and math.isnan(last))
    ranked = parts.store.ranking.best(STUDY, 99)
    values = {t: parts.store.reports.scalars([t])[0]["loss"].last for t in ranked}
    assert ranked == sorted(ranked, key=lambda task: (values[task], task))


def records(parts: LoopParts) -> list[Any]:
    found = parts.store.tasks.get_many(parts.store.studies.tasks(STUDY))
    return sorted((record for record in found if record), key=lambda record: record.trial)


@pytest.mark.parametrize(
    ("on_nan", "pruner", "expected"),
    [
        ("fail", None, ("failed", "invalid_value", "FAIL")),
        (None, None, ("failed", "invalid_value", "FAIL")),
        (None, "late", ("completed", None, "COMPLETE")),
        ("fail", "late", ("failed", "invalid_value", "FAIL")),
        (None, "asha", ("stopped", "pruned", "PRUNED")),
        ("prune", None, ("stopped", "pruned", "PRUNED")),
        ("ignore", None, ("completed", None, "COMPLETE")),
        ("fail", "threshold", ("stopped", "pruned", "PRUNED")),
        ("ignore", "threshold", ("stopped", "pruned", "PRUNED")),
        ("fail", "asha", ("stopped", "pruned", "PRUNED")),
    ],
)
@pytest.mark.parametrize("size", [1, 99])
def test_what_is_not_a_number(
    redis_url: str, tmp_path: Path, on_nan: str | None, pruner: str | None, expected: Any, size: int
) -> None:
    options = {"threshold": {"upper": 5.0}, "asha": {"min_resource": 1}, "late": {"min_resource": 9}}
    made = make_pruner("asha" if pruner == "late" else pruner, options.get(pruner or "", {}))
    parts = LoopParts(redis_url, tmp_path, pruner=made, on_nan=on_nan)
    telling = Telling(parts.context, parts.tracker, lambda job: None)
    run(parts, telling, [(0, 1.0), (1, NAN), (2, 0.5), (3, 0.4)], size, hears=True)
    (record,) = records(parts)
    reason = record.reason_class.value if record.reason_class else None
    assert (record.status.value, reason, parts.states()[0]) == expected
    if record.status is Status.COMPLETED:
        return
    if record.status is Status.FAILED:
        assert size == 1 or record.reason == "'loss' is not a number at iteration 1"
        assert parts.context.budget.failures.used == 1
    assert list(parts.study.trials[0].intermediate_values) == [0, 1]
    assert parts.store.ranking.best(STUDY, 9) == []


def test_a_decision_is_kept_over_a_restart(redis_url: str, tmp_path: Path) -> None:
    pruner = optuna.pruners.ThresholdPruner(upper=1.0)
    parts = LoopParts(redis_url, tmp_path, pruner=pruner)
    job = parts.running()
    parts.report(job, 0.1, 0.2)
    loop_step(parts, Telling(parts.context, parts.tracker, lambda job: None))
    parts.report(job, 5.0, 0.1, 0.1, first=2)
    # The controller dies before it has heard of these; the next one reads the record.
    other = Telling(parts.context, parts.tracker, lambda job: None)
    other.tell_recorded(job)
    stop = parts.store.tasks.get(job.task_id()).stop
    assert stop is not None
    assert (stop.reason_class, stop.iteration) == (Reason.PRUNED, 2)
    # And the one after that finds the decision made, and the program's end.
    job.update(parts.store.tasks.get(job.task_id()))
    parts.finish(job)
    third = Telling(parts.context, parts.tracker, lambda job: None)
    third.adopted = {job.task_id()}
    parts.tracker.refresh([job.task_id()])
    parts.tracker.monitor_due()
    third.tell_ended()
    assert parts.states() == ["PRUNED"]
    assert parts.study.trials[0].intermediate_values == {0: 0.1, 1: 0.2, 2: 5.0}
    assert parts.store.tasks.get(job.task_id()).status is Status.STOPPED
    assert parts.store.reports.scalars([job.task_id()])[0]["loss"].last == 5.0


def test_a_decision_that_redis_did_not_take_is_made_once_more(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path, pruner=optuna.pruners.ThresholdPruner(upper=1.0))
    telling = Telling(parts.context, parts.tracker, lambda job: None)
    job = parts.running()
    parts.report(job, 5.0, 0.1)
    changes = parts.monitor.read(0.5)
    parts.tracker.apply(changes)
    abort, parts.tracker.abort = parts.tracker.abort, _broken  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        telling.tell_reports(changes.points)
    parts.tracker.abort = abort  # type: ignore[method-assign]
    telling.tell_reports(changes.points)
    stop = parts.store.tasks.get(job.task_id()).stop
    assert stop is not None
    assert stop.iteration == 0
    assert parts.study.trials[0].intermediate_values == {0: 5.0}


def _broken(*given: Any) -> None:
    raise ConnectionError


def test_one_report_at_the_end_is_no_curve(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path, pruner=optuna.pruners.ThresholdPruner(upper=1.0))
    telling = Telling(parts.context, parts.tracker, lambda job: None)
    run(parts, telling, [(0, 5.0)], 99, hears=False)
    assert parts.states() == ["COMPLETE"]
    assert records(parts)[0].status is Status.COMPLETED


def test_a_worker_of_the_version_before_understands_the_request(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path, pruner=optuna.pruners.ThresholdPruner(upper=1.0))
    job = parts.running()
    parts.store.transitions.request_stop(job.task_id(), Reason.PRUNED, "given up at iteration 3", 3)
    stored = parts.store.redis.hgetall(keys.task(job.task_id()))
    assert stored["stop"] == '["pruned", "given up at iteration 3"]'
    assert stored["stop_at"] == "3"
    request = parts.store.transitions.renew(job.task_id(), 1, job.record.worker, 1.0)
    assert request is not None
    assert request.iteration == 3


def test_the_summary_of_what_counts() -> None:
    known = Summary.of("loss", "")
    for step, value in enumerate([3.0, 2.0, 1.0, 9.0]):
        known = known.add(value, step)
    cut = summary_of(known, {0: 3.0, 1: 2.0})
    assert cut is not None
    assert (cut.last, cut.min, cut.max, cut.last_iteration) == (2.0, 2.0, 3.0, 1)
    assert (cut.count, cut.iterations) == (4, 4)  # what was used stays used
    assert summary_of(None, {0: 1.0}) is None
    assert summary_of(known, {}) == known
