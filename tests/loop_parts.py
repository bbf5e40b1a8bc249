"""A loop in pieces: a context over a real Redis and a study in memory, and tasks that a test moves itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner

from controller.loop.backend import Backend
from controller.loop.budget import Budget
from controller.loop.context import LoopContext, StudyLease
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.job_factory import JobFactory
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.monitor import Monitor
from controller.loop.observer import Observer
from controller.loop.progress import StudyProgress
from controller.loop.state import LoopSettings, LoopState, Requests
from controller.loop.tracking import JobTracker
from controller.search.objective import Objective
from controller.search.parameters import SweepParameter
from controller.search.search import Search
from worker.protocol import Reason, Status, StudyRecord, Summary, TaskRecord, TaskSpec, new_task_id
from worker.protocol.batch import Batch, Point

STUDY, WORKER = "s", "w/0"
X = SweepParameter("x", FloatDistribution(0, 1))


class Notes(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.heartbeats: list[str] = []
        self.ended_jobs: list[Job] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def heartbeat(self, waits_for: str = "") -> None:
        self.heartbeats.append(waits_for)

    def ended(self, job: Job) -> None:
        self.ended_jobs.append(job)


@dataclass
class PlainHooks:
    """The steps of `SearchStrategy`, as no subclass has changed them."""

    jobs: JobFactory
    tracker: JobTracker | None = None
    created: list[Job | None] = field(default_factory=list)
    """What `create_job` returns, one after the other."""

    def process_step(self) -> bool:
        return False

    def get_running_jobs(self) -> Sequence[Job]:
        return []

    def create_job(self) -> Job | None:
        return self.created.pop(0) if self.created else None

    def monitor_job(self, job: Job) -> bool:
        assert self.tracker is not None
        return self.tracker.check_limits(job)

    def helper_create_job(
        self, base_task_id: str, parameter_override: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Job:
        return self.jobs.create(base_task_id, parameter_override, **kwargs)


class LoopParts:
    """What a part is composed with, and the worker's side of the tasks."""

    def __init__(
        self,
        redis_url: str,
        folder: Path,
        *,
        budget: Budget | None = None,
        pruner: BasePruner | None = None,
        lease: StudyLease | None = None,
        **settings: Any,
    ) -> None:
        self.backend = Backend(redis_url, f"sqlite:///{folder}/optuna.db", f"file://{folder}/artifacts")
        self.store = self.backend.store
        self.objective = Objective("loss", "", "min")
        self.budget = budget or Budget()
        self.budget.min_iterations.limit = settings.pop("min_iterations", None)
        self.settings = LoopSettings(**settings)
        self.state = LoopState(study=STUDY)
        self.requests, self.observer = Requests(), Notes()
        sampler = optuna.samplers.RandomSampler(seed=1)
        self.study = optuna.create_study(
            study_name=STUDY, sampler=sampler, pruner=pruner or optuna.pruners.NopPruner()
        )
        self.search = Search(self.study, [X])
        spec = TaskSpec(objective={"kind": "function", "target": "m:f"})
        base = TaskRecord(id=new_task_id(), name="base", spec=spec, created_at=1.0)
        self.store.tasks.create(base)
        self.backend.know_base_task(base)
        self.store.studies.save(StudyRecord(name=STUDY, created_at=1.0, metrics=self.objective.metrics))
        jobs = JobFactory(self.backend, self.state, self.objective, self.budget, self.settings)
        self.hooks = PlainHooks(jobs)
        self.context = LoopContext(
            base_task_id=base.id,
            backend=self.backend,
            objective=self.objective,
            budget=self.budget,
            settings=self.settings,
            state=self.state,
            requests=self.requests,
            search=self.search,
            observer=self.observer,
            lease=lease,
            hooks=self.hooks,
        )
        self.leases = LeaseMonitor(
            self.backend, self.observer, lease_s=self.settings.lease_s, max_attempts=3, queue="default"
        )
        self.lost_records = 0
        self.tracker = JobTracker(self.context, self.leases, self._lost)
        self.hooks.tracker = self.tracker
        self.progress = StudyProgress(self.store, self.backend.clock, self.state, self.budget)
        self.progress.load()
        self.monitor = Monitor(self.store, STUDY)
        self.monitor.open()
        self.fleet = Fleet(self.store, "default")

    def _lost(self) -> None:
        self.lost_records += 1

    # Jobs, and what a worker does with them

    def job(self) -> Job:
        """A job of the next trial, not launched yet."""
        asked = self.search.ask()
        assert asked is not None
        return self.hooks.helper_create_job(
            self.context.base_task_id,
            parameter_override=asked.parameters,
            trial=asked.number,
            task_id=asked.task_id,
        )

    def launched(self) -> Job:
        """A job that is queued and tracked."""
        job = self.job()
        job.launch("default")
        self.tracker.adopt(job)
        return job

    def running(self) -> Job:
        """A job that a worker has started."""
        job = self.launched()
        self.start(job)
        return job

    def start(self, job: Job) -> None:
        """The worker starts the job."""
        job.update(self.store.transitions.start(job.task_id(), job.record.attempt, WORKER))

    def report(self, job: Job, *values: float, first: int = 0, metric: str = "loss") -> None:
        """The worker reports values of a metric, by default the objective's, from iteration `first` on."""
        summary, points = Summary.of(metric, ""), []
        for iteration, value in enumerate(values, first):
            summary = summary.add(value, iteration)
            points.append(Point(title=metric, series="", value=value, iteration=iteration, at=1.0))
        self.store.reports.add(job.record, Batch(seq=first + 1, points=points, summaries={metric: summary}))

    def finish(self, job: Job, status: Status = Status.COMPLETED, reason_class: Reason | None = None) -> None:
        """The worker finishes the job; the loop does not know yet."""
        self.store.transitions.finish(
            job.task_id(), job.record.attempt, status, worker=WORKER, reason_class=reason_class
        )

    def ended(self, *values: float, metric: str = "loss") -> Job:
        """A job that has reported values and completed, monitored and still to be told."""
        job = self.running()
        self.report(job, *values or (1.0,), metric=metric)
        self.finish(job)
        self.tracker.refresh([job.task_id()])
        self.tracker.monitor_due()
        return job

    def states(self) -> Sequence[str]:
        """Names of the trials' states."""
        return [trial.state.name for trial in self.study.trials]
