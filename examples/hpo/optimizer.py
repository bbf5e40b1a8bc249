"""Varies the task that `template.py` made, as a ClearML optimizer script does.

python examples/hpo/optimizer.py              jobs go to the workers of queue "default"
python examples/hpo/optimizer.py --locally    jobs run on this machine
"""

import argparse

from controller import (
    DiscreteParameterRange,
    HyperParameterOptimizer,
    LogUniformParameterRange,
    OptimizerOptuna,
    UniformIntegerParameterRange,
)
from worker import Task

parser = argparse.ArgumentParser()
parser.add_argument("--locally", action="store_true")
parser.add_argument("--jobs", type=int, default=8)
parser.add_argument("--at-once", type=int, default=2)
parser.add_argument("--queue", default="default")
arguments = parser.parse_args()

task = Task.init(
    project_name="Digits",
    task_name="SGD optimization",
    task_type=Task.TaskTypes.optimizer,
    reuse_last_task_id=False,
)


def job_complete_callback(
    job_id, objective_value, objective_iteration, job_parameters, top_performance_job_id
):
    print(f"job {job_id[:8]}: {objective_value} at iteration {objective_iteration} with {job_parameters}")
    if job_id == top_performance_job_id:
        print("  which is the best so far")


optimizer = HyperParameterOptimizer(
    base_task_id=Task.get_task(project_name="Digits", task_name="SGD base").id,
    hyper_parameters=[
        LogUniformParameterRange("General/learning_rate", min_value=-4, max_value=-1),
        LogUniformParameterRange("General/alpha", min_value=-6, max_value=-2),
        UniformIntegerParameterRange("General/batch_size", min_value=16, max_value=128, step_size=16),
        DiscreteParameterRange("General/penalty", values=["l2", "l1"]),
    ],
    objective_metric_title="accuracy",
    objective_metric_series="validation",
    objective_metric_sign="max",
    optimizer_class=OptimizerOptuna,
    max_number_of_concurrent_tasks=arguments.at_once,
    execution_queue=arguments.queue,
    pool_period_min=0.2,
    total_max_jobs=arguments.jobs,
    min_iteration_per_job=3,
    max_iteration_per_job=15,
    time_limit_per_job=5.0,
    optuna_pruner="median",
)
optimizer.set_report_period(0.5)
if arguments.locally:
    optimizer.start_locally(job_complete_callback=job_complete_callback)
else:
    optimizer.start(job_complete_callback=job_complete_callback)
optimizer.set_time_limit(in_minutes=20.0)
optimizer.wait()
for best in optimizer.get_top_experiments_details(top_k=3):
    print(best["task_id"], best["metrics"]["accuracy/validation"]["value"], best["hyper_parameters"])
for best_task in optimizer.get_top_experiments(top_k=1):
    print("weights of the best:", best_task.artifacts["weights"].get().shape)
optimizer.stop()
