"""What goes wrong with ClearML 2.1's optimizers, one by one: here each is a test of the right behaviour."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from controller import (
    DiscreteParameterRange,
    GridSearch,
    HyperParameterOptimizer,
    LogUniformParameterRange,
    MultiObjective,
    Objective,
    OptimizerBOHB,
    OptimizerOptuna,
    ParameterSet,
    RandomSearch,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from tests.e2e.harness import wait_for
from tests.e2e.optimizing import Seen, base, optimizer, values, workplace
from worker import Task
from worker.protocol import Reason, Status
from worker.protocol.errors import BadInput
from worker.sdk.home import home

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(autouse=True)
def place(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with workplace(tmp_path, redis_url, monkeypatch) as folder:
        yield folder


def classes(strategy: Any) -> Counter[Any]:
    return Counter(job.record.reason_class for job in strategy.get_created_jobs_tasks().values())


def test_stop_from_another_thread_stops_and_launches_nothing_more() -> None:
    strategy = optimizer("slow", total_max_jobs=50)
    thread = threading.Thread(target=strategy.start)
    thread.start()
    wait_for(lambda: sum(job.is_running() for job in strategy.get_running_jobs()) == 2, "two jobs")
    created = set(strategy.get_created_jobs_ids())
    strategy.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert set(strategy.get_created_jobs_ids()) == created
    assert classes(strategy) == {Reason.STUDY_STOPPED: 2}


def test_a_job_taken_off_the_queue_does_not_hang_the_loop() -> None:
    strategy = optimizer("quick", total_max_jobs=2, num_concurrent_workers=1, execution_queue="nobody")
    thread = threading.Thread(target=strategy.start)
    thread.start()
    (job,) = wait_for(strategy.get_running_jobs, "the first job")
    home().store.redis.delete("rq:queue:nobody", f"rq:job:{job.task_id()}-1")
    # It is put back within a lease, where a worker of that queue finds it.
    wait_for(lambda: home().store.redis.llen("rq:queue:nobody") == 1, "the job being back")
    strategy.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_one_job_without_a_metric_and_nan_cost_only_themselves() -> None:
    strategy = optimizer(
        "sometimes",
        cls=GridSearch,
        hyper_parameters=[DiscreteParameterRange("General/x", [0.1, 0.3, 0.55, 0.7, 0.9])],
        total_max_jobs=None,
    )
    strategy.start()
    assert strategy.state == "completed"
    counts = home().store.studies.status_counts(strategy.study)
    assert (counts[Status.COMPLETED], counts[Status.FAILED]) == (2, 3)
    # NaN is neither 0.0 nor best, and infinity isn't either.
    assert values(strategy) == [0.9, 0.7]
    assert classes(strategy)[Reason.INVALID_VALUE] == 3


def test_waiting_for_the_first_metric_costs_nothing() -> None:
    strategy = optimizer("silent", total_max_jobs=2)
    before = psutil.Process().cpu_times()
    began = time.monotonic()
    strategy.start()
    took = time.monotonic() - began
    after = psutil.Process().cpu_times()
    busy = after.user + after.system - before.user - before.system
    assert busy < took * 0.6, f"{busy:.2f} s of CPU in {took:.2f} s"
    assert len(values(strategy)) == 2


def test_the_iteration_budget_is_kept_to_the_iteration() -> None:
    strategy = optimizer(
        "steps", base_task_id=base("steps", n=400), max_iteration_per_job=5, total_max_jobs=3
    )
    strategy.start()
    jobs = strategy.get_created_jobs_tasks()
    assert [job.record.iterations for job in jobs.values()] == [5, 5, 5]
    assert classes(strategy) == {Reason.ITERATION_LIMIT: 3}
    assert strategy.budget.to_dict()["iterations"] == {
        "used": 15, "reserved": 0, "limit": 15.0, "unit": "iterations"
    }  # fmt: skip
    # Jobs that end early buy more jobs.
    early = optimizer("steps", base_task_id=base("steps", n=2), max_iteration_per_job=4, total_max_jobs=3)
    early.start()
    assert len(early.get_created_jobs_ids()) > 3
    assert early.budget.iterations.used <= 12


def test_the_compute_time_budget_is_kept() -> None:
    strategy = optimizer("slow", total_max_jobs=50, compute_time_limit=1.5 / 60)
    strategy.start()
    assert classes(strategy) == {Reason.COMPUTE_BUDGET: 2}
    reasons = {job.record.reason for job in strategy.get_created_jobs_tasks().values()}
    assert reasons == {"compute-time limit of 1.5 s reached"}
    assert 1.5 / 60 <= strategy.budget.compute_time.used < 10 / 60


def test_duplicates_are_not_run_and_do_not_eat_the_budget() -> None:
    strategy = optimizer(
        hyper_parameters=[DiscreteParameterRange("General/x", [0.25, 0.5, 0.75])],
        total_max_jobs=50,
        seed=1,
    )
    strategy.start()
    assert sorted(values(strategy)) == [0.25, 0.5, 0.75]
    assert len(strategy.get_created_jobs_ids()) == 3
    assert strategy.reason == "search space exhausted"
    assert strategy.budget.jobs.used == 3


def test_a_previous_study_is_continued() -> None:
    study = optuna.create_study(
        direction="maximize", study_name="mine", sampler=optuna.samplers.TPESampler(seed=1)
    )
    study.add_trial(
        optuna.trial.create_trial(
            params={"General/x": 0.5},
            distributions={"General/x": optuna.distributions.FloatDistribution(0.0, 1.0)},
            value=0.5,
        )
    )
    first = optimizer(continue_previous_study=study, total_max_jobs=2)
    first.start()
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    # By its name, in the storage where it is, with a budget of its own.
    stored = optimizer(study_name="kept", total_max_jobs=2)
    stored.start()
    again = optimizer(continue_previous_study="kept", total_max_jobs=3)
    again.start()
    assert len(again.get_created_jobs_ids()) == 3
    assert len(again.optuna_study.trials) == 5
    assert len(home().store.studies.tasks("kept")) == 5
    with pytest.raises(BadInput, match="did you mean 'kept'"):
        optimizer(continue_previous_study="kep").start()


def test_optunas_arguments_reach_optuna(tmp_path: Path) -> None:
    chosen = []
    for _ in range(2):
        sampler = optuna.samplers.RandomSampler(seed=7)
        strategy = optimizer(optuna_sampler=sampler, num_concurrent_workers=1, total_max_jobs=3)
        strategy.start()
        assert strategy.optuna_study.sampler is sampler
        chosen.append([p["General/x"] for p in strategy.get_created_jobs_ids().values()])
    assert chosen[0] == chosen[1]
    url = f"sqlite:///{tmp_path}/other.db"
    strategy = optimizer(optuna_sampler="random", seed=7, storage=url, study_name="named", total_max_jobs=2)
    strategy.start()
    assert len(optuna.load_study(study_name="named", storage=url).trials) == 2
    with pytest.raises(BadInput, match="load_if_exists=True"):
        optimizer(storage=url, study_name="named", load_if_exists=False).start()
    with pytest.raises(BadInput, match="unknown argument 'optuna_sample'; did you mean 'optuna_sampler'"):
        optimizer(optuna_sample=None)
    with pytest.raises(BadInput, match="unknown argument 'total_max_job'; did you mean 'total_max_jobs'"):
        optimizer(cls=RandomSearch, total_max_job=3)


def test_nothing_is_pruned_unasked() -> None:
    strategy = optimizer("steps", num_concurrent_workers=1, total_max_jobs=8)
    strategy.start()
    assert isinstance(strategy.optuna_study.pruner, optuna.pruners.NopPruner)
    assert classes(strategy) == {None: 8}


def test_pruned_jobs_leave_the_list_and_their_programs_end() -> None:
    pruner = optuna.pruners.ThresholdPruner(lower=0.5)
    strategy = optimizer(
        "slow",
        cls=OptimizerOptuna,
        hyper_parameters=[DiscreteParameterRange("General/x", [0.1, 0.2, 0.3])],
        optuna_pruner=pruner,
        min_iteration_per_job=2,
        total_max_jobs=3,
    )
    strategy.start()
    assert strategy.get_running_jobs() == []
    assert classes(strategy) == {Reason.PRUNED: 3}
    jobs = strategy.get_created_jobs_tasks().values()
    assert all(2 <= job.iterations() < 1000 for job in jobs)
    trials = [t for t in strategy.optuna_study.trials if "optuna-rq:duplicate_of" not in t.user_attrs]
    assert [trial.state.name for trial in trials] == ["PRUNED"] * 3


def test_bohb_gives_up_what_is_poor() -> None:
    strategy = optimizer(
        "paced",
        cls=OptimizerBOHB,
        min_iteration_per_job=2,
        max_iteration_per_job=20,
        total_max_jobs=12,
        eta=2,
        seed=1,
        local_port=1234,
    )
    strategy.start()
    assert strategy.state == "completed"
    found = classes(strategy)
    assert found[Reason.PRUNED] > 0
    assert set(found) <= {Reason.PRUNED, None}
    assert strategy.budget.iterations.used <= 240
    jobs = strategy.get_created_jobs_tasks().values()
    assert {job.iterations() for job in jobs if job.is_completed()} == {20}


def test_parameter_sets_work_in_every_search() -> None:
    combinations = [
        {"General/x": UniformParameterRange("General/x", 0.0, 1.0, step_size=0.5), "General/opt": "a"},
        {"General/x": 0.75, "General/z": DiscreteParameterRange("General/z", [1, 2])},
    ]
    for cls, jobs in ((OptimizerOptuna, 5), (RandomSearch, 5), (GridSearch, None)):
        strategy = optimizer(cls=cls, hyper_parameters=[ParameterSet(combinations)], total_max_jobs=jobs)
        strategy.start()
        found = {tuple(sorted(p.items())) for p in strategy.get_created_jobs_ids().values()}
        assert found == {
            (("General/opt", "a"), ("General/x", 0.0)),
            (("General/opt", "a"), ("General/x", 0.5)),
            (("General/opt", "a"), ("General/x", 1.0)),
            (("General/x", 0.75), ("General/z", 1)),
            (("General/x", 0.75), ("General/z", 2)),
        }


def test_a_grid_is_in_clearmls_order() -> None:
    strategy = optimizer(
        cls=GridSearch,
        num_concurrent_workers=1,
        total_max_jobs=4,
        seed=1,
        hyper_parameters=[
            ParameterSet([{"General/x": 0.5, "General/n": n} for n in (3, 1)]),
            DiscreteParameterRange("General/b", [2, 1]),
            ParameterSet([{"General/a": "u"}]),
        ],
    )
    strategy.start()
    found = [(row["General/n"], row["General/b"]) for row in strategy.get_created_jobs_ids().values()]
    assert found == [(3, 2), (3, 1), (1, 2), (1, 1)]


def test_log_steps_and_lists_with_steps_reach_their_end() -> None:
    for parameter, expected in (
        (LogUniformParameterRange("General/x", -2, 0, step_size=1), [0.01, 0.1, 1.0]),
        (UniformParameterRange("General/x", 0.0, 0.3, step_size=0.1), [0.0, 0.1, 0.2, 0.3]),
        (UniformIntegerParameterRange("General/x", 1, 7, step_size=3), [1, 4, 7]),
        (UniformIntegerParameterRange("General/x", 1, 7, step_size=3, include_max_value=False), [1, 4]),
    ):
        for cls in (GridSearch, OptimizerOptuna):
            strategy = optimizer(cls=cls, hyper_parameters=[parameter], total_max_jobs=9)
            strategy.start()
            assert sorted(values(strategy)) == pytest.approx(expected)


def test_several_objectives_are_ordered_by_pareto() -> None:
    strategy = optimizer(
        "two",
        cls=GridSearch,
        hyper_parameters=[
            DiscreteParameterRange("General/x", [0.0, 0.5, 1.0]),
            DiscreteParameterRange("General/y", [0.0, 0.3]),
        ],
        objective_metric=MultiObjective(["cost", "cost"], ["a", "b"], ["min", "min"]),
        total_max_jobs=None,
    )
    strategy.start()
    rows = strategy.get_top_experiments_details(10)
    assert [row["front"] for row in rows] == [0, 0, 0, 1, 1, 1]
    assert all(row["hyper_parameters"]["General/y"] == "0.0" for row in rows[:3])
    assert set(rows[0]["metrics"]) == {"cost/a", "cost/b"}
    with pytest.raises(BadInput, match="2 objectives can't be pruned"):
        optimizer(
            objective_metric=Objective(["a", "b"], ["", ""], "min"),
            optuna_pruner=optuna.pruners.MedianPruner(),
        )
    with pytest.raises(BadInput, match="2 title"):
        Objective(["a", "b"], ["x"], ["min", "min"])


def test_all_metrics_and_global_signs() -> None:
    strategy = optimizer(
        "falls",
        objective_metric=Objective("score", "v", "max_global"),
        num_concurrent_workers=1,
        total_max_jobs=3,
    )
    strategy.start()
    rows = strategy.get_top_experiments_details(3, all_metrics=True, all_hyper_parameters=True)
    assert "score/v" in rows[0]["metrics"]
    most = [row["metrics"]["score/v"]["max_value"] for row in rows]
    assert most == sorted(most, reverse=True)
    best = strategy.optuna_study.best_value
    assert best == pytest.approx(most[0])


def test_time_limits_can_be_asked_for_without_one() -> None:
    hpo = HyperParameterOptimizer(
        base(), [UniformParameterRange("General/x", 0, 1)], "score", "v", "max",
        optimizer_class=RandomSearch, total_max_jobs=1, observer=Seen(),
    )  # fmt: skip
    assert hpo.reached_time_limit() is False
    assert hpo.get_time_limit() is None
    assert hpo.elapsed() == -1


@pytest.mark.parametrize("several", [False, True])
def test_callbacks_come_once_for_each_ended_job(several: bool) -> None:
    called: list[tuple[Any, ...]] = []
    title, series, sign = (["cost", "cost"], ["a", "b"], ["min", "min"]) if several else ("score", "v", "max")
    hpo = HyperParameterOptimizer(
        base("two" if several else "steps"),
        [UniformParameterRange("General/x", 0, 1)],
        title, series, sign,
        optimizer_class=RandomSearch, max_number_of_concurrent_tasks=2, total_max_jobs=4, observer=Seen(),
    )  # fmt: skip
    assert hpo.start(job_complete_callback=lambda *arguments: called.append(arguments))
    assert hpo.wait()
    assert sorted(row[0] for row in called) == sorted(hpo.get_optimizer().get_created_jobs_ids())
    for job_id, value, iteration, parameters, best in called:
        assert set(parameters) == {"General/x"}
        assert len(best) == len(job_id) == 32
        if several:
            assert len(value) == len(iteration) == 2
        else:
            assert isinstance(value, float)
            assert iteration == 5
    if not several:
        best_of_all = max(called, key=lambda row: row[1])
        assert called[-1][4] == best_of_all[0]


def test_a_callback_that_fails_does_not_stop_the_optimization(caplog: pytest.LogCaptureFixture) -> None:
    hpo = HyperParameterOptimizer(
        base(), [UniformParameterRange("General/x", 0, 1)], "score", "v", "max",
        total_max_jobs=3, observer=Seen(),
    )  # fmt: skip

    def fails(*_: Any) -> None:
        raise ValueError("mine")

    with caplog.at_level(logging.ERROR):
        hpo.start(job_complete_callback=fails)
        assert hpo.wait()
    assert len(hpo.get_top_experiments(10)) == 3
    assert "job_complete_callback failed" in caplog.text


TEMPLATE = """
from worker import Task
task = Task.init(project_name="P", task_name="script base")
settings = task.connect({"learning_rate": 0.1})
task.report_scalar("score", "v", settings["learning_rate"], 0)
"""


def test_misspelt_parameters_and_metrics_are_said(place: Path) -> None:
    import subprocess
    import sys

    (place / "template.py").write_text(TEMPLATE)
    subprocess.run([sys.executable, "template.py"], cwd=place, check=True, env=dict(os.environ))
    task = Task.get_task(project_name="P", task_name="script base").id
    wrong = [UniformParameterRange("General/learning_rat", 0, 1)]
    with pytest.raises(BadInput, match="did you mean 'General/learning_rate'"):
        optimizer(base_task_id=task, hyper_parameters=wrong)
    strategy = optimizer(
        base_task_id=task, hyper_parameters=wrong, allow_new_parameters=True, total_max_jobs=1
    )
    strategy.start()
    assert values(strategy) == [0.1]
    right = optimizer(
        base_task_id=task,
        hyper_parameters=[UniformParameterRange("General/learning_rate", 0.5, 1)],
        total_max_jobs=2,
        seed=3,
    )
    right.start()
    assert len(values(right)) == 2
    assert min(values(right)) >= 0.5
    # Without its section it is the same parameter.
    bare = optimizer(
        base_task_id=task,
        hyper_parameters=[DiscreteParameterRange("learning_rate", [0.75])],
        total_max_jobs=2,
    )
    bare.start()
    assert values(bare) == [0.75]
    with pytest.raises(BadInput, match="no task"):
        optimizer(base_task_id="f" * 32)

    seen = Seen()
    strategy = optimizer("elsewhere", total_max_jobs=2, observer=seen)
    strategy.start()
    (said,) = [note for note in seen.notes if "metric" in note]
    assert "no metric 'score/v'; it reported loss/v, score/validation" in said
    assert "did you mean" in said
