"""Failed trials of a study that goes on: said, run again once each, and what the budget counts of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from controller.loop.budget import Budget
from controller.loop.job import Job
from controller.loop.recovery import Recovery
from controller.search.parameters import Parameter, SweepParameter
from controller.search.samplers import make_sampler
from controller.search.search import Search
from controller.search.trial_cache import cached
from tests.loop_parts import LoopParts
from worker.protocol import Reason, Status, keys

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

FINITE: list[Parameter] = [
    SweepParameter("opt", CategoricalDistribution(["sgd", "adam"])),
    SweepParameter("lr", FloatDistribution(0.0, 0.2, step=0.1)),
]


# The search


def reopened(study: optuna.Study, sampler: str, **options: Any) -> Search:
    """The search as another controller opens it."""
    again = optuna.load_study(study_name=study.study_name, storage=study._storage)
    again.sampler = make_sampler(sampler, {}, 3, FINITE)
    return Search(cached(again), FINITE, **options)


def asked(search: Search, state: TrialState, most: int = 100) -> list[tuple[int, dict[str, Any]]]:
    """Ask and tell until nothing is left."""
    found = []
    while len(found) < most:
        new = search.ask()
        if new is None:
            break
        found.append((new.number, new.parameters))
        search.tell(new.number, state, [1.0] if state is TrialState.COMPLETE else None)
    search.flush()
    return found


def by_parameters(found: Sequence[tuple[int, dict[str, Any]]]) -> list[str]:
    return [str(sorted(parameters.items())) for _, parameters in found]


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid", "brute_force", "qmc", "nsgaii"])
def test_failed_configurations_come_again_once_each(tmp_path: Path, sampler: str) -> None:
    study = optuna.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/o.db")
    first = asked(reopened(study, sampler), TrialState.FAIL)
    assert len(first) == 6  # all of the space
    search = reopened(study, sampler)
    assert search.retried() == set()
    numbers = [number for number, _ in first]
    assert search.retry([*numbers, 77]) == set(numbers)  # somebody may have deleted that one
    # The controller is killed here, and the next one knows what is retried.
    search = reopened(study, sampler)
    assert search.retried() == set(numbers)
    second = asked(search, TrialState.COMPLETE)
    assert by_parameters(second) == by_parameters(first)
    assert search.exhausted
    assert reopened(study, sampler).retried() == set(numbers)
    assert asked(reopened(study, sampler), TrialState.COMPLETE) == []


def test_a_retry_that_was_cut_short_is_no_other_retry(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/o.db")
    search = reopened(study, "random")
    (failed, parameters) = asked(search, TrialState.FAIL, most=1)[0]
    search.retry([failed])
    for _ in range(2):  # the study is interrupted, twice
        retry = search.ask()
        assert retry is not None
        assert retry.parameters == parameters
        search.try_again(retry.number)
        search.tell(retry.number, TrialState.FAIL)
        search.flush()
        search = reopened(study, "random")
        assert search.retried() == {failed}
    retry = search.ask()
    assert retry is not None
    assert retry.parameters == parameters
    # It is asked for and never run: then nothing was retried.
    search.discard(retry.number)
    search.flush()
    assert reopened(study, "random").retried() == set()


def test_a_retry_that_ran_and_was_closed_as_not_run_stands_for_the_failed_one(tmp_path: Path) -> None:
    """As one that ended by a fault of its machine: it has failed itself, and is retried in its own right."""
    study = optuna.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/o.db")
    search = reopened(study, "random")
    (first, _) = asked(search, TrialState.FAIL, most=1)[0]
    search.retry([first])
    retry = search.ask()
    assert retry is not None
    search.keep_snapshot(retry.number, "{}")
    search.discard(retry.number)
    search.flush()
    assert reopened(study, "random").retried() == {first}


# The loop


def failed(parts: LoopParts, *values: float, reason: Reason = Reason.OBJECTIVE_ERROR) -> Job:
    job = parts.running()
    if values:
        parts.report(job, *values)
    parts.store.transitions.finish(
        job.task_id(),
        1,
        Status.FAILED,
        worker="w/0",
        reason_class=reason,
        reason="ValueError: bug",
        compute_s=60.0,
    )
    parts.tracker.refresh([job.task_id()])
    parts.tracker.monitor_due()
    parts.search.tell(job.trial, TrialState.FAIL)
    return job


def completed(parts: LoopParts, *values: float) -> Job:
    job = parts.ended(*values)
    parts.search.tell(job.trial, TrialState.COMPLETE, [values[-1]])
    return job


def next_controller(parts: LoopParts, budget: Budget, *, retry: bool) -> Recovery:
    """Has another controller adopt the study; its budget is `budget` from now on."""
    parts.observer.notes.clear()
    parts.state.running.clear()
    parts.state.ended.clear()
    context = replace(parts.context, budget=budget, settings=replace(parts.settings, retry_failed=retry))
    parts.tracker = type(parts.tracker)(context, parts.leases, lambda: None)
    recovery = Recovery(context, parts.monitor, parts.tracker, parts.progress)
    recovery.adopt_leftover()
    return recovery


def shown(budget: Budget) -> tuple[float, float, float]:
    return budget.jobs.used, budget.iterations.used, budget.failures.used


def test_what_has_failed_and_why_is_said(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    failed(parts)
    completed(parts, 2.0, 1.0)
    failed(parts)
    failed(parts, reason=Reason.OUT_OF_MEMORY)
    next_controller(parts, Budget(9), retry=False)
    assert parts.observer.notes == [
        "3 trials have failed: 2 × objective_error: ValueError: bug (trials 0, 2); "
        "1 × out_of_memory: ValueError: bug (trial 3); mend the cause, and --retry-failed runs them again "
        "(retry_failed=True in a program)"
    ]


def test_nothing_is_said_where_nothing_has_failed(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    completed(parts, 2.0, 1.0)
    next_controller(parts, Budget(9), retry=False)
    assert parts.observer.notes == []
    next_controller(parts, Budget(9), retry=True)
    assert parts.observer.notes == ["there is no failed trial to run again"]


def test_failed_ones_leave_the_budget_when_they_run_again(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    failed(parts, 3.0, 2.0)
    completed(parts, 3.0, 2.0, 1.0)
    failed(parts)
    budget = Budget(3, max_iteration_per_job=10, max_failures=2, compute_time_limit=100)
    next_controller(parts, budget, retry=False)
    assert shown(budget) == (3, 2 + 3 + 10, 2)
    assert budget.compute_time.used == pytest.approx(2, abs=0.1)
    assert budget.may_create().final  # max_failures
    budget = Budget(3, max_iteration_per_job=10, max_failures=2, compute_time_limit=100)
    next_controller(parts, budget, retry=True)
    assert shown(budget) == (1, 3, 0)
    assert budget.compute_time.used == pytest.approx(2, abs=0.1)  # time that was used is used
    assert budget.may_create().ok
    # Killed here, and started again, with or without the option: nothing is retried twice.
    for retry in (True, False):
        budget = Budget(3, max_iteration_per_job=10)
        next_controller(parts, budget, retry=retry)
        assert shown(budget) == (1, 3, 0)
    assert sum(trial.state is TrialState.WAITING for trial in parts.study.trials) == 2
    # The retries take the failed ones' places, and may fail in their turn.
    retries = [failed(parts), failed(parts)]
    assert [job.parameters for job in retries] == [parts.study.trials[number].params for number in (0, 2)]
    budget = Budget(3, max_iteration_per_job=10)
    next_controller(parts, budget, retry=False)
    assert shown(budget) == (3, 3 + 20, 2)
    assert "2 trials have failed" in parts.observer.notes[0]
    assert "trials 3, 4" in parts.observer.notes[0]
    budget = Budget(3, max_iteration_per_job=10)
    next_controller(parts, budget, retry=True)
    assert shown(budget) == (1, 3, 0)


def test_a_study_that_an_earlier_version_has_begun(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    failed(parts, 3.0, 2.0)
    completed(parts, 3.0, 2.0, 1.0)
    redis = parts.store.redis
    redis.hdel(keys.study("s"), "judged_from")
    for task_id in parts.store.studies.tasks("s"):
        redis.hdel(keys.task(task_id), "last_iteration")
    parts.progress.load()
    assert parts.progress.record is not None
    assert parts.progress.record.judged_from == 0
    for retry, used in ((False, (2, 5, 1)), (True, (1, 3, 0))):
        budget = Budget(3, max_iteration_per_job=10)
        next_controller(parts, budget, retry=retry)
        assert shown(budget) == used


def test_retries_wait_while_another_limit_ends_the_study(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    failed(parts)
    for limit, ok in ((1.0, False), (2.0, True)):  # one minute was computed, then the limit is raised
        budget = Budget(1, None, limit)
        next_controller(parts, budget, retry=True)
        assert budget.may_create().ok == ok
        assert [trial.state for trial in parts.study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_search_that_makes_its_own_jobs_can_not_run_them_again(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    failed(parts)
    parts.context = replace(parts.context, search=None)
    for retry in (True, False):
        budget = Budget(3)
        next_controller(parts, budget, retry=retry)
        assert shown(budget)[0] == 1
        assert any("can't be run again" in note for note in parts.observer.notes) == retry
