from __future__ import annotations

import random

import pytest

from controller.loop.budget import Budget


@pytest.mark.parametrize(("used", "ok"), [(2, True), (3, False), (4, False)])
def test_jobs(used: int, ok: bool) -> None:
    budget = Budget(jobs_limit=3)
    for number in range(used):
        budget.open_job(str(number))
        budget.close_job(str(number), iterations=1, by_itself=True)
    verdict = budget.may_create()
    assert (verdict.ok, verdict.final) == (ok, not ok)


@pytest.mark.parametrize(("running", "ok"), [(1, True), (2, False), (3, False)])
def test_concurrency(running: int, ok: bool) -> None:
    budget = Budget(jobs_limit=9, max_concurrent=2)
    for number in range(running):
        budget.open_job(str(number))
    verdict = budget.may_create()
    assert (verdict.ok, verdict.final) == (ok, False)


@pytest.mark.parametrize("kind", ["compute_time", "wall_clock"])
@pytest.mark.parametrize(("used", "over"), [(9.0, False), (10.0, True), (11.0, True)])
def test_times(kind: str, used: float, over: bool) -> None:
    budget = Budget(compute_time_limit=10) if kind == "compute_time" else Budget(wall_clock_limit=10)
    getattr(budget, kind).update("a", used)
    verdict = budget.exceeded()
    assert (verdict is not None) == over
    if verdict:
        assert verdict.stop
        assert not verdict.failed
        assert "10 min" in verdict.reason


@pytest.mark.parametrize(("failed", "over"), [(1, False), (2, True), (3, True)])
def test_failures(failed: int, over: bool) -> None:
    budget = Budget(max_failures=2)
    for number in range(failed):
        budget.failures.update(str(number), 1)
    verdict = budget.exceeded()
    assert (verdict is not None and verdict.failed) == over


def test_a_field_counts_each_job_once() -> None:
    budget = Budget(compute_time_limit=10)
    budget.compute_time.update("a", 3)
    budget.compute_time.update("a", 4)
    budget.compute_time.update("b", 2)
    assert budget.compute_time.used == 6


def test_a_running_job_reserves_its_share() -> None:
    budget = Budget(jobs_limit=2, max_iteration_per_job=10)
    budget.open_job("a")
    budget.iterations.update("a", 4)
    assert (budget.iterations.used, budget.reserved) == (4, 6)
    assert budget.may_create().ok
    budget.open_job("b")
    verdict = budget.may_create()
    assert not verdict.ok
    assert not verdict.final  # what the two give back may suffice


def test_a_job_that_is_not_iterative_is_charged_a_full_share() -> None:
    budget = Budget(jobs_limit=2, max_iteration_per_job=10)
    for uid, iterations in (("a", 0), ("b", 1)):
        budget.open_job(uid)
        budget.close_job(uid, iterations=iterations, by_itself=True)
    assert budget.iterations.used == 20
    assert budget.may_create().final


def test_an_interrupted_job_costs_nothing() -> None:
    budget = Budget(jobs_limit=1, max_iteration_per_job=10)
    budget.open_job("a")
    budget.close_job("a", iterations=5, by_itself=False, counts=False)
    assert (budget.jobs.used, budget.iterations.used) == (0, 0)
    assert budget.may_create().ok


@pytest.mark.parametrize("seed", range(30))
def test_early_stopping_buys_more_jobs_and_the_sum_never_passes_the_limit(seed: int) -> None:
    chance = random.Random(seed)
    share, jobs = chance.randint(2, 20), chance.randint(1, 15)
    budget = Budget(jobs_limit=jobs, max_iteration_per_job=share, max_concurrent=chance.randint(1, 5))
    running: dict[str, int] = {}
    created = used = 0
    while True:
        while budget.may_create().ok:
            running[str(created)] = 0
            budget.open_job(str(created))
            created += 1
        if not running:
            break
        uid = chance.choice(list(running))
        running[uid] += 1
        budget.iterations.update(uid, running[uid])
        if running[uid] == share or chance.random() < 0.3:
            by_itself = running[uid] == share
            used += running.pop(uid)
            budget.close_job(uid, iterations=budget.iterations.of(uid), by_itself=by_itself)
        assert budget.iterations.used <= share * jobs
    assert used <= share * jobs
    assert created >= jobs
    assert share * jobs - used < share  # and nothing that would have sufficed for another job is left


def test_what_it_shows() -> None:
    budget = Budget(jobs_limit=5, max_iteration_per_job=2, compute_time_limit=60)
    budget.open_job("a")
    shown = budget.to_dict()
    assert shown["jobs"] == {"used": 1, "reserved": 0, "limit": 5.0, "unit": "jobs"}
    assert shown["iterations"] == {"used": 0, "reserved": 2.0, "limit": 10.0, "unit": "iterations"}
    assert shown["compute_time"] == {"used": 0, "reserved": 0, "limit": 60.0, "unit": "minutes"}
    assert shown["wall_clock"]["limit"] is None
