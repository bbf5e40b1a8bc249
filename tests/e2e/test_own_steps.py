"""Subclasses that do the steps by themselves, as ClearML's users write them: budgets and `stop` reach their jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from controller import GridSearch, HyperParameterOptimizer, Job, OptimizerOptuna, RandomSearch, SearchStrategy
from controller.search.parameters import DiscreteParameterRange
from tests.e2e.harness import wait_for
from tests.e2e.optimizing import Seen, base, optimizer, workplace
from worker.protocol import Reason


@pytest.fixture(autouse=True)
def place(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with workplace(tmp_path, redis_url, monkeypatch) as folder:
        yield folder


class Listed(SearchStrategy):
    """Keeps its jobs in lists with names that anybody may choose."""

    most = 2

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._jobs: list[Job] = []
        self._state = self._search = self._loop = self._requests = self._ranking = "mine"
        self._workers = self._settings = self._lease = self._backend = None
        self.refused = 0

    def process_step(self) -> bool:
        self._jobs = [job for job in self._jobs if not job.is_stopped()]
        while len(self._jobs) < self.most:
            job = self.helper_create_job(self._base_task_id, parameter_override={"General/x": 0.5})
            if not job.launch(self._execution_queue):
                self.refused += 1
                return True
            self._jobs.append(job)
        return True


class ByTheBook(SearchStrategy):
    """ClearML's own step, in its own words."""

    def process_step(self) -> bool:
        self._current_jobs = [job for job in self._current_jobs if not self.is_over(job)]
        pending = []
        for job in self._pending_jobs:
            if job.is_pending():
                pending.append(job)
            else:
                self.budget.jobs.update(job.task_id(), 1)
        self._pending_jobs = pending
        assert self._num_concurrent_workers is not None
        if self.total_max_jobs and self._num_jobs >= self.total_max_jobs:
            return bool(self._current_jobs)
        for _ in range(max(0, self._num_concurrent_workers - len(self._current_jobs))):
            job = self.create_job()
            if not job:
                break
            if not job.launch(self._execution_queue):
                continue
            self._num_jobs += 1
            self._current_jobs.append(job)
            self._pending_jobs.append(job)
        return bool(self._current_jobs)

    def is_over(self, job: Job) -> bool:
        if self.update_budget_per_job(job):
            job.abort()
            return True
        return job.is_stopped()

    def create_job(self) -> Job | None:
        return self.helper_create_job(self._base_task_id, parameter_override={"General/x": 0.25})


class Aside(SearchStrategy):
    """Makes its jobs without `helper_create_job`."""

    def process_step(self) -> bool:
        self._current_jobs = [job for job in self._current_jobs if not job.is_stopped()]
        if not self._current_jobs:
            job = Job(self._base_task_id, parameter_override={"General/x": 0.5})
            job.launch(self._execution_queue)
            self._current_jobs.append(job)
        return True


class Waiting(Listed):
    """Does not return until its job has ended."""

    most = 1

    def process_step(self) -> bool:
        return super().process_step() and all(job.wait(pool_period=0.05) for job in self._jobs)


