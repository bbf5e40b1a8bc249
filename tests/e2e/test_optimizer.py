"""`HyperParameterOptimizer` and what a ClearML optimizer script does with it, over a real Redis and a worker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import (
    GridSearch,
    HyperParameterOptimizer,
    Job,
    MultiObjective,
    Objective,
    OptimizerOptuna,
    SearchStrategy,
    UniformParameterRange,
)
from tests.e2e.harness import assert_nothing_left, run, run_json, started, wait_for
from tests.e2e.optimizing import OBJECTIVES, Seen, base, optimizer, values, workplace
from worker import Task
from worker.protocol import Reason, Status, Store
from worker.protocol.connection import connect
from worker.protocol.errors import BadInput
from worker.sdk.home import home

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture
def place(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with workplace(tmp_path, redis_url, monkeypatch) as folder:
        yield folder


def hpo(function: str = "quick", **options: Any) -> HyperParameterOptimizer:
    arguments: dict[str, Any] = {
        "base_task_id": base(function),
        "hyper_parameters": [UniformParameterRange("General/x", 0.0, 1.0)],
        "objective_metric_title": "score",
        "objective_metric_series": "v",
        "objective_metric_sign": "max",
        "max_number_of_concurrent_tasks": 2,
        "observer": Seen(),
        **options,
    }
    return HyperParameterOptimizer(**arguments)


def test_an_optimization_in_the_background(place: Path) -> None:
    o = hpo("steps", optimizer_class=OptimizerOptuna, total_max_jobs=6, spawn_project="spawned", seed=1)
    assert (o.is_active(), o.is_running(), o.elapsed()) == (True, False, -1)
    assert o.get_top_experiments(3) == []
    assert o.wait() is True  # nothing to wait for
    assert o.start() is True
    assert o.start() is False
    assert o.is_running()
    wait_for(lambda: o.get_num_active_experiments() > 0, "jobs")
    assert all(isinstance(task, Task) for task in o.get_active_experiments())
    assert o.wait(timeout=1) is True
    assert (o.is_active(), o.is_running()) == (False, False)
    assert 0 < o.elapsed() < 1
    assert o.get_num_active_experiments() == 0
    top = o.get_top_experiments(3)
    assert [task.id for task in top] == [row["task_id"] for row in o.get_top_experiments_details(3)]
    assert all(task.get_project_name() == "spawned" for task in top)
    assert isinstance(o.get_optimizer(), OptimizerOptuna)
    o.stop()  # harmless afterwards


def test_time_limits(place: Path) -> None:
    o = hpo("slow", total_max_jobs=50)
    o.set_time_limit(in_minutes=2 / 60)
    assert o.get_time_limit() is None  # from the start on
    o.start()
    o.set_time_limit(in_minutes=2 / 60)
    limit = o.get_time_limit()
    assert limit is not None
    assert abs((limit - datetime.now()).total_seconds() - 2) < 1
    assert o.wait(timeout=0.5)
    assert o.reached_time_limit()
    strategy = o.get_optimizer()
    assert strategy.reason == "optimization time limit reached"
    ended = {job.record.reason_class for job in strategy.get_created_jobs_tasks().values()}
    assert ended == {Reason.TIME_LIMIT}
    o = hpo("slow", total_max_jobs=50, optimization_time_limit=1 / 60)
    o.start()
    assert o.wait(timeout=0.5)
    o = hpo("slow", total_max_jobs=50)
    o.set_time_limit(specific_time=datetime.now() + timedelta(seconds=1))
    o.start()
    assert o.wait(timeout=0.001) is False
    assert o.wait(timeout=0.5)


def test_stopping_while_it_runs(place: Path) -> None:
    o = hpo("slow", total_max_jobs=50)
    o.start()
    wait_for(lambda: o.get_num_active_experiments() == 2, "two jobs")
    o.stop()
    assert not o.is_running()
    assert o.get_optimizer().state == "stopped"
    counts = home().store.studies.status_counts(o.get_optimizer().study)
    assert counts[Status.QUEUED] == counts[Status.IN_PROGRESS] == 0


def test_only_the_best_are_kept_in_view(place: Path) -> None:
    o = hpo("quick", total_max_jobs=6, save_top_k_tasks_only=2)
    o.start()
    assert o.wait()
    best = {row["task_id"] for row in o.get_top_experiments_details(2)}
    ids = list(o.get_optimizer().get_created_jobs_ids())
    assert {t.id for t in Task.get_tasks(task_ids=ids) if not t.get_archived()} == best


def test_reports_go_to_the_optimizers_task(place: Path) -> None:
    text = """
