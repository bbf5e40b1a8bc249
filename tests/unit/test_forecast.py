"""When a study ends and what it costs: the estimate of trials' times, the simulation, and what shows it."""

from __future__ import annotations

import datetime
import json
import random
import statistics
from dataclasses import replace
from typing import Any

import fakeredis
import numpy as np
import pytest
from scipy import stats

from controller.insight import forecast_run
from controller.insight.forecast import Prices, foresee
from controller.insight.forecast_before import forecast_sweep, stated
from controller.insight.forecast_reading import forecast_study, limits_of, read_situation, situation_of
from controller.insight.forecast_run import Limits, Outcome, Situation, Used, outcomes
from controller.insight.forecast_trials import Known, Trial, masses
from controller.insight.forecast_workers import deadline, suggestion
from controller.results.foreseen import FRESH_S, foreseen
from controller.results.status import describe_study
from controller.results.study_data import StudyData, TaskData
from controller.session.foreseeing import Foreseer
from controller.sweep import Sweep, parse_sweep
from tests.made_studies import make_study
from worker.protocol import Reason, Status, Store, StudyRecord, StudyState, TaskRecord, TaskSpec
from worker.protocol.errors import BadInput

NOW = 1_800_000_000.0


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


def ended(*seconds: float, iterations: int = 0, number: int = 0) -> tuple[Trial, ...]:
    return tuple(
        Trial(seconds=value, iterations=iterations, reports=iterations, number=number + place)
        for place, value in enumerate(seconds)
    )


def middle(found: list[Outcome]) -> float:
    return statistics.median(one.seconds for one in found)


def sweep(**sections: Any) -> Sweep:
    table: dict[str, Any] = {
        "study": {"name": "s", "metric": {"name": "loss", "goal": "minimize"}},
        "objective": {"function": "m:f"},
        "parameters": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "budget": {"max_trials": 10},
    }
    return parse_sweep({**table, **sections}, "sweep.toml")


# How long trials take


def test_the_estimate_is_scipys_kaplan_meier() -> None:
    draw = random.Random(3)
    seconds = sorted(draw.expovariate(1) for _ in range(40))
    over = [draw.random() < 0.7 for _ in seconds]
    ours = 1 - np.cumsum(masses(np.array(seconds), np.array(over), np.ones(40)))
    data = stats.CensoredData.right_censored(seconds, [not one for one in over])
    theirs = stats.ecdf(data).sf
    assert ours == pytest.approx(theirs.evaluate(seconds), abs=1e-12)


def test_running_trials_count_so_that_the_first_to_end_do_not_mislead() -> None:
    # Of eight that began at once, the two short ones have ended.
    first = ended(10, 12)
    running = tuple(Trial(seconds=60, ended=False, number=number) for number in range(2, 8))
    limits = Limits(trials=80)
    with_running = Situation(limits=limits, used=Used(trials=8), ended=first, running=running, slots=8)
    without = replace(with_running, used=Used(trials=2), running=())
    assert middle(outcomes(with_running)) > 3 * middle(outcomes(without))


def test_a_running_trial_that_reports_tells_how_long_trials_take_before_any_has_ended() -> None:
    # A quarter of its iterations in 100 s: 400 s in all.
    running = (Trial(seconds=100, iterations=25, reports=25, ended=False, number=1),)
    situation = Situation(limits=Limits(trials=1, iterations=100, max_iterations=100), used=Used(trials=1, iterations=25), running=running)  # fmt: skip
    assert middle(outcomes(situation)) == pytest.approx(300, rel=0.05)


def test_queued_trials_count_once() -> None:
    running = tuple(Trial(seconds=5, ended=False, number=number) for number in (4, 5))
    situation = Situation(
        limits=Limits(trials=20), used=Used(trials=7), ended=ended(10, 11, 12, 13), running=running, queued=1, slots=2
    )  # fmt: skip
    found = foresee("s", NOW, situation, Prices(), "")
    assert found.trials is not None
    assert (found.trials.low, found.trials.high) == (20, 20)


def test_what_is_not_known_is_named() -> None:
    running = (Trial(seconds=100, iterations=80, reports=80, ended=False),)
    situation = Situation(limits=Limits(trials=20), used=Used(trials=1), running=running)
    with pytest.raises(BadInput, match="without max_iterations 1 running ones don't say how far they are"):
        suggestion("s", situation, NOW + 60, NOW)
    with pytest.raises(BadInput, match="no budget ends the study"):
        suggestion("s", replace(situation, limits=Limits(), ended=ended(3)), NOW + 60, NOW)


def test_trials_that_grow_are_expected_to_grow_on() -> None:
    growing = ended(*(60 * 1.01**number for number in range(60)))
    shuffled = tuple(
        replace(trial, number=number) for number, trial in enumerate(random.Random(1).sample(growing, 60))
    )
    left = [
        middle(outcomes(Situation(limits=Limits(trials=120), used=Used(trials=60), ended=known)))
        for known in (growing, shuffled)
    ]
    assert left[0] > 1.3 * left[1]


