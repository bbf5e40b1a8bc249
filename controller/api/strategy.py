"""`SearchStrategy`: a search over jobs, in ClearML's words. What it runs is `controller.loop.loop.Loop`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from controller.api.arguments import budget_of, checked_limits, names_of, rest
from controller.api.inside import Inside
from controller.api.local_job import LocalJob
from controller.loop.backend import Backend
from controller.loop.context import StudyLease
from controller.loop.first_failures import FIRST
from controller.loop.job import Job
from controller.loop.job_factory import Naming
from controller.loop.observer import Observer
from controller.loop.state import settings_of
from controller.search.objective import Objective
from controller.search.parameters import Parameter
from controller.search.search import Search
from controller.search.sets import apart
from controller.session.base_task import check_base_task
from controller.session.local_workers import local_queue
from controller.session.notebook import default_view
from controller.session.study_session import StudyDefinition, StudySession
from worker.protocol import Reason, StudyState
from worker.protocol.errors import BadInput
from worker.sdk.task import Task


class SearchStrategy:
    """Runs a search over jobs made from one base task. Base class of `OptimizerOptuna` and the others.

    By itself it creates no job: a subclass overrides `create_job`, and other steps if it wants.

    Args:
        base_task_id: the task that jobs are made from.
        hyper_parameters: what is searched.
        objective_metric: what is optimized.
        execution_queue: queue that jobs are launched on.
        num_concurrent_workers: jobs at a time; None for as many as the queue's workers have slots.
        pool_period_min: minutes between two readings of all records, in case an event was lost.
        time_limit_per_job, compute_time_limit: minutes that one job may run, and all jobs together.
        min_iteration_per_job, max_iteration_per_job: iterations before a job may be pruned, and at most.
        total_max_jobs: jobs, or with `max_iteration_per_job` what multiplies it to the iteration budget.
        backend: Redis, RQ, storage and artifacts; by default those of the environment.
        study: its name, by default the optimizer's or the base task's. One that exists is continued.
        search: where parameters come from; by default this class' own.
        max_attempts: executions of one task before it is given up as lost.
        lease_s: a worker or controller that was silent for so many seconds is lost.
        retry_on: classes of failures after which a task is tried again, such as ``objective_error``.
        wall_clock_limit: minutes that the whole search may take.
        max_failures: failed jobs at which the search fails.
        first_failures: the search fails when its first so many jobs have all failed alike; 0 for never.
        retry_failed: run the failed configurations of a study that is continued again, each once.
        constraints: ``{"metric": "title/series", "max": bound}`` (or ``min``): what violates one never ranks.
        on_nan: "fail", "prune" or "ignore" jobs that report not a number; by default as the pruner says.
        stop_when: rules by which the search ends, as `[budget] stop_when` of a sweep file.
        allow_new_parameters: search parameters that the base task doesn't have.
        workers: local workers to start; by default one per CPU where Redis is embedded and nobody serves
            the queue, else none.
        observer: is told what happens; by default it is printed.
        lock: the right to act on the study; the loop waits while it does not hold it.
        more: arguments that ClearML takes and ignores; a warning says what to use instead.

    For the limits that ClearML has, 0 is the same as None: no limit.

    Raises:
        BadInput: there is no such base task, it lacks a parameter, limits contradict each other, or there is
            no such argument.

    The loop runs in the thread that calls `start`; all else may be called from any other.
    """

    def __init__(
        self,
        base_task_id: str,
        hyper_parameters: Sequence[Parameter],
        objective_metric: Objective,
        execution_queue: str = "default",
        num_concurrent_workers: int | None = None,
        pool_period_min: float = 2.0,
        time_limit_per_job: float | None = None,
        compute_time_limit: float | None = None,
        min_iteration_per_job: int | None = None,
        max_iteration_per_job: int | None = None,
        total_max_jobs: int | None = None,
        *,
        backend: Backend | None = None,
        study: str | None = None,
        search: Search | None = None,
        max_attempts: int = 3,
        lease_s: float = 15.0,
        retry_on: Sequence[str] = (),
        wall_clock_limit: float | None = None,
        max_failures: int | None = None,
        first_failures: int = FIRST,
        retry_failed: bool = False,
        constraints: Sequence[Mapping[str, Any]] = (),
        on_nan: str | None = None,
        stop_when: str | Sequence[str] = (),
        allow_new_parameters: bool = False,
        workers: int | None = None,
        observer: Observer | None = None,
        lock: StudyLease | None = None,
        **more: Any,
    ) -> None:
        rest(more, names_of(SearchStrategy.__init__))
        given = checked_limits(locals())
        self.budget = budget_of(given)
        """What may be used and what has been; `monitor_job` keeps it."""
        self._base_task_id = base_task_id  # ClearML's names, which subclasses of its users read
        self._hyper_parameters = apart("hyper_parameters", hyper_parameters)
        self._objective_metric = objective_metric
        self._execution_queue, self._num_concurrent_workers = execution_queue, num_concurrent_workers
        self.pool_period_minutes, self.time_limit_per_job = pool_period_min, given["time_limit_per_job"]
        self.compute_time_limit, self.total_max_jobs = given["compute_time_limit"], given["total_max_jobs"]
        self.min_iteration_per_job = min_iteration_per_job
        self.max_iteration_per_job = given["max_iteration_per_job"]
        self._current_jobs: list[Job] = []
        self._pending_jobs: list[Job] = []
        self._num_jobs = 0
        self._stop_event = threading.Event()
        self._optimizer_task: Any = None
        self.observer = observer or default_view()
        """Is told what happens; may be replaced before `start`."""
        self._inside = Inside(
            backend or Backend.at_home(), objective_metric, self.budget, settings_of(given), study or "",
            search, lock,
        )  # fmt: skip
        self._inside.local_workers = workers
        if search is None:
            base = self.backend.base_task(base_task_id, study or "")
            check_base_task(base, self._hyper_parameters, allow_new_parameters=allow_new_parameters)

    # How it does

    @property
    def study(self) -> str:
        """Name of the study; empty before `start` when none was given."""
        return self._inside.state.study

    @property
    def state(self) -> str:
        """One of `StudyState`."""
        return self._inside.state.status

    @property
    def reason(self) -> str:
        """Why it ended; empty until then."""
        return self._inside.state.reason

    @property
    def objective(self) -> Objective:
        """What is optimized."""
        return self._objective_metric

    @property
    def backend(self) -> Backend:
        """Redis, RQ, storage and artifacts."""
        return self._inside.backend

    # Running

    def start(self) -> None:
        """Run the search; returns when it has ended or `stop` was called.

        Raises:
            BadInput: the study exists with another search space, or its storage can't be used.
        """
        inside = self._inside
        if inside.begun:
            raise BadInput("start: this optimizer has run already; make another one")
        inside.begun = True
        if issubclass(inside.factory.job_class, LocalJob):
            self._execution_queue = local_queue(self.backend)
        inside.state.queue = self._execution_queue
        if inside.search is not None or inside.lease is not None:  # `controller start` has opened the study
            self._run()
            return
        with StudySession(
            self.backend, self._definition(), self.observer, lambda: inside.requests.stops
        ) as session:
            if not session.acquire():
                inside.state.status = StudyState.INTERRUPTED
                inside.state.reason = "stopped before it began"
                return
            session.refuse_other_study()
            inside.state.study, inside.lease = session.name, session.lock
            inside.search = self._open_search()
            session.register()
            if inside.local_workers != 0:
                session.start_workers(inside.local_workers, self.budget.max_concurrent)
            self._run()

    def _definition(self) -> StudyDefinition:
        """What this search's study is."""
        base = self.backend.base_task(self._base_task_id)
        return StudyDefinition(
            name=self.study,
            stem=getattr(self._optimizer_task, "name", "") or base.name or "optimization",
            metrics=self._objective_metric.metrics,
            parameters=self._hyper_parameters,
            queue=self._inside.state.queue,
            storage="",
            lease_s=self._inside.settings.lease_s,
        )

    def _open_search(self) -> Search | None:
        """The search of the study, made or continued; None for a class that creates its own jobs."""
        return None

    def _run(self) -> None:
        loop = self._inside.make_loop(self._base_task_id, self.observer, self)
        self.observer.begin(loop)
        if loop.run():
            raise KeyboardInterrupt

    def run_locally(self, workers: int, queue: str) -> None:
        """Have the jobs run by workers of this program's own. Call it before `start`.

        Args:
            workers: slots to start.
            queue: that nobody else serves.
        """
        self._execution_queue = queue
        self._inside.local_workers = workers

    def stop(self) -> None:
        """End the search: what runs is stopped, nothing more is created."""
        self._inside.requests.stop()
        self._stop_event.set()

    def end(self, reason: str) -> None:
        """End the search because its time is over: what runs is stopped."""
        self._inside.requests.time_over = reason
        self._stop_event.set()

    def interrupt(self) -> None:
        """As `stop`, but the study can be continued: what was cut short is tried again then."""
        self._inside.requests.interrupt()
        self._stop_event.set()

    def hand_over(self) -> None:
        """As `interrupt`, but what runs goes on: the next controller adopts it."""
        self._inside.requests.hand_over()
        self._stop_event.set()

    def abort_running(self, reason_class: Reason, reason: str) -> None:
        """Ask what runs to stop, from any thread: where a step of a subclass does not return."""
        for job in self.get_running_jobs():
            self.backend.store.transitions.request_stop(job.task_id(), reason_class, reason)

    # What a subclass may replace

    def process_step(self) -> bool:
        """One step: monitor the jobs of which something is new, tell results, create and launch jobs.

        Returns:
            True to go on, False when the search has ended.
        """
        if self._inside.loop is None:
            return False
        goes_on = self._inside.loop.step()
        if self._inside.loop.own_jobs.of_a_subclass:
            self._current_jobs = self._inside.running(self._current_jobs)
            self._num_jobs = len(self._inside.state.created)
        return goes_on

    def create_job(self) -> Job | None:
        """A new job if one may be created now, else None. The caller launches it."""
        return self._inside.loop.launching.create() if self._inside.loop else None

    def monitor_job(self, job: Job) -> bool:
        """Look at one job: account for it, and stop it if it is over a limit.

        Returns:
            False when the job has ended and belongs off the list.
        """
        return self._inside.loop is not None and self._inside.loop.tracker.check_limits(job)

    def update_budget_per_job(self, job: Job) -> bool:
        """Account for a job, for a `monitor_job` of one's own. True when a limit ends the job."""
        SearchStrategy.monitor_job(self, job)
        return job.record.stop is not None

    def helper_create_job(
        self,
        base_task_id: str,
        parameter_override: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        parent: str | None = None,
        **kwargs: Any,
    ) -> Job:
        """Make a job with this search's job class, names and parent.

        Args:
            base_task_id: the task that it is made from.
            parameter_override: name → value; wins over the base task's.
            task_overrides: fields of the task's specification to replace.
            tags: added to the base task's.
            parent: id of its parent, by default as `set_job_default_parent` says.
            kwargs: for the job class.

        Raises:
            BadInput: there is no such base task, or a field isn't one.
        """
        return self._inside.factory.create(
            base_task_id, parameter_override, task_overrides, tags, parent, **kwargs
        )

    # Questions

    def get_created_jobs_ids(self) -> Mapping[str, dict[str, Any]]:
        """Task id → the parameters chosen for it, of all jobs created until now."""
        return dict(self._inside.state.created)

    def get_created_jobs_tasks(self) -> Mapping[str, Job]:
        """Task id → job, of all jobs created until now."""
        ids = list(self._inside.state.created)
        found: dict[str, Job] = {}
        for task_id, record in zip(ids, self._inside.backend.store.tasks.get_many(ids), strict=True):
            if record:
                found[task_id] = self._inside.state.running.get(task_id) or Job.adopt(
                    record, self._inside.state.created[task_id], self._inside.backend
                )
        return found

    def get_running_jobs(self) -> Sequence[Job]:
        """The jobs that were launched and have not ended."""
        return self._inside.running(self._current_jobs)

    def get_objective_metric(self) -> Any:
        """(title, series) of the objective; a list of such pairs for several objectives."""
        return self._objective_metric.get_objective_metric()

    def get_top_experiments(self, top_k: int) -> Sequence[Task]:
        """The best tasks, the best first; none before `start`."""
        records = self._inside.ranking.records(top_k) if self._inside.ranking else []
        return [self._inside.backend.task(record) for record in records]

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
        if self._inside.ranking is None:
            return []
        return self._inside.ranking.details(
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
        self._inside.factory.job_class = job_class

    def set_job_default_parent(self, job_parent_task_id: str | None, project_name: str | None = None) -> None:
        """Parent, and optionally project, of all jobs that `helper_create_job` makes."""
        self._inside.factory.parent, self._inside.factory.project = job_parent_task_id, project_name

    def set_job_naming_scheme(self, naming_function: Naming | None) -> None:
        """``naming_function(base task's name, parameters) -> name`` of a job's task."""
        self._inside.factory.naming = naming_function

    def get_optimizer_task(self) -> Any:
        """The task that `set_optimizer_task` named."""
        return self._optimizer_task

    def set_optimizer_task(self, task: Any) -> None:
        """The task that reports on the optimization itself."""
        self._optimizer_task = task