from tests.e2e.optimizing import Seen
from controller import HyperParameterOptimizer, OptimizerOptuna, UniformParameterRange
from worker import Task
import sys
task = Task.init("P", "the optimizer", task_type=Task.TaskTypes.optimizer)
o = HyperParameterOptimizer(sys.argv[1], [UniformParameterRange("General/x", 0, 1)], "score", "v", "max",
    optimizer_class=OptimizerOptuna, max_number_of_concurrent_tasks=2, total_max_jobs=4, observer=Seen(),
    time_limit_per_job=9)
o.set_report_period(0.01)
task.upload_artifact("early", o.get_top_experiments(2))
assert o.start() and o.wait()
task.upload_artifact("late", o.get_top_experiments(2))
task.upload_artifact("best", {"task": o.get_top_experiments(1)[0], "why": "highest"})
task.upload_artifact("one", o.get_top_experiments(1)[0])
print(o.get_optimizer().study)
"""
    (place / "script.py").write_text(text)
    done = run(
        "python", "script.py", base(), cwd=place, REDIS_URL=os.environ["REDIS_URL"], PYTHONPATH=str(ROOT)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "the optimizer"  # its task names the study
    task = Task.get_task(task_name="the optimizer")
    assert (task.status, task.task_type) == ("completed", "optimizer")
    scalars = task.get_last_scalar_metrics()
    assert set(scalars["optimization"]) == {"score/v", "best score/v"}
    assert scalars["budget"]["jobs"]["last"] == 100.0
    assert "time_per_trial" not in scalars["budget"]
    jobs = Task.get_tasks(task_filter={"parent": task.id})
    assert len(jobs) == 4
    top = HyperParameterOptimizer.get_optimizer_top_experiments("score", "v", "max", task.id, 2)
    assert [t.id for t in top] == [row["task_id"] for row in task.artifacts["summary"].get()[:2]]
    assert task.artifacts["early"].get() == []
    late = task.artifacts["late"].get()
    assert [row["id"] for row in late] == [t.id for t in top]
    assert late[0] == task.artifacts["one"].get() == task.artifacts["best"].get()["task"]
    assert late[0] == {
        "id": top[0].id,
        "name": top[0].name,
        "project": "P",
        "status": "completed",
        "parameters": top[0].get_parameters(cast=True),
    }


def test_an_instance_and_wrong_classes(place: Path) -> None:
    seen = Seen()
    mine = optimizer("quick", cls=GridSearch, observer=seen, hyper_parameters=[
        UniformParameterRange("General/x", 0, 1, step_size=0.5)])  # fmt: skip
    o = HyperParameterOptimizer(mine._base_task_id, [], "score", "v", "max", optimizer_class=mine)
    o.start()
    assert o.wait()
    assert len(seen.ids) == 3
    with pytest.raises(BadInput, match="instance already: total_max_jobs"):
        HyperParameterOptimizer(mine._base_task_id, [], "a", "b", optimizer_class=mine, total_max_jobs=3)
    with pytest.raises(BadInput, match="optimizer_class"):
        hpo(optimizer_class="tpe")
    with pytest.raises(BadInput, match="2 title"):
        hpo(objective_metric_title=["a", "b"], objective_metric_series=["c"])


def test_a_strategy_of_ones_own(place: Path) -> None:
    class Halving(SearchStrategy):
        """Creates its own jobs, and gives up those that it doesn't like."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.given = 0
            self.monitored: list[str] = []

        def create_job(self) -> Job | None:
            if self.given >= 3:
                return None
            self.given += 1
            chosen = {p.name: p.get_value()[p.name] for p in self._hyper_parameters}
            return self.helper_create_job(self._base_task_id, parameter_override=chosen, tags=["own"])

        def monitor_job(self, job: Job) -> bool:
            self.monitored.append(job.task_id())
            self.budget.iterations.update(job.task_id(), job.iterations())
            self.budget.compute_time.update(job.task_id(), job.elapsed() / 60.0)
            return not job.is_stopped() and job.iterations() < 10

    strategy = optimizer("slow", cls=Halving, total_max_jobs=None)
    began = time.monotonic()
    strategy.start()
    assert time.monotonic() - began < 30
    assert strategy.reason == "create_job gave no more jobs"
    jobs = strategy.get_created_jobs_tasks()
    assert len(jobs) == 3
    assert {job.record.reason_class for job in jobs.values()} == {Reason.USER}
    assert all(job.record.spec.tags == ("own",) for job in jobs.values())
    assert strategy.get_running_jobs() == []
    assert strategy.budget.iterations.used >= 30
    assert len(values(strategy)) == 3


