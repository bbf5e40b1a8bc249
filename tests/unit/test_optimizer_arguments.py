"""What the optimizers take: ClearML's limits, the arguments that it ignores, names that scripts import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller import (
    DiscreteParameterRange,
    GridSearch,
    OptimizerOptuna,
    RandomSearch,
    SearchStrategy,
)
from controller.api.arguments import WITHOUT_EFFECT
from tests.e2e.optimizing import optimizer
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
