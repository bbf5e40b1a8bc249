"""`HyperParameterOptimizer`: an optimization in the background of a program, as ClearML's."""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from controller.api.arguments import checked_minutes
from controller.api.ended_jobs import Callback, EndedJobs
from controller.api.job_events import JobEvents
from controller.api.optimizer_task import OptimizerTask, own_task
from controller.api.optuna_strategy import RandomSearch
from controller.api.strategy import SearchStrategy
from controller.loop.backend import Backend
from controller.loop.job import Job
from controller.results.ranking import order_by_values
from controller.search.objective import MultiObjective, Objective
from controller.search.parameters import Parameter
from worker.protocol import Reason, Status
from worker.protocol.connection import AWAY
from worker.protocol.errors import BadInput, OptunaRQError
from worker.sdk.task import Task

log = logging.getLogger(__name__)

_STEP_S = 0.2
_PATIENCE_S = 2.0
"""For the optimizer's own step to hear of a request, in seconds."""
_TIME_OVER = "optimization time limit reached"


class HyperParameterOptimizer:
    """Runs a search strategy in a thread and reports on it.

    Args:
        base_task_id: task that jobs are made from.
        hyper_parameters: what is searched.
        objective_metric_title, objective_metric_series: name the metric; lists for several objectives.
        objective_metric_sign: ``min``, ``max``, ``min_global`` or ``max_global``; a list for several.
        optimizer_class: a subclass of `SearchStrategy`, or an instance of one, which is used as it is.
        max_number_of_concurrent_tasks: jobs at a time.
        execution_queue: queue to launch jobs on.
        optimization_time_limit: minutes that the whole optimization may take; None or 0 for no limit.
        compute_time_limit: minutes that all jobs together may compute; None or 0 for no limit.
        auto_connect_task: report to this program's task (or to the `Task` given), if it has one.
        always_create_task: make a task to report to where there is none.
        spawn_project: project of the jobs, by default the base task's.
        save_top_k_tasks_only: jobs that are not among the best so many are archived once they have ended.
        optimizer_kwargs: for the optimizer's class, such as ``total_max_jobs``.

    Raises:
        BadInput: as the optimizer's class.
    """

    _ends_at: float | None = None
    """The deadline, by the monotonic clock: setting this machine's clock doesn't move it."""

    def __init__(
        self,
        base_task_id: str,
        hyper_parameters: Sequence[Parameter],
        objective_metric_title: str | Sequence[str],
        objective_metric_series: str | Sequence[str],
        objective_metric_sign: str | Sequence[str] = "min",
        optimizer_class: type[SearchStrategy] | SearchStrategy = RandomSearch,
        max_number_of_concurrent_tasks: int = 10,
        execution_queue: str = "default",
        optimization_time_limit: float | None = None,
        compute_time_limit: float | None = None,
        auto_connect_task: bool | Task = True,
        always_create_task: bool = False,
        spawn_project: str | None = None,
        save_top_k_tasks_only: int | None = None,
        **optimizer_kwargs: Any,
    ) -> None:
        several = not isinstance(objective_metric_title, str)
        objective = (MultiObjective if several else Objective)(
            objective_metric_title, objective_metric_series, objective_metric_sign
        )
        self._reports = OptimizerTask(own_task(auto_connect_task, always_create_task))
        if isinstance(optimizer_class, SearchStrategy):
            if optimizer_kwargs:
                raise BadInput(
                    f"optimizer_class is an instance already: {', '.join(optimizer_kwargs)} would go nowhere"
                )
            self.optimizer: SearchStrategy = optimizer_class
        elif inspect.isclass(optimizer_class) and issubclass(optimizer_class, SearchStrategy):
            self.optimizer = optimizer_class(
                base_task_id=base_task_id,
                hyper_parameters=hyper_parameters,
                objective_metric=objective,
                execution_queue=execution_queue,
                num_concurrent_workers=max_number_of_concurrent_tasks,
                compute_time_limit=compute_time_limit,
                **optimizer_kwargs,
            )
        else:
            raise BadInput(
                f"optimizer_class: a SearchStrategy or a subclass of it, not {optimizer_class!r:.80}"
            )
        self.base_task_id, self.hyper_parameters = base_task_id, hyper_parameters  # as ClearML's
        self.max_number_of_concurrent_tasks = max_number_of_concurrent_tasks
        self.execution_queue = execution_queue
        self._ended_jobs = EndedJobs(self.optimizer, self._reports, save_top_k_tasks_only)
        self._connect(spawn_project)
        self._minutes = checked_minutes("optimization_time_limit", optimization_time_limit)
        self._deadline: datetime | None = None
        self._report_period_s = 300.0
        self._thread: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._ended = threading.Event()
        self._started_at: float | None = None
        self._seconds: float | None = None
        self._error: BaseException | None = None
        self._exiting = self._stopped = self._waited = False

    def _connect(self, project: str | None) -> None:
        """Hear of each job that ends, and make the optimizer's task the jobs' parent."""
        task = self._reports.task
        self.optimizer.observer = JobEvents(self.optimizer.observer, self._ended_jobs.handle)
        if task is not None:
            self.optimizer.set_optimizer_task(task)
        if task is not None or project:
            self.optimizer.set_job_default_parent(task.id if task is not None else None, project_name=project)

    @property
    def objective_metric(self) -> Objective:
        """What is optimized."""
        return self.optimizer.objective

    @property
    def save_top_k_tasks_only(self) -> int | None:
        """Jobs that are not among the best so many are archived; None, 0 and -1 archive none."""
        return self._ended_jobs.keep_top

    @save_top_k_tasks_only.setter
    def save_top_k_tasks_only(self, top_k: int | None) -> None:
        self._ended_jobs.keep_top = top_k

    # Running

    def start(self, job_complete_callback: Callback | None = None) -> bool:
        """Start the optimization in a thread.

        Args:
            job_complete_callback: called once for each job that has ended, in its own turn:
                ``(job id, objective value, objective iteration, the job's parameters, id of the best job)``;
                value and iteration are None where the job has none, and lists for several objectives.

        Returns:
            False when it runs already, or has run.
        """
        if self._thread is not None:
            return False
        self._ended_jobs.callback = job_complete_callback
        self._started_at = time.monotonic()
        if self._minutes is not None:
            self.set_time_limit(in_minutes=self._minutes)
        self._thread = threading.Thread(target=self._run, name="optimizer", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="optimizer-watch", daemon=True)
        self._thread.start()
        self._watcher.start()
        # A program that ends takes its optimization along, in order: it can be continued.
        atexit.register(self._at_exit)
        return True

    def start_locally(self, job_complete_callback: Callback | None = None) -> bool:
        """As `start`, but the jobs run on this machine only, by workers that are started for them.

        As many workers as jobs at a time, at most one per CPU.
        """
        if self._thread is not None:
            return False
        limit = self.optimizer.budget.max_concurrent
        cpus = os.cpu_count() or 1
        queue = f"local-{os.getpid()}-{id(self) & 0xFFFF:04x}"
        self.optimizer.run_locally(min(limit, cpus) if limit else cpus, queue)
        return self.start(job_complete_callback)

    def _run(self) -> None:
        try:
            self.optimizer.start()
        except BaseException as error:
            self._error = error
            if self._exiting:  # nothing can begin in a program that ends
                log.debug("not begun: %s", error)
                return
            level = logging.ERROR if isinstance(error, OptunaRQError) else logging.CRITICAL
            log.log(level, "the optimization has ended with an error: %s", error)
        finally:
            assert self._started_at is not None
            self._seconds = time.monotonic() - self._started_at
            self._ended.set()

    def _watch(self) -> None:
        """Keep the time limit, and report now and then."""
        due = time.monotonic() + self._report_period_s
        while not self._ended.wait(_STEP_S):
            if self.reached_time_limit():
                self.optimizer.end(_TIME_OVER)
                self._wait_for_end(_PATIENCE_S + _STEP_S, Reason.TIME_LIMIT, _TIME_OVER)
            if time.monotonic() >= due:
                self._report()
                due = time.monotonic() + self._report_period_s
        self._report()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end.

        Args:
            timeout: in minutes; None for as long as it takes.

        Returns:
            True when it has ended, False when it runs on.

        Raises:
            OptunaRQError: it could not begin, or go on; what `start` of the optimizer raised.
        """
        if self._thread is None:
            return True
        self._waited = True
        # In steps, so that Ctrl-C is heard.
        deadline = None if timeout is None else time.monotonic() + timeout * 60
        while not self._ended.wait(
            0.5 if deadline is None else max(0.0, min(0.5, deadline - time.monotonic()))
        ):
            if deadline is not None and time.monotonic() >= deadline:
                return False
        assert self._watcher is not None
        self._watcher.join(30)
        if self._error is not None:
            raise self._error
        return True

    def stop(self, timeout: float | None = None, wait_for_reporter: bool = True) -> None:
        """End the optimization: what runs is stopped, nothing more is created. Harmless when it has ended.

        Args:
            timeout: minutes to wait for the end; None for as long as it takes.
            wait_for_reporter: ClearML's, without effect.
        """
        if self._thread is None:
            return
        self._stopped = True
        self.optimizer.stop()
        if threading.current_thread() is not self._thread:
            self._wait_for_end(None if timeout is None else timeout * 60, Reason.STUDY_STOPPED, "stopped")

    def _wait_for_end(self, timeout_s: float | None, reason_class: Reason, reason: str) -> None:
        """Wait for the end, which was asked for; a step that does not return gets its jobs stopped."""
        patience = _PATIENCE_S if timeout_s is None else min(_PATIENCE_S, timeout_s)
        if not self._ended.wait(patience):
            try:
                self.optimizer.abort_running(reason_class, reason)
            except AWAY as error:  # the loop stops them when Redis is back
                log.debug("nothing was stopped: %s", error)
            self._ended.wait(None if timeout_s is None else timeout_s - patience)

    def _at_exit(self) -> None:
        """End what the program did not wait for, and say how far it got."""
        if self._ended.is_set():
            return
        self._exiting = True
        self.optimizer.interrupt()
        self._wait_for_end(30, Reason.STUDY_STOPPED, "interrupted")
        if not self._stopped:
            self.optimizer.observer.note(self._ended_jobs.after_all(waited=self._waited))

    def is_active(self) -> bool:
        """True until it has ended; also before `start`."""
        return not self._ended.is_set()

    def is_running(self) -> bool:
        """True from `start` until it has ended."""
        return self._thread is not None and not self._ended.is_set()

    # Time

    def set_time_limit(self, in_minutes: float | None = None, specific_time: datetime | None = None) -> None:
        """Limit the time of the whole optimization.

        Args:
            in_minutes: from now, or from `start` when that comes later; None or 0 for no limit.
            specific_time: instead, the moment itself, by this machine's clock as it is now.
        """
        in_minutes = checked_minutes("set_time_limit: in_minutes", in_minutes)
        self._minutes = in_minutes if specific_time is None else None
        self._deadline, self._ends_at = specific_time, None
        if specific_time is not None:
            self._ends_at = time.monotonic() + specific_time.timestamp() - time.time()
        elif in_minutes is not None and self._started_at is not None:
            self._deadline = datetime.now() + timedelta(minutes=in_minutes)
            self._ends_at = time.monotonic() + in_minutes * 60

    def get_time_limit(self) -> datetime | None:
        """The moment at which the optimization ends at the latest; None without a limit or before `start`."""
        return self._deadline

    def reached_time_limit(self) -> bool:
        """Whether the time is over; False without a limit."""
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    def elapsed(self) -> float:
        """Minutes since `start`, until the end; -1 before."""
        if self._started_at is None:
            return -1.0
        return (self._seconds if self._seconds is not None else time.monotonic() - self._started_at) / 60

    def set_report_period(self, report_period_minutes: float) -> None:
        """Minutes between two reports to the optimizer's task."""
        if not report_period_minutes > 0:
            raise BadInput(f"set_report_period: {report_period_minutes} minutes must be above 0")
        self._report_period_s = report_period_minutes * 60

    # Questions

    def get_optimizer(self) -> SearchStrategy:
        """The strategy that runs."""
        return self.optimizer

    def get_top_experiments(self, top_k: int) -> Sequence[Task]:
        """The best tasks, the best first."""
        return self.optimizer.get_top_experiments(top_k)

    def get_top_experiments_details(
        self,
        top_k: int,
        all_metrics: bool = False,
        all_hyper_parameters: bool = False,
        only_completed: bool = False,
    ) -> Sequence[dict[str, Any]]:
        """See `SearchStrategy.get_top_experiments_details`."""
        return self.optimizer.get_top_experiments_details(
            top_k,
            all_metrics=all_metrics,
            all_hyper_parameters=all_hyper_parameters,
            only_completed=only_completed,
        )

    def get_active_experiments(self) -> Sequence[Task]:
        """Tasks of the jobs that were launched and have not ended."""
        return [job.task for job in self.optimizer.get_running_jobs()]

    def get_num_active_experiments(self) -> int:
        """How many `get_active_experiments` there are."""
        return len(self.optimizer.get_running_jobs())

    @classmethod
    def get_optimizer_top_experiments(
        cls,
        objective_metric_title: str | Sequence[str],
        objective_metric_series: str | Sequence[str],
        objective_metric_sign: str | Sequence[str],
        optimizer_task_id: str,
        top_k: int,
    ) -> Sequence[Task]:
        """The best tasks of an optimization, this program's or another's, running or ended.

        Args:
            objective_metric_title, objective_metric_series, objective_metric_sign: to rank by.
            optimizer_task_id: id of the optimizer's task, which is the jobs' parent.
            top_k: how many.
        """
        objective = Objective(objective_metric_title, objective_metric_series, objective_metric_sign)
        backend = Backend.at_home()
        jobs = Task.get_tasks(task_filter={"parent": optimizer_task_id})
        usable = [job for job in jobs if job.about.get("status") != Status.FAILED.value]
        found = backend.store.reports.scalars([job.id for job in usable])
        values = [objective.values(scalars) for scalars in found]
        return [usable[index] for index in order_by_values(objective.metrics, values, top_k)]

    # Settings

    def set_default_job_class(self, job_class: type[Job]) -> None:
        """The class that the optimizer makes jobs of."""
        self.optimizer.set_job_class(job_class)

    def _report(self) -> None:
        """Report what is used of the budget, and the best experiments."""
        self._reports.report_summary(
            self.elapsed(),
            self.optimizer.budget.to_dict(),
            lambda: self.optimizer.get_top_experiments_details(10, all_hyper_parameters=True),
        )