def test_known_configurations_and_older_trials(place: Path) -> None:
    first = optimizer("quick", study_name="older", total_max_jobs=4)
    first.start()
    second = optimizer("quick", study_name="newer", start_from="older", total_max_jobs=3)
    second.enqueue_trial({"General/x": 0.125})
    second.start()
    assert next(iter(second.get_created_jobs_ids().values())) == {"General/x": 0.125}
    assert len(second.get_created_jobs_ids()) == 3
    assert len(second.optuna_study.trials) == 7
    with pytest.raises(BadInput, match="before start"):
        second.enqueue_trial({"General/x": 0.5})
    third = optimizer("quick", total_max_jobs=1)
    third.enqueue_trial({"General/y": 0.5})
    with pytest.raises(BadInput, match="General/x"):
        third.start()
    with pytest.raises(BadInput, match="no study 'oldest'"):
        optimizer("quick", start_from="oldest").start()


def test_constraints_take_tasks_out_of_the_ranking(place: Path) -> None:
    strategy = optimizer(
        "extra",
        cls=GridSearch,
        hyper_parameters=[UniformParameterRange("General/x", 0.0, 1.0, step_size=0.25)],
        constraints=[{"metric": "memory/peak", "max": 60}],
        total_max_jobs=None,
    )
    strategy.start()
    assert values(strategy) == [0.5, 0.25, 0.0]
    assert strategy.optuna_study.best_value == 0.5


def test_a_budget_survives_a_restart(place: Path) -> None:
    options = {
        "study_name": "long",
        "total_max_jobs": 6,
        "max_iteration_per_job": 6,
        "num_concurrent_workers": 1,
    }
    first = optimizer("steps", **options)
    thread = threading.Thread(target=first.start)
    thread.start()
    wait_for(lambda: first.budget.iterations.used >= 13, "two jobs and a half")
    first.interrupt()
    thread.join(20)
    assert first.state == "interrupted"
    second = optimizer("steps", **options)
    second.start()
    used = sum(r.iterations for r in home().store.tasks.get_many(home().store.studies.tasks("long")) if r and (
        r.reason_class is not Reason.STUDY_STOPPED))  # fmt: skip
    assert used == 36 == second.budget.iterations.used
    assert second.budget.to_dict()["iterations"]["limit"] == 36.0
    other = optimizer("steps", study_name="long", hyper_parameters=[UniformParameterRange("General/x", 0, 2)])
    with pytest.raises(BadInput, match="another search space"):
        other.start()


def test_optimizers_of_one_task_at_once_are_studies_apart(place: Path) -> None:
    task = base("steps")
    optimizers = [hpo(base_task_id=task, total_max_jobs=2, hyper_parameters=[
        UniformParameterRange("General/x", 0.0, 1.0)]) for _ in range(3)]  # fmt: skip
    for o in optimizers:
        assert o.start()
    assert all(o.wait(timeout=1) for o in optimizers)
    assert len({o.get_optimizer().study for o in optimizers}) == 3
    assert [len(o.get_top_experiments(9)) for o in optimizers] == [2, 2, 2]
    # Nor does a new one go on with trials whose records were deleted.
    home().store.studies.delete("base steps")
    again = hpo(base_task_id=task, total_max_jobs=2)
    again.start()
    assert again.wait(timeout=1)
    assert again.get_optimizer().study == "base steps 4"


def test_a_job_by_itself(place: Path) -> None:
    job = Job(base("steps"), parameter_override={"General/x": 0.5}, tags=["alone"])
    assert (job.status(), job.elapsed(), job.iterations(), job.is_pending()) == ("created", -1, -1, True)
    assert job.launch("default")
    assert job.wait(timeout=1, pool_period=0.05)
    assert (job.status(), job.is_completed(), job.started()) == ("completed", True, True)
    assert job.get_metric("score", "v") == (0.5, 3.0, 3.0)
    assert job.get_metric("no", "such") is None
    assert job.elapsed() > 0
    assert job.worker()
    assert job.task.get_tags() == ["alone"]
    assert isinstance(job.get_console_output()[0], str)
    assert job.delete() is True
    aborted = Job(base("slow"), parameter_override={"General/x": 0.5})
    aborted.launch("default")
    wait_for(lambda: aborted.status(force=True) == "in_progress", "the start")
    assert aborted.delete() is False
    aborted.abort()
    assert aborted.wait(timeout=1, pool_period=0.05)
    assert (aborted.is_aborted(), aborted.is_stopped(), aborted.is_failed()) == (True, True, False)
    failed = Job(base("fails"))
    failed.launch("default")
    assert failed.wait(timeout=1, pool_period=0.05)
    assert failed.is_failed()