def test_few_trials_leave_a_wide_interval_and_many_a_narrow_one() -> None:
    def width(count: int) -> float:
        draw = random.Random(5)
        known = ended(*(draw.lognormvariate(4, 0.5) for _ in range(count)))
        limits, used = Limits(trials=count + 400), Used(trials=count)
        found = [one.seconds for one in outcomes(Situation(limits=limits, used=used, ended=known, slots=4))]
        return float(np.quantile(found, 0.9) - np.quantile(found, 0.1)) / statistics.median(found)

    assert width(5) > 2 * width(200)


def test_more_and_more_pruning_is_seen_and_expected_to_go_on() -> None:
    draw = random.Random(2)
    pruned = [draw.random() < 0.1 + 0.7 * number / 150 for number in range(150)]

    def known(is_pruned: list[bool]) -> Known:
        trials = [
            Trial(
                seconds=10.0 if short else 100.0, iterations=10 if short else 100, reports=10, number=number
            )
            for number, short in enumerate(is_pruned, 1)
        ]
        return Known(trials, 100, None, 300)

    rising = known(pruned)
    steady = known(random.Random(1).sample(pruned, len(pruned)))
    assert rising.pruning > 3 * rising.pruning_sd
    assert abs(steady.pruning) < 2 * steady.pruning_sd
    later = rising.world(np.random.default_rng(1)).draw(2_000, ahead=50)
    assert (later.iterations < 100).mean() > np.mean(pruned) + 0.1


# What ends a study


def test_the_number_of_trials_ends_it_on_so_many_slots() -> None:
    situation = Situation(limits=Limits(trials=120), used=Used(trials=20), ended=ended(*[60.0] * 20), slots=5)
    found = outcomes(situation)
    assert middle(found) == pytest.approx(100 / 5 * 60, rel=0.1)
    assert {one.trials for one in found} == {100}
    assert middle(outcomes(replace(situation, limits=Limits(trials=120, concurrent=2)))) == pytest.approx(
        100 / 2 * 60, rel=0.1
    )


def test_iterations_that_pruning_gives_back_buy_more_trials() -> None:
    # Half of them stop at a tenth of 100 iterations.
    long, short = ended(*[100.0] * 20, iterations=100), ended(*[10.0] * 20, iterations=10)
    known = tuple(
        replace(one, number=2 * one.number + place, by_itself=not place)
        for place, ones in enumerate((long, short))
        for one in ones
    )
    limits = Limits(trials=100, iterations=10_000, max_iterations=100)
    found = outcomes(Situation(limits=limits, used=Used(trials=40, iterations=2_200), ended=known, slots=2))
    assert statistics.median(one.trials for one in found) == pytest.approx(7_800 / 55, rel=0.25)
    assert middle(found) == pytest.approx(7_800 / 2, rel=0.25)


def test_compute_time_and_wall_clock_end_it_exactly() -> None:
    known, used = ended(*[60.0] * 10), Used(trials=10, compute_s=600, wall_clock_s=300)
    by_compute = Situation(limits=Limits(compute_s=3_600), used=used, ended=known, slots=2)
    assert middle(outcomes(by_compute)) == pytest.approx(1_500, abs=1)
    by_clock = replace(by_compute, limits=Limits(wall_clock_s=1_000))
    assert {round(one.seconds) for one in outcomes(by_clock)} == {700}
    assert {one.reason.split(" limit")[0] for one in outcomes(by_clock)} == {"wall-clock"}


def test_failures_end_it_where_they_are_limited() -> None:
    known = tuple(replace(one, failed=number % 2 == 0) for number, one in enumerate(ended(*[60.0] * 20)))
    limits = Limits(trials=1_000, failures=20)
    found = outcomes(Situation(limits=limits, used=Used(trials=20, failures=10), ended=known))
    assert middle(found) == pytest.approx(20 * 60, rel=0.5)
    forecast = foresee(
        "s", NOW, Situation(limits=limits, used=Used(trials=20, failures=10), ended=known), Prices(), ""
    )
    assert forecast.ends_by == {"failures": 1.0}


