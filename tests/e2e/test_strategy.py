"""`OptimizerOptuna` from Python: the seed's methods, over a real Redis and a real worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from controller import Job, Objective, OptimizerOptuna, UniformIntegerParameterRange, UniformParameterRange
from controller.loop.backend import Backend
from controller.loop.lease_monitor import LeaseMonitor
from controller.search.search import Search
from tests.e2e.harness import started, wait_for
from worker.protocol import Reason, Status, StudyRecord, TaskRecord, TaskSpec, new_task_id
from worker.trials.storage import open_storage

OBJECTIVE = """
import time
def train(task, lr, layers, seed=0):
    for i in range(3):
        task.report_scalar("accuracy per class", "cat", lr * (i + 1), i)
        task.report_scalar("accuracy per class", "deer", 0.5, i)
def slow(task, lr, layers):
    for i in range(600):
        task.report_scalar("accuracy per class", "cat", lr, i)
        time.sleep(0.05)
def dies(task, lr, layers):
    import os, psutil, signal
    os.kill(next(p for p in psutil.Process().parents() if os.getsid(p.pid) == p.pid).ppid(), signal.SIGKILL)
    time.sleep(60)
"""


@pytest.fixture
def backend(redis_url: str, tmp_path: Path) -> Iterator[Backend]:
    (tmp_path / "obj.py").write_text(OBJECTIVE)
    backend = Backend(redis_url, f"sqlite:///{tmp_path}/optuna.db", f"file://{tmp_path}/artifacts")
    with started("worker", "--slots", "2", cwd=tmp_path, log=tmp_path / "log", REDIS_URL=redis_url):
        wait_for(lambda: backend.store.workers.list("default"), "the worker")
        yield backend


def optimizer(
    backend: Backend, function: str = "train", cls: type[OptimizerOptuna] = OptimizerOptuna, **options: Any
) -> OptimizerOptuna:
    base = TaskRecord(
        id=new_task_id(),
        name="base",
        project="p",
        spec=TaskSpec(
            objective={"kind": "function", "target": f"obj:{function}"},
            parameters={"seed": 7} if function == "train" else {},
        ),
        created_at=time.time(),
    )
    backend.store.tasks.create(base)
    objective = Objective("accuracy per class", "cat", "max")
    parameters = [
        UniformParameterRange("General/lr", 0.1, 0.9),
        UniformIntegerParameterRange("General/layers", 1, 3),
    ]
    study = optuna.create_study(
        storage=open_storage(backend.storage_url),
        study_name="api",
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=1),
    )
    backend.store.studies.save(StudyRecord(name="api", created_at=time.time(), metrics=objective.metrics))
    settings: dict[str, Any] = {
        "num_concurrent_workers": 2,
        "max_iteration_per_job": None,
        "total_max_jobs": 5,
        **options,
    }
    return cls(
        base.id, parameters, objective, "default", backend=backend, study="api", search=Search(study, parameters), lease_s=2.0, **settings
    )  # fmt: skip


def test_the_seeds_methods(backend: Backend) -> None:
    strategy = optimizer(backend)
    strategy.set_job_naming_scheme(
        lambda base, arguments: f"{base} with {arguments['General/layers']} layers"
    )
    strategy.set_job_default_parent("f" * 32, project_name="elsewhere")
    strategy.start()
    created = strategy.get_created_jobs_ids()
    assert len(created) == 5
    assert all(set(parameters) == {"General/lr", "General/layers"} for parameters in created.values())
    jobs = strategy.get_created_jobs_tasks()
    assert set(jobs) == set(created)
    assert all(job.is_completed() and job.is_stopped() and not job.is_failed() for job in jobs.values())
    assert strategy.get_running_jobs() == []
    assert strategy.get_objective_metric() == ("accuracy per class", "cat")
    best = strategy.get_top_experiments(2)
    values = [task.get_last_scalar_metrics()["accuracy per class"]["cat"]["last"] for task in best]
    assert values == sorted(values, reverse=True)
    record = backend.store.tasks.get(best[0].id)
    assert (record.parent, record.project) == ("f" * 32, "elsewhere")
    assert record.name == f"base with {created[best[0].id]['General/layers']} layers"

    details = strategy.get_top_experiments_details(3)
    assert [row["task_id"] for row in details[:2]] == [task.id for task in best]
    assert set(details[0]["hyper_parameters"]) == {"General/lr", "General/layers"}
    assert details[0]["metrics"] == {
        "accuracy per class/cat": {
            "metric": "accuracy per class",
            "variant": "cat",
            "value": pytest.approx(values[0]),
            "min_value": pytest.approx(values[0] / 3),
            "max_value": pytest.approx(values[0]),
        }
    }
    everything = strategy.get_top_experiments_details(
        1, all_metrics=True, all_hyper_parameters=True, only_completed=True
    )[0]
    assert {"accuracy per class/cat", "accuracy per class/deer"} <= set(everything["metrics"])
    assert everything["hyper_parameters"]["General/seed"] == "7"
    pairs = strategy.get_top_experiments_id_metrics_pair(3)
    assert pairs == [(row["task_id"], row["metrics"]) for row in details]


def test_stop_from_another_thread(backend: Backend) -> None:
    strategy = optimizer(backend, "slow", total_max_jobs=50)
    thread = threading.Thread(target=strategy.start)
    thread.start()
    wait_for(
        lambda: sum(job.iterations() > 2 for job in strategy.get_running_jobs()) == 2, "two running jobs"
    )
    strategy.stop()
    thread.join(20)
    assert not thread.is_alive()
    counts = backend.store.studies.status_counts("api")
    assert counts[Status.IN_PROGRESS] == counts[Status.QUEUED] == 0
    assert len(strategy.get_created_jobs_ids()) == 2
    assert {job.record.reason_class for job in strategy.get_created_jobs_tasks().values()} == {
        Reason.STUDY_STOPPED
    }


def test_a_subclass_changes_the_loop(backend: Backend) -> None:
    class Mine(OptimizerOptuna):
        monitored = 0

        def create_job(self) -> Job | None:
            if len(self.get_created_jobs_ids()) >= 2:
                return None
            chosen = {"General/lr": 0.25, "General/layers": len(self.get_created_jobs_ids())}
            return self.helper_create_job(self._base_task_id, parameter_override=chosen, tags=["mine"])

        def monitor_job(self, job: Job) -> bool:
            self.monitored += 1
            return super().monitor_job(job)

    strategy = optimizer(backend, cls=Mine, total_max_jobs=2)
    strategy.start()
    assert [p["General/lr"] for p in strategy.get_created_jobs_ids().values()] == [0.25, 0.25]
    assert all(job.record.spec.tags == ("mine",) for job in strategy.get_created_jobs_tasks().values())
    assert strategy.monitored >= 2


def test_iterations_are_limited_per_job_and_in_all(backend: Backend) -> None:
    strategy = optimizer(backend, "slow", max_iteration_per_job=5, total_max_jobs=2)
    strategy.start()
    jobs = strategy.get_created_jobs_tasks()
    assert len(jobs) == 2
    assert {job.record.reason_class for job in jobs.values()} == {Reason.ITERATION_LIMIT}
    trials = optuna.load_study(study_name="api", storage=backend.storage_url).trials
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


def test_compute_time_is_limited_over_all_jobs(backend: Backend) -> None:
    strategy = optimizer(backend, "slow", total_max_jobs=20, compute_time_limit=2 / 60)
    strategy.start()
    assert {job.record.reason_class for job in strategy.get_created_jobs_tasks().values()} == {
        Reason.COMPUTE_BUDGET
    }
    assert strategy.reason == "compute-time limit of 2 s reached"
    used = strategy.budget.compute_time.used
    assert 2 / 60 <= used < 12 / 60


def test_a_task_that_kills_its_worker_every_time_is_given_up(backend: Backend) -> None:
    strategy = optimizer(backend, "dies", total_max_jobs=1, num_concurrent_workers=1)
    strategy.start()
    (job,) = strategy.get_created_jobs_tasks().values()
    assert (job.record.status, job.record.reason_class, job.record.attempt) == (
        Status.FAILED,
        Reason.WORKER_LOST,
        3,
    )
    assert "3 attempts of 3 were lost" in job.record.reason
    assert strategy.state == "failed"


def test_what_ends_while_it_is_looked_after_is_told_with_its_values(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caretaker sees the end before any event of the job is read."""

    def sweep(self: LeaseMonitor, now: float, jobs: Collection[Job]) -> list[Job]:
        waited = [job for job in jobs if not job.is_stopped()]
        for job in waited:
            wait_for(lambda job=job: job.refresh().status is Status.COMPLETED, "the job's end")
        return waited

    monkeypatch.setattr(LeaseMonitor, "sweep", sweep)
    strategy = optimizer(backend)
    strategy.start()
    trials = optuna.load_study(study_name="api", storage=backend.storage_url).trials
    assert [trial.state for trial in trials] == [optuna.trial.TrialState.COMPLETE] * 5
    for task_id, job in strategy.get_created_jobs_tasks().items():
        reported = backend.store.reports.scalars([task_id])[0]
        assert trials[job.trial].value == reported["accuracy per class/cat"].last