LOCAL = """
from controller import HyperParameterOptimizer, LocalJob, RandomSearch, UniformParameterRange
from worker import Task
import sys
base = Task.create("P", "base", function="obj:steps").id
job = LocalJob(base, parameter_override={"General/x": 0.25})
job.launch("nobody")
assert job.wait(timeout=1, pool_period=0.05) and job.is_completed(), job.task.get_status_reason()
o = HyperParameterOptimizer(base, [UniformParameterRange("General/x", 0, 1)], "score", "v", "max",
    optimizer_class=RandomSearch, max_number_of_concurrent_tasks=2, total_max_jobs=3, execution_queue="nobody")
o.start_locally()
assert o.wait(timeout=1)
print("locally", len(o.get_top_experiments(9)))
p = HyperParameterOptimizer(base, [UniformParameterRange("General/x", 0, 1)], "score", "v", "max",
    optimizer_class=RandomSearch, max_number_of_concurrent_tasks=2, total_max_jobs=3)
q = HyperParameterOptimizer(base, [UniformParameterRange("General/x", 0, 1)], "score", "v", "max",
    optimizer_class=RandomSearch, max_number_of_concurrent_tasks=2, total_max_jobs=3, execution_queue="nobody")
q.set_default_job_class(LocalJob)
q.start()
assert q.wait(timeout=1)
print("by local jobs", len(q.get_top_experiments(9)))
if "--embedded" in sys.argv:
    p.start()
    assert p.wait(timeout=1)
    print("by itself", len(p.get_top_experiments(9)))
"""


