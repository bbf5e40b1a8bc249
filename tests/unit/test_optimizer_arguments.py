"""What the optimizers take: ClearML's limits, the arguments that it ignores, names that scripts import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import controller
from controller import (
    DiscreteParameterRange,
    GridSearch,
    HyperParameterOptimizer,
    Job,
    LocalJob,
    MultiObjective,
    OptimizerBOHB,
    OptimizerOptuna,
    RandomSearch,
    SearchStrategy,
)
from controller.api.arguments import WITHOUT_EFFECT
from controller.session.base_task import check_base_task
from tests.e2e.optimizing import base, optimizer
from worker.protocol import TaskRecord, TaskSpec
from worker.protocol.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(autouse=True)
def place(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis_url)
    for name in ("OPTUNA_STORAGE", "ARTIFACT_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_iteration_per_job": 5, "max_iteration_per_job": 3}, "5 is above max_iteration_per_job 3"),
        ({"total_max_jobs": -1}, "total_max_jobs -1 must be above 0"),
        ({"total_max_jobs": "ten"}, "total_max_jobs 'ten' must be a number"),
        ({"max_iteration_per_job": -5}, "max_iteration_per_job -5 must be above 0"),
        ({"min_iteration_per_job": -5}, "min_iteration_per_job -5 must not be below 0"),
        ({"compute_time_limit": -1}, "compute_time_limit -1 must be above 0"),
        ({"compute_time_limit": float("nan")}, "compute_time_limit nan must be above 0"),
        ({"time_limit_per_job": -0.5}, "time_limit_per_job -0.5 must be above 0"),
        ({"time_limit_per_job": "2h"}, "time_limit_per_job '2h' must be a number"),
        ({"pool_period_min": -1}, "pool_period_min -1 must not be below 0"),
        ({"pool_period_min": None}, "pool_period_min None must be a number"),
        ({"num_concurrent_workers": 0}, "num_concurrent_workers 0 must be above 0"),
        ({"num_concurrent_workers": -1}, "num_concurrent_workers -1 must be above 0"),
        ({"max_failures": 0}, "max_failures 0 must be above 0"),
    ],
)
def test_budgets_that_contradict_themselves(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        optimizer(**options)
    assert caught.value.problems == (said,) or said in caught.value.problems[0]


CLEARMLS = {
    "time_limit_per_job": None,
    "compute_time_limit": None,
    "max_iteration_per_job": None,
    "min_iteration_per_job": None,
    "total_max_jobs": None,
}


@pytest.mark.parametrize("none", [0, 0.0, None, float("inf")])
@pytest.mark.parametrize("cls", [OptimizerOptuna, RandomSearch, SearchStrategy])
def test_zero_is_no_limit_where_clearml_says_so(cls: Any, none: float | None) -> None:
    given = {name: none for name in CLEARMLS if none != float("inf") or name != "min_iteration_per_job"}
    strategy = optimizer(cls=cls, pool_period_min=0, **given)
    limits = {name: field["limit"] for name, field in strategy.budget.to_dict().items()}
    assert limits.pop("concurrent") == 2
    assert set(limits.values()) == {None}
    assert strategy.budget.max_iteration_per_job is None
    assert (strategy.total_max_jobs, strategy.max_iteration_per_job) == (None, None)
    assert strategy.budget.may_create().ok
    job = strategy.helper_create_job(strategy._base_task_id)
    assert (job.record.spec.max_iterations, job.record.spec.time_limit_s) == (None, None)


def hpo(**options: Any) -> HyperParameterOptimizer:
    space = [DiscreteParameterRange("General/x", [1, 2])]
    return HyperParameterOptimizer(base(), space, "score", "v", **options)


def test_time_limits_of_the_whole() -> None:
    for none in (0, 0.0, None, float("inf")):
        o = hpo(optimization_time_limit=none, compute_time_limit=none, save_top_k_tasks_only=none and -1)
        o.set_time_limit(in_minutes=none)
        assert o.get_time_limit() is None
        assert not o.reached_time_limit()
        assert o.get_optimizer().budget.compute_time.limit is None
    for wrong, said in (
        (
            {"optimization_time_limit": -5},
            "optimization_time_limit -5 must be above 0; None or 0 for no limit",
        ),
        ({"optimization_time_limit": "1h"}, "optimization_time_limit '1h' must be a number of minutes"),
        ({"compute_time_limit": -5}, "compute_time_limit -5 must be above 0"),
        ({"max_number_of_concurrent_tasks": 0}, "num_concurrent_workers 0 must be above 0"),
    ):
        with pytest.raises(BadInput, match=said):
            hpo(**wrong)
    with pytest.raises(BadInput, match="in_minutes -1 must be above 0"):
        hpo().set_time_limit(in_minutes=-1)


def test_before_the_start_nothing_hangs() -> None:
    o = hpo()
    assert (o.wait(), o.wait(timeout=0), o.wait(timeout=-1)) == (True, True, True)
    o.stop()
    o.stop(timeout=0)
    assert o.get_top_experiments(3) == o.get_top_experiments_details(3) == o.get_active_experiments() == []
    assert (o.is_active(), o.is_running(), o.get_num_active_experiments()) == (True, False, 0)


def test_a_minimum_without_a_maximum_contradicts_nothing() -> None:
    assert optimizer(min_iteration_per_job=5, max_iteration_per_job=0).min_iteration_per_job == 5
    grid = optimizer(cls=GridSearch, total_max_jobs=0, hyper_parameters=[
        DiscreteParameterRange("General/x", [1, 2, 3])])  # fmt: skip
    assert grid.budget.jobs.limit == 3


@pytest.mark.parametrize("cls", [OptimizerOptuna, RandomSearch, GridSearch, SearchStrategy])
def test_arguments_that_clearml_ignores(cls: Any, caplog: pytest.LogCaptureFixture) -> None:
    given = dict.fromkeys(WITHOUT_EFFECT, "x")
    optimizer(cls=cls, hyper_parameters=[DiscreteParameterRange("General/x", [1, 2])], **given)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(given)
    assert "project_name='x' has no effect, as in ClearML; spawn_project of Hyper" in "\n".join(lines)
    with pytest.raises(BadInput, match="unknown argument 'total_max_job'; did you mean 'total_max_jobs'"):
        optimizer(cls=cls, total_max_job=3)


def test_names_that_scripts_import() -> None:
    from controller import ClearmlJob, LocalClearmlJob, Parameter, optuna

    assert (ClearmlJob, LocalClearmlJob) == (Job, LocalJob)
    assert issubclass(DiscreteParameterRange, Parameter)
    assert optuna.OptimizerOptuna is OptimizerOptuna
    everything: dict[str, Any] = {}
    exec("from controller import *", everything)
    assert everything["ClearmlJob"] is Job
    assert "optuna" not in everything  # it would hide Optuna itself
    assert set(controller.__all__) <= set(everything)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("OptunaObjective", "override its create_job, monitor_job or process_step"),
        ("PipelineController", "pipelines are not part of optuna-rq"),
        ("PipelineDecorator", "pipelines are not part of optuna-rq"),
        ("TaskScheduler", "cron or a systemd timer"),
        ("RandomSeed", "give the optimizer a seed"),
    ],
)
def test_names_that_are_not_there_say_what_to_use(name: str, said: str) -> None:
    with pytest.raises(ImportError, match=f"there is no {name} in controller: .*{said}"):
        exec(f"from controller import {name}")


def test_bohbs_arguments() -> None:
    budget: dict[str, Any] = {"min_iteration_per_job": 2, "max_iteration_per_job": 20, "total_max_jobs": 4}
    bohb = optimizer(cls=OptimizerBOHB, local_port=9091, seed=1, eta=4, **budget)
    bohb.set_optimization_args(eta=2, min_budget=0.2, num_samples=64, min_points_in_model=5)
    for wrong, said in (
        ({"min_iteration_per_job": 0}, "needs min_iteration_per_job: Hyperband"),
        ({"max_iteration_per_job": None, "total_max_jobs": 0}, "needs max_iteration_per_job, total_max_jobs"),
        ({"eta": 1}, "eta 1 must be a whole number from 2"),
        ({"eta": "3"}, "eta '3' must be a whole number from 2"),
        ({"etta": 3}, "unknown argument 'etta'"),
        ({"min_budget": 2}, "min_budget 2 and max_budget 1.0 must be shares of 1"),
        ({"objective_metric": MultiObjective(["a", "b"], ["v", "v"], ["min", "max"])}, "can't be pruned"),
    ):
        with pytest.raises(BadInput, match=said):
            optimizer(cls=OptimizerBOHB, **{**budget, **wrong})
    with pytest.raises(BadInput, match="unknown argument 'width'; there are eta"):
        bohb.set_optimization_args(width=3)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("width", "Args/width"),
        ("General/width", "Args/width"),
        ("args/width", "Args/width"),
        ("Args/lr", "General/lr"),
        ("k", "General/inner/k"),
        ("inner/k", "General/inner/k"),
        ("LR", "General/lr"),
        ("General/lrr", "General/lr"),
    ],
)
def test_a_name_in_the_wrong_section(name: str, meant: str) -> None:
    parameters = {"General/lr": 0.1, "General/inner/k": 1, "Args/width": 8}
    spec = TaskSpec(objective={"kind": "script", "path": "t.py"}, parameters=parameters)
    task = TaskRecord(id="0" * 32, name="base", spec=spec, created_at=1.0, started_at=1.0)
    with pytest.raises(BadInput, match=f"{name}': base task 'base' has no such .*did you mean '{meant}'"):
        check_base_task(task, [DiscreteParameterRange(name, [1])], allow_new_parameters=False)
    check_base_task(task, [DiscreteParameterRange(meant, [1])], allow_new_parameters=False)
    check_base_task(task, [DiscreteParameterRange("lr", [1])], allow_new_parameters=False)