@pytest.mark.parametrize(("trials", "slots"), [(1_000_000, 4), (100_000, 1_000), (200, 16)])
def test_the_cost_has_a_bound_whatever_the_size(
    trials: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    step = forecast_run._Run._step  # type: ignore[attr-defined]

    def counted(run: Any) -> None:
        nonlocal steps
        steps += 1
        step(run)

    monkeypatch.setattr(forecast_run._Run, "_step", counted)
    situation = Situation(limits=Limits(trials=trials), ended=ended(50, 60, 70), slots=slots)
    found = outcomes(situation)
    assert steps < 2 * forecast_run.MOST_STEPS
    assert middle(found) == pytest.approx(max(1.0, trials / slots) * 60, rel=0.3)


def test_what_is_not_known_is_said() -> None:
    nothing = foresee("s", NOW, Situation(limits=Limits(trials=5)), Prices(), "")
    assert nothing.left_s is None
    assert "none has ended yet" in nothing.unknown[0]
    endless = foresee("s", NOW, Situation(limits=Limits(), ended=ended(5)), Prices(), "")
    assert endless.unknown == ("the end: no budget ends the study",)


# What it costs


def test_hours_and_money_count_what_has_run_and_what_will() -> None:
    situation = Situation(
        limits=Limits(trials=20), used=Used(trials=10, compute_s=36_000), ended=ended(*[3_600.0] * 10)
    )
    found = foresee("s", NOW, situation, Prices(gpu_hour=2.5, gpus=2, currency="EUR"), "10 trials")
    assert found.slot_hours is not None
    assert found.slot_hours.median == pytest.approx(20, rel=0.1)
    assert found.money is not None
    assert found.money.median == pytest.approx(2.5 * 2 * found.slot_hours.median)
    assert [row["what"] for row in found.rows()] == [
        "time left", "ends at", "trials", "slot-hours", "GPU-hours", "cost EUR"
    ]  # fmt: skip
    json.dumps(found.as_dict(), allow_nan=False)
    without = foresee("s", NOW, situation, Prices(gpu_hour=2.5), "10 trials")
    assert without.money is None
    assert without.unknown == ("the cost: `[cost] gpus` says how many GPUs a trial has",)


def test_prices_stand_in_the_sweep_file() -> None:
    prices = Prices.of_sweep(sweep(cost={"gpu_hour": 2.5, "gpus": 2, "currency": "EUR"}).to_dict(), gpus=8)
    assert (prices.gpu_hour, prices.gpus, prices.currency) == (2.5, 2, "EUR")
    assert Prices.of_sweep(sweep().to_dict(), gpus=8).gpus == 8


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        ({"gpu_hour": -1}, "gpu_hour"),
        ({"gpu_hours": 1}, "gpu_hour"),
        ({"cpu_hour": 0.1}, "needs `cpus`"),
    ],
)
def test_bad_prices_are_refused(cost: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        sweep(cost=cost)


# Before a run


def test_a_sweep_is_foreseen_from_stated_times() -> None:
    found = forecast_sweep(sweep(), stated("5m..20m", sweep()), 2, "stated")
    assert found.left_s is not None
    assert 5 * 5 * 60 < found.left_s.low < found.left_s.median < found.left_s.high < 5 * 25 * 60
    exact = forecast_sweep(sweep(), stated("10m", sweep()), 2, "stated")
    assert exact.left_s is not None
    assert exact.left_s.median == pytest.approx(5 * 600, rel=0.1)


@pytest.mark.parametrize("text", ["5m..1m", "1..2..3", "0", "soon"])
def test_bad_stated_times_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        stated(text, sweep())


def test_a_sweep_needs_slots() -> None:
    with pytest.raises(BadInput, match="--slots"):
        forecast_sweep(sweep(), ended(5), None, "")


# From a study's records


def record(number: int, start: float, end: float | None, **changes: Any) -> TaskRecord:
    return replace(
        TaskRecord(
            id=f"{number:032x}", name="", study="s", trial=number, spec=TaskSpec(), created_at=start,
            queued_at=start, started_at=start, ended_at=end, compute_s=0.0 if end is None else end - start,
            status=Status.IN_PROGRESS if end is None else Status.COMPLETED,
        ),
        **changes,
    )  # fmt: skip


def study(**budget: float) -> StudyRecord:
    limits = {name: {"limit": value} for name, value in budget.items()}
    return StudyRecord(name="s", created_at=0.0, metrics=(), budget=limits)


def data_of(records: list[TaskRecord], **budget: float) -> StudyData:
    return StudyData(study=study(**budget), tasks=tuple(TaskData(record=one) for one in records), at=1e6)


def test_a_moment_of_a_study_knows_nothing_of_what_came_later() -> None:
    records = [record(0, 0, 50), record(1, 0, 90), record(2, 51, 99), record(3, 91, 200)]
    found = situation_of(data_of(records, jobs=4), 60.0)
    assert [trial.seconds for trial in found.ended] == [50]
    assert [trial.seconds for trial in found.running] == [60, 9]
    assert (found.slots, found.used.trials, found.used.compute_s, found.queued) == (2, 3, 119, 0)
    assert found.gaps_s == (1.0,)


def test_what_was_cut_short_says_how_long_a_trial_takes_at_least() -> None:
    records = [
        record(0, 0, 50),
        record(1, 0, 60, status=Status.STOPPED, reason_class=Reason.STUDY_STOPPED),
        record(2, 0, 70, status=Status.STOPPED, reason_class=Reason.PRUNED),
    ]
    found = situation_of(data_of(records, jobs=9), 80.0)
    assert [trial.ended for trial in found.ended] == [True, False, True]


def test_limits_of_older_records_may_lack_any_field() -> None:
    assert limits_of(replace(study(), budget={})) == Limits()
    assert limits_of(replace(study(), budget={"jobs": {"limit": None}, "concurrent": {}})).has_end is False


def test_the_forecast_of_a_large_study_reads_a_bounded_part_of_it(store: Store) -> None:
    make_study(store, "large", 900)
    running = replace(store.studies.get("large"), state=StudyState.RUNNING, budget={"jobs": {"used": 900, "limit": 1_000}})  # fmt: skip
    store.studies.save(running)
    situation, gpus = read_situation(store, running)
    assert (len(situation.ended), gpus) == (400, None)
    found = forecast_study(store, "large", slots=1)
    assert found.left_s is not None
    assert found.left_s.median == pytest.approx(100 * 10, rel=0.15)
    assert "400 ended and 0 running" in found.rests_on


def test_a_study_that_has_ended_has_no_forecast(store: Store) -> None:
    make_study(store, "over", 20)
    found = forecast_study(store, "over")
    assert found.unknown == ("nothing is left to foresee: it is completed",)


# What the record keeps, and who shows it


def test_the_controller_keeps_its_forecast_in_the_record_for_all_who_ask(store: Store) -> None:
    make_study(store, "kept", 50)
    store.studies.save(
        replace(
            store.studies.get("kept"),
            state=StudyState.RUNNING,
            ended_at=None,
            budget={"jobs": {"used": 50, "limit": 100}},
            sweep={"cost": {"slot_hour": 1.0, "currency": "EUR"}},
        )
    )
    foreseer = Foreseer(store, "kept", first_s=3600)
    foreseer.foresee()
    foreseer.stop()
    kept = store.studies.get("kept").forecast
    assert kept == foreseer.kept
    seen = foreseen(kept, kept["at"] + 100)
    assert seen is not None
    assert seen.left_s[1] == pytest.approx(kept["left_s"]["median"] - 100)
    assert foreseen(kept, kept["at"] + FRESH_S + 1) is None
    with store.redis.pipeline() as pipe:
        pipe.set("orq:study:kept:lock", "me").execute()
    status = describe_study(store, "kept")
    assert (
        status["forecast"]["left_s"]["low"] <= status["remaining_s"] <= status["forecast"]["left_s"]["high"]
    )
    assert "EUR" in status["forecast_text"]


def test_a_deleted_study_gets_no_record_from_its_forecast(store: Store) -> None:
    store.studies.keep_forecast("gone", {"at": 1})
    assert store.studies.find("gone") is None
    assert not store.redis.keys("*gone*")


@pytest.mark.parametrize(
    "kept",
    [{}, {"at": "x"}, {"at": NOW}, {"at": NOW, "left_s": 5}, {"at": NOW, "left_s": {"low": 1, "median": None, "high": 2}},
     {"at": True, "left_s": {"low": 1, "median": 1, "high": 2}}],
)  # fmt: skip
def test_an_odd_forecast_is_none(kept: dict[str, Any]) -> None:
    assert foreseen(kept, NOW) is None


# How many slots


def test_the_fewest_slots_that_end_in_time() -> None:
    situation = Situation(limits=Limits(trials=120), used=Used(trials=20), ended=ended(*[60.0] * 20), slots=1)
    found = suggestion("s", situation, NOW + 1_000, NOW)
    assert found.slots is not None
    assert 6 <= found.slots <= 9
    assert found.sure >= 0.8
    late = suggestion("s", replace(situation, limits=Limits(trials=120, concurrent=2)), NOW + 1_000, NOW)
    assert late.slots is None
    assert "max_concurrent is 2" in late.text


def test_a_deadline_is_a_time_of_day_a_duration_or_a_date() -> None:
    now = datetime.datetime(2026, 5, 1, 17, 0).timestamp()
    assert deadline("18:00", now) == now + 3600
    assert deadline("16:00", now) == now + 23 * 3600
    assert deadline("3h", now) == now + 3 * 3600
    assert deadline("2026-05-02 17:00", now) == now + 24 * 3600
    for text in ("soon", "2020-01-01 10:00"):
        with pytest.raises(BadInput, match="--by"):
            deadline(text, now)


def test_known_needs_a_trial_that_tells_something() -> None:
    assert not Known([], None, None).suffices
    assert not Known([Trial(seconds=5, ended=False)], None, None).suffices
    assert Known(ended(5), None, None).suffices