@pytest.mark.parametrize("embedded", [True, False])
def test_on_this_machine_only(redis_url: str, tmp_path: Path, embedded: bool) -> None:
    (tmp_path / "obj.py").write_text(OBJECTIVES)
    (tmp_path / "script.py").write_text(LOCAL)
    env = {} if embedded else {"REDIS_URL": redis_url}
    arguments = ["--embedded"] if embedded else []
    done = run("python", "script.py", *arguments, cwd=tmp_path, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "locally 3" in done.stdout
    assert "by local jobs 3" in done.stdout
    assert "no worker serves" not in done.stdout
    assert ("by itself 3" in done.stdout) is embedded
    assert "trial" in done.stdout  # progress is shown
    if embedded:
        assert len(run_json("controller", "top", cwd=tmp_path)) == 3
    assert_nothing_left(tmp_path)


def test_a_script_that_is_ended_takes_its_optimization_along(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "obj.py").write_text(OBJECTIVES)
    text = """
from controller import HyperParameterOptimizer, RandomSearch, UniformParameterRange
from worker import Task
base = Task.create("P", "base", function="obj:slow").id
o = HyperParameterOptimizer(base, [UniformParameterRange("General/x", 0, 1)], "score", "v", "max",
    optimizer_class=RandomSearch, max_number_of_concurrent_tasks=2, total_max_jobs=5, study="ended",
    max_iteration_per_job=50, lease_s=2.0)
o.start_locally()
o.wait()
"""
    (tmp_path / "script.py").write_text(text)
    store = Store(connect(redis_url))
    for signum in (signal.SIGINT, signal.SIGKILL):
        with started("python", "script.py", cwd=tmp_path, REDIS_URL=redis_url) as process:
            wait_for(lambda: store.studies.status_counts("ended")[Status.IN_PROGRESS] == 2, "two jobs")
            process.send_signal(signum)
            process.wait(40)
            assert_nothing_left(tmp_path)
        if signum == signal.SIGINT:
            assert store.studies.get("ended").state == "interrupted"
            assert store.studies.status_counts("ended")[Status.IN_PROGRESS] == 0
    # The next one goes on with what was cut short, also of workers that are gone.
    done = run("python", "script.py", cwd=tmp_path, timeout=90, REDIS_URL=redis_url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert store.studies.get("ended").state == "completed"
    tasks = [task for task in store.tasks.get_many(store.studies.tasks("ended")) if task]
    counted = [task for task in tasks if task.reason_class is not Reason.STUDY_STOPPED]
    assert [task.iterations for task in counted] == [50] * 5
    assert_nothing_left(tmp_path)


UNWAITED = """
import sys, time
from controller import HyperParameterOptimizer, RandomSearch, UniformParameterRange
from worker import Task
base = Task.create("P", "base", function="obj:" + sys.argv[1]).id
o = HyperParameterOptimizer(base, [UniformParameterRange("General/x", 0, 1)], "score", "v", "max",
    optimizer_class=RandomSearch, max_number_of_concurrent_tasks=2, total_max_jobs=6, study="u", lease_s=2.0)
assert o.get_top_experiments(3) == []
o.{start}()
{then}
"""
ONE_ENDED = "while not any(job.is_running() for job in o.optimizer.get_running_jobs()): time.sleep(0.05)"


@pytest.mark.parametrize(
    ("function", "start", "then", "said"),
    [
        ("quick", "start", "", "ended without waiting for its optimization: no trial of study 'u' ran; call wait()"),
        ("quick", "start_locally", "sys.exit(3)", "no trial of study 'u' ran; call wait() after start()"),
        ("slow", "start_locally", ONE_ENDED, "0 trial(s) of study 'u' ended, 2 cut short; call wait()"),
        ("slow", "start_locally", f"{ONE_ENDED}\nassert o.wait(timeout=0) is False",
         "· the script has ended before its optimization: 0 trial(s) of study 'u' ended, 2 cut short"),
        ("slow", "start_locally", f"{ONE_ENDED}\no.stop(timeout=0)", None),
        ("quick", "start_locally", "o.wait()", None),
        ("quick", "stop", "", None),
    ],
)  # fmt: skip
def test_a_script_that_does_not_wait(
    redis_url: str, tmp_path: Path, function: str, start: str, then: str, said: str | None
) -> None:
    (tmp_path / "obj.py").write_text(OBJECTIVES)
    (tmp_path / "script.py").write_text(UNWAITED.format(start=start, then=then))
    done = run("python", "script.py", function, cwd=tmp_path, REDIS_URL=redis_url)
    assert done.returncode == (3 if "exit" in then else 0)
    assert done.stderr == ""
    assert done.stdout.count("the script has ended") == (0 if said is None else 1)
    assert said is None or said in done.stdout
    counts = Store(connect(redis_url)).studies.status_counts("u")
    assert counts[Status.IN_PROGRESS] == counts[Status.QUEUED] == 0
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("locally", [True, False])
def test_the_example_in_both_ways(redis_url: str, tmp_path: Path, locally: bool) -> None:
    def script(name: str, *arguments: str) -> str:
        path = str(ROOT / "examples" / "hpo" / name)
        done = run("python", path, *arguments, cwd=tmp_path, timeout=150, REDIS_URL=redis_url)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "accuracy 0.9" in script("template.py")
    if locally:
        said = script("optimizer.py", "--locally", "--jobs", "2", "--at-once", "1")
    else:
        with started("worker", "--slots", "2", cwd=tmp_path, log=tmp_path / "log", REDIS_URL=redis_url):
            said = script("optimizer.py", "--jobs", "2", "--at-once", "1")
    assert said.count("which is the best so far") >= 1
    assert "weights of the best: (10, 64)" in said


def test_an_objective_by_itself(place: Path) -> None:
    job = Job(base("falls"), parameter_override={"General/x": 2.0})
    job.launch("default")
    assert job.wait(timeout=1, pool_period=0.05)
    last, highest = Objective("score", "v", "min"), Objective("score", "v", "max", extremum=True)
    assert last.get_objective_metric() == ("score", "v")
    assert (last.get_objective_sign(), highest.get_objective_sign()) == (-1.0, 1.0)
    assert (last.get_objective(job), highest.get_objective(job.task_id())) == (1.0, 6.0)
    assert last.get_normalized_objective(job.task) == -1.0
    several = MultiObjective(["score", "score"], ["v", "w"], ["max", "min"], [True, False])
    assert several.get_objective_metric() == [("score", "v"), ("score", "w")]
    assert several.metrics[0].sign.value == "max_global"
    assert several.get_objective(job) is None  # one of them was not reported
    with pytest.raises(BadInput, match="extremum"):
        Objective("a", "b", "max", [True, False])
