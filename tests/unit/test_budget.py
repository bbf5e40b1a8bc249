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


@pytest.mark.parametrize(
    ("by_itself", "reports", "used", "charged"),
    [
        # It ended by itself: with fewer than two reports it is not iterative.
        (True, 0, 0, 10),
        (True, 1, 1, 10),
        (True, 1, 7, 10),  # one report, numbered 7
        (True, 2, 2, 2),
        (True, 9, 9, 9),
        (True, 10, 10, 10),
        (True, 2, 10, 10),  # two reports, the second numbered 10
        # It was stopped: before its first report it has saved nothing.
        (False, 0, 0, 10),
        (False, 1, 1, 1),
        (False, 1, 9, 9),
        (False, 10, 10, 10),
    ],
)
def test_what_a_job_is_charged(by_itself: bool, reports: int, used: int, charged: int) -> None:
    budget = Budget(jobs_limit=2, max_iteration_per_job=10)
    budget.open_job("a")
    budget.close_job("a", iterations=used, reports=reports, by_itself=by_itself)
    assert budget.iterations.used == charged
    left = Budget(jobs_limit=2, max_iteration_per_job=10)
    left.open_job("a")
    left.close_job("a", iterations=used, reports=reports, by_itself=by_itself, counts=False)
    assert (left.iterations.used, left.jobs.used) == (0, 0)


@pytest.mark.parametrize(("limit", "charged"), [(None, 0), (5, 1)])
def test_a_job_without_a_share_is_charged_one_iteration_where_they_are_limited(
    limit: float | None, charged: int
) -> None:
    budget = Budget(None, limit)
    budget.open_job("a")
    budget.close_job("a", iterations=0, by_itself=True)
    assert budget.iterations.used == charged


def fail(budget: Budget, uid: str, iterations: int) -> None:
    budget.close_job(uid, iterations=iterations, by_itself=True)
    budget.failures.update(uid, 1)


@pytest.mark.parametrize("at_once", [1, 2, 3, 50])
@pytest.mark.parametrize("iterations", [0, 1, 2, 5, 10])
@pytest.mark.parametrize("jobs", [1, 4, 9])
@pytest.mark.parametrize("share", [10, None])
def test_as_many_jobs_fail_as_jobs_are_allowed(
    share: int | None, jobs: int, iterations: int, at_once: int
) -> None:
    budget = Budget(jobs_limit=jobs, max_iteration_per_job=share, max_concurrent=at_once)
    created = 0
    running: list[str] = []
    while created < 1000:
        while budget.may_create().ok:
            running.append(str(created))
            budget.open_job(running[-1])
            created += 1
        if not running:
            break
        fail(budget, running.pop(0), iterations)
    assert created == jobs
    assert budget.may_create().final


@pytest.mark.parametrize(("failed", "running", "ok", "final"), [
    (2, 0, True, False),
    (2, 1, False, False),  # what runs may fail, too
    (3, 0, False, True),
    (4, 0, False, True),
])  # fmt: skip
def test_no_job_is_created_that_could_be_one_failure_too_many(
    failed: int, running: int, ok: bool, final: bool
) -> None:
    budget = Budget(jobs_limit=3, max_iteration_per_job=10)
    for number in range(failed):
        budget.open_job(f"failed {number}")
        fail(budget, f"failed {number}", 2)
    for number in range(running):
        budget.open_job(f"running {number}")
    verdict = budget.may_create()
    assert (verdict.ok, verdict.final) == (ok, final)
    if not ok:
        assert "trials failed, as many as may run in all" in verdict.reason


@pytest.mark.parametrize("seed", range(40))
def test_whatever_becomes_of_jobs_the_budget_ends_and_holds(seed: int) -> None:
    chance = random.Random(seed)
    share, jobs = chance.randint(1, 8), chance.randint(1, 12)
    budget = Budget(jobs_limit=jobs, max_iteration_per_job=share, max_concurrent=chance.randint(1, 6))
    running: list[str] = []
    created = failed = used = 0
    while created < 10_000:
        while budget.may_create().ok:
            running.append(str(created))
            budget.open_job(running[-1])
            created += 1
        if not running:
            break
        uid = running.pop(chance.randrange(len(running)))
        iterations = chance.choice([0, 0, 1, 2, share])
        iterations = min(iterations, share)
        used += iterations
        if chance.random() < 0.5:
            fail(budget, uid, iterations)
            failed += 1
        else:
            budget.close_job(uid, iterations=iterations, by_itself=chance.random() < 0.5)
    assert failed <= jobs
    assert used <= budget.iterations.used <= share * jobs
    assert budget.may_create().final


def test_a_hopeless_study_fails_at_once() -> None:
    budget = Budget(jobs_limit=5, max_failures=1)
    budget.failures.update("a", 1)
    budget.hopeless = "all alike"
    verdict = budget.may_create()
    assert (verdict.final, verdict.stop, verdict.failed, verdict.reason) == (True, True, True, "all alike")


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


@pytest.mark.parametrize(
    ("limits", "running", "ended", "failed"),
    [
        ({"jobs_limit": 9}, 2, 3, 0),
        ({"jobs_limit": 9}, 0, 9, 0),
        ({"jobs_limit": 9, "max_concurrent": 4}, 3, 3, 0),
        ({"jobs_limit": 9, "max_concurrent": 4}, 4, 3, 0),
        ({"max_concurrent": 4}, 1, 30, 0),
        ({"jobs_limit": 6, "max_iteration_per_job": 10}, 2, 1, 0),
        ({"jobs_limit": 6, "max_iteration_per_job": 10}, 0, 5, 4),
        ({"jobs_limit": 6, "max_iteration_per_job": 10, "max_concurrent": 3}, 1, 1, 0),
        ({"jobs_limit": 5, "max_iteration_per_job": 7, "max_failures": 3}, 1, 3, 2),
        ({"jobs_limit": 5, "max_failures": 3}, 1, 3, 3),
    ],
)
def test_the_room_is_what_one_creation_after_the_other_would_find(
    limits: dict[str, int], running: int, ended: int, failed: int
) -> None:
    budget = Budget(**limits)
    for number in range(ended):
        budget.open_job(f"ended {number}")
        budget.close_job(f"ended {number}", iterations=3, by_itself=False)
    for number in range(running):
        budget.open_job(f"running {number}")
        budget.iterations.update(f"running {number}", number)
    for number in range(failed):
        budget.failures.update(f"ended {number}", 1)
    room, found = budget.room(), 0
    while budget.may_create().ok:
        budget.open_job(f"new {found}")
        found += 1
    assert room == found


@pytest.mark.parametrize("limits", [{}, {"iterations_limit": 5}])
def test_without_a_limit_there_is_room_for_one_at_least(limits: dict[str, int]) -> None:
    assert Budget(**limits).room() >= 1
