"""What a strategy can be asked and told about its jobs: ClearML's getters and setters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controller.loop.backend import Backend
from controller.loop.job import Job
from controller.results.ranking import Ranking
from controller.search.objective import Objective
from worker.sdk.task import Task

Naming = Callable[[str, dict[str, Any]], str]


class StrategyQuestions:
    """The part of `SearchStrategy` that looks at the search without moving it. Safe from any thread."""

    _backend: Backend
    _objective_metric: Objective
    _ranking: Ranking | None

    def __init__(self) -> None:
        self._running: dict[str, Job] = {}
        self._created: dict[str, dict[str, Any]] = {}
        self._dismissed: set[str] = set()
        self._job_class: type[Job] = Job
        self._job_parent: str | None = None
        self._job_project: str | None = None
        self._job_naming: Naming | None = None
        self._optimizer_task: Any = None

    # Questions

    def get_created_jobs_ids(self) -> Mapping[str, dict[str, Any]]:
        """Task id → the parameters chosen for it, of all jobs created until now."""
        return dict(self._created)

    def get_created_jobs_tasks(self) -> Mapping[str, Job]:
        """Task id → job, of all jobs created until now."""
        ids = list(self._created)
        found: dict[str, Job] = {}
        for task_id, record in zip(ids, self._backend.store.get_many(ids), strict=True):
            if record:
                found[task_id] = self._running.get(task_id) or Job.adopt(
                    record, self._created[task_id], self._backend
                )
        return found

    def get_running_jobs(self) -> Sequence[Job]:
        """The jobs that were launched and have not ended."""
        return [job for task_id, job in list(self._running.items()) if task_id not in self._dismissed]

    def get_objective_metric(self) -> Any:
        """(title, series) of the objective; a list of such pairs for several objectives."""
        return self._objective_metric.get_objective_metric()

    def get_top_experiments(self, top_k: int) -> Sequence[Task]:
        """The best tasks, the best first; none before `start`."""
        records = self._ranking.records(top_k) if self._ranking else []
        return [self._backend.task(record) for record in records]

    def get_top_experiments_details(
        self,
        top_k: int,
        all_metrics: bool = False,
        all_hyper_parameters: bool = False,
        only_completed: bool = False,
    ) -> Sequence[dict[str, Any]]:
        """The best tasks, the best first: ``{task_id, hyper_parameters, metrics, status}`` each.

        Args:
            top_k: how many.
            all_metrics: all scalar metrics, not just the objective's.
            all_hyper_parameters: all parameters, not just the searched ones.
            only_completed: only tasks that completed.
        """
        if self._ranking is None:
            return []
        return self._ranking.details(
            top_k,
            all_metrics=all_metrics,
            all_hyper_parameters=all_hyper_parameters,
            only_completed=only_completed,
        )

    def get_top_experiments_id_metrics_pair(
        self, top_k: int, all_metrics: bool = False, only_completed: bool = False
    ) -> Sequence[tuple[str, dict[str, Any]]]:
        """The best tasks, the best first, as (task id, metrics)."""
        details = self.get_top_experiments_details(
            top_k, all_metrics=all_metrics, only_completed=only_completed
        )
        return [(row["task_id"], row["metrics"]) for row in details]

    # Settings

    def set_job_class(self, job_class: type[Job]) -> None:
        """The class that `helper_create_job` makes jobs of."""
        self._job_class = job_class

    def set_job_default_parent(self, job_parent_task_id: str | None, project_name: str | None = None) -> None:
        """Parent, and optionally project, of all jobs that `helper_create_job` makes."""
        self._job_parent, self._job_project = job_parent_task_id, project_name

    def set_job_naming_scheme(self, naming_function: Naming | None) -> None:
        """``naming_function(base task's name, parameters) -> name`` of a job's task."""
        self._job_naming = naming_function

    def get_optimizer_task(self) -> Any:
        """The task that `set_optimizer_task` named."""
        return self._optimizer_task

    def set_optimizer_task(self, task: Any) -> None:
        """The task that reports on the optimization itself."""
        self._optimizer_task = task