class Answering(Aside):
    """Has its jobs nowhere but in its answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mine: list[Job] = []

    def process_step(self) -> bool:
        if not self.mine:
            self.mine.append(Job(self._base_task_id, parameter_override={"General/x": 0.5}))
            self.mine[0].launch(self._execution_queue)
        return True

    def get_running_jobs(self) -> list[Job]:
        return [job for job in self.mine if not job.is_stopped()]


def ended(strategy: Any) -> list[Reason | None]:
    return [job.record.reason_class for job in strategy.get_created_jobs_tasks().values()]


def assert_nothing_runs(strategy: Any) -> None:
    jobs = strategy.get_created_jobs_tasks().values()
    assert all(job.refresh().status.is_finished for job in jobs)


def hpo(cls: Any, function: str = "slow", **options: Any) -> HyperParameterOptimizer:
    return HyperParameterOptimizer(
        base(function),
        [DiscreteParameterRange("General/x", [0.25, 0.5])],
        "score",
        "v",
        "max",
        optimizer_class=cls,
        max_number_of_concurrent_tasks=2,
        observer=Seen(),
        lease_s=2.0,
        **options,
    )


@pytest.mark.parametrize(
    ("cls", "jobs"), [(Listed, 2), (ByTheBook, 2), (Aside, 1), (Answering, 1), (Waiting, 1)]
)
def test_stop_reaches_the_jobs_of_a_subclass(cls: Any, jobs: int) -> None:
    o = hpo(cls)
    o.start()
    wait_for(lambda: o.get_num_active_experiments() == jobs, "its jobs")
    wait_for(lambda: all(job.is_running() for job in o.optimizer.get_running_jobs()), "their start")
    o.stop(timeout=1)
    assert not o.is_running()
    assert o.optimizer.state == "stopped"
    assert ended(o.optimizer) == [Reason.STUDY_STOPPED] * jobs
    assert o.get_active_experiments() == []
    assert_nothing_runs(o.optimizer)


@pytest.mark.parametrize("cls", [Listed, ByTheBook, Aside, Waiting])
def test_time_limits_reach_the_jobs_of_a_subclass(cls: Any) -> None:
    o = hpo(cls, optimization_time_limit=1.0 / 60)
    o.start()
    assert o.wait(timeout=0.5)
    assert o.optimizer.reason == "optimization time limit reached"
    assert set(ended(o.optimizer)) == {Reason.TIME_LIMIT}
    assert_nothing_runs(o.optimizer)
    if cls is Waiting:  # the loop does not get to look at the budget
        return
    o = hpo(cls, compute_time_limit=0.6 / 60)
    o.start()
    assert o.wait(timeout=0.5)
    assert "compute-time limit" in o.optimizer.reason
    assert set(ended(o.optimizer)) == {Reason.COMPUTE_BUDGET}
    assert_nothing_runs(o.optimizer)


@pytest.mark.parametrize("cls", [Listed, ByTheBook, Waiting])
def test_no_job_beyond_the_budget(cls: Any) -> None:
    o = hpo(cls, "quick", total_max_jobs=3)
    o.start()
    assert o.wait(timeout=0.5)
    assert len(ended(o.optimizer)) == 3
    assert o.optimizer.budget.jobs.used == 3
    assert o.optimizer.state == "completed"
    assert len(o.get_top_experiments(9)) == 3


def test_iterations_and_failures_of_a_subclass_count() -> None:
    o = hpo(Listed, "steps", total_max_jobs=3, max_iteration_per_job=4)
    o.start()
    assert o.wait(timeout=0.5)
    assert o.optimizer.budget.iterations.used == 12
    assert ended(o.optimizer) == [Reason.ITERATION_LIMIT] * 3
    o = hpo(Listed, "fails", max_failures=3)
    o.start()
    assert o.wait(timeout=0.5)
    assert o.optimizer.state == "failed"
    assert 3 <= len(ended(o.optimizer)) <= 4


def test_a_step_that_ends_the_search_leaves_nothing_running() -> None:
    class Brief(Listed):
        def process_step(self) -> bool:
            super().process_step()
            return not all(job.is_running() for job in self._jobs)

    o = hpo(Brief)
    o.start()
    assert o.wait(timeout=0.5)
    assert (o.optimizer.state, o.optimizer.reason) == ("completed", "process_step has ended it")
    assert ended(o.optimizer) == [Reason.STUDY_STOPPED] * 2
    assert_nothing_runs(o.optimizer)


@pytest.mark.parametrize("cls", [OptimizerOptuna, GridSearch])
def test_trials_that_a_subclass_launches_are_told(cls: Any) -> None:
    class Mine(cls):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.jobs: list[Job] = []

        def process_step(self) -> bool:
            self.jobs = [job for job in self.jobs if self.monitor_job(job)]
            if not self.jobs:
                job = self.create_job()
                if job is not None and job.launch():
                    self.jobs.append(job)
            return True

    o = hpo(Mine, "quick", total_max_jobs=5)
    callbacks: list[float] = []
    o.start(job_complete_callback=lambda job, value, *more: callbacks.append(value))
    assert o.wait(timeout=0.5)
    assert sorted(callbacks) == [0.25, 0.5]
    states = [trial.state for trial in o.optimizer.optuna_study.trials if trial.values]  # type: ignore[attr-defined]
    assert states == [TrialState.COMPLETE] * 2
    assert "exhausted" in o.optimizer.reason or "created" in o.optimizer.reason


def test_a_step_of_ones_own_beside_ours() -> None:
    class More(RandomSearch):
        extra: Job | None = None

        def process_step(self) -> bool:
            if self.extra is None:
                self.extra = self.helper_create_job(self._base_task_id, {"General/x": 0.75}, tags=["extra"])
                self.extra.launch(self._execution_queue)
            return super().process_step()

    space = [DiscreteParameterRange("General/x", [0.25, 0.5])]
    strategy = optimizer("quick", cls=More, hyper_parameters=space, total_max_jobs=5)
    strategy.start()
    assert sorted(row["General/x"] for row in strategy.get_created_jobs_ids().values()) == [0.25, 0.5, 0.75]
    assert strategy.extra.is_completed()
    assert strategy.budget.running == 0


def test_pausing_a_subclass_launches_nothing() -> None:
    o = hpo(Listed, "quick")
    o.start()
    wait_for(lambda: len(ended(o.optimizer)) > 2, "jobs")
    o.optimizer._inside.requests.paused = True
    wait_for(lambda: o.get_num_active_experiments() == 0, "a pause")
    time.sleep(0.6)
    count = len(ended(o.optimizer))
    time.sleep(0.6)
    assert len(ended(o.optimizer)) == count
    o.optimizer._inside.requests.paused = False
    wait_for(lambda: len(ended(o.optimizer)) > count, "more jobs")
    o.stop()


def test_jobs_that_another_thread_launches_are_reached() -> None:
    class Threaded(Listed):
        def process_step(self) -> bool:
            if not self._jobs:
                thread = threading.Thread(target=super().process_step)
                thread.start()
                thread.join()
            return True

    o = hpo(Threaded)
    o.start()
    wait_for(lambda: o.get_num_active_experiments() == 2, "its jobs")
    o.stop()
    assert ended(o.optimizer) == [Reason.STUDY_STOPPED] * 2


def test_a_job_that_the_program_adds_is_one_of_the_search() -> None:
    o = hpo(OptimizerOptuna, "slow", total_max_jobs=2)
    o.start()
    wait_for(lambda: o.get_num_active_experiments() == 2, "its jobs")
    o.optimizer.budget.max_concurrent = 4
    added = o.optimizer.helper_create_job(o.base_task_id, parameter_override={"General/x": 0.75})
    assert added.launch(o.execution_queue) is False  # the budget allows two
    o.optimizer.budget.jobs.limit = 3
    assert added.launch(o.execution_queue) is True
    wait_for(lambda: added.task_id() in o.optimizer.get_created_jobs_ids(), "the added one")
    o.stop()
    assert added.refresh().reason_class is Reason.STUDY_STOPPED
    after = o.optimizer.helper_create_job(base("quick"), parameter_override={"General/x": 0.75})
    assert after.launch(o.execution_queue) is True
    assert after.wait(timeout=0.5, pool_period=0.05)
    assert after.is_completed()
