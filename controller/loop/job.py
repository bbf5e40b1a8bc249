"""A job: the controller's handle on one task, in ClearML's words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from controller.loop.backend import Backend
from controller.loop.run_time import RunTime
from worker.protocol import FINISHED, Reason, Status, Summary, TaskRecord, TaskSpec, new_task_id
from worker.protocol.errors import NewerRecord, RecordError
from worker.protocol.seeds import derived_seed
from worker.protocol.values import full


class Keeper(Protocol):
    """Whose budget a job counts in."""

    def allows(self, job: Job) -> bool:
        """Whether the job may be launched now."""

    def launched(self, job: Job) -> None:
        """It was launched."""


class Job:
    """One task made from a base task with some parameters overridden.

    Args:
        base_task_id: the task whose objective and default parameters it takes.
        parameter_override: name → value; wins over the base task's.
        task_overrides: fields of the task's specification (`TaskSpec`) to replace.
        tags: added to the base task's.
        parent: id of the parent task, by default the base task.
        backend: Redis and RQ to work with; by default those of the environment.
        name, project, study, trial, task_id: of the new task.

    Raises:
        BadInput: there is no such base task.
    """

    def __init__(
        self,
        base_task_id: str,
        parameter_override: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        parent: str | None = None,
        *,
        backend: Backend | None = None,
        name: str = "",
        project: str = "",
        study: str = "",
        trial: int = -1,
        task_id: str | None = None,
    ) -> None:
        backend = backend or Backend.at_home()
        self.backend = backend
        """Redis and RQ that it works with."""
        base = backend.base_task(base_task_id)
        fields = {name: getattr(base.spec, name) for name in TaskSpec.__dataclass_fields__}
        fields["confirms"] = ""
        fields.update(task_overrides or {})
        given = parameter_override or {}
        replaced = {full(name) for name in given}
        kept = {name: v for name, v in base.spec.parameters.items() if full(name) not in replaced}
        fields["parameters"] = {**kept, **given}
        fields["searched"] = tuple(parameter_override or ())
        task_id = task_id or new_task_id()
        if base.spec.seed is not None and "seed" not in (task_overrides or {}):
            fields["seed"] = derived_seed(base.spec.seed, trial if trial >= 0 else task_id)
        fields["tags"] = (*base.spec.tags, *(tags or ()))
        self._record = TaskRecord(
            id=task_id,
            name=name or base.name,
            study=study,
            project=project or base.project,
            parent=parent or base_task_id,
            trial=trial,
            spec=TaskSpec(**fields),
            created_at=backend.clock.now(),
        )
        self.parameters = dict(parameter_override or {})
        """The overridden parameters: those that the search chose."""
        self.scalars: dict[str, Summary] = {}
        """As last read; the loop keeps it fresh for running jobs."""

    saved: dict[str, str] | None = None
    """Artifacts of a task that has ended: name → description as JSON text; None while they were not read."""
    keeper: Keeper | None = None
    """Is asked before the job is launched, and told when it was; None for a job that counts in no budget."""
    _run_time: RunTime | None = None
    watched = False
    """A loop keeps the record fresh; otherwise each question reads it."""

    def _now(self) -> TaskRecord:
        record = self._record
        if not self.watched and record.status in (Status.QUEUED, Status.IN_PROGRESS):
            record = self.refresh()
        return record

    @classmethod
    def adopt(cls, record: TaskRecord, parameters: Mapping[str, Any], backend: Backend) -> Job:
        """The handle on a task that exists already."""
        job = cls.__new__(cls)
        job.backend = backend
        job.update(record)
        job.parameters = dict(parameters)
        job.scalars = {}
        return job

    # What it is

    @property
    def record(self) -> TaskRecord:
        """The task's record as last read."""
        return self._record

    def update(
        self, record: TaskRecord, *, queue: str | None = None, launched_at: float | None = None
    ) -> None:
        """Take a fresher record of the same task: what was launched stays what it was, whatever Redis says.

        Of the record's specification only parameters that the program has added count.

        Args:
            queue: that the task was put on, if it is another one.
            launched_at: the monotonic time of its launch, if it was launched now.
        """
        own: TaskRecord | None = self.__dict__.get("_record")
        if own is None:  # just adopted
            own = record
        if queue is not None or (record.spec is not own.spec and record.spec != own.spec):
            spec = replace(
                own.spec,
                parameters={**record.spec.parameters, **own.spec.parameters},
                connected=record.spec.connected,
                queue=queue or own.spec.queue,
            )
            record = replace(record, spec=spec)
        fixed = (own.id, own.study, own.trial, own.created_at)
        if (record.id, record.study, record.trial, record.created_at) != fixed:
            record = replace(record, id=own.id, study=own.study, trial=own.trial, created_at=own.created_at)
        self._record = record
        timer = self._timer()
        if launched_at is not None:
            timer.launched(launched_at)
        timer.see(self._record)

    def _timer(self) -> RunTime:
        if self._run_time is None:
            self._run_time = RunTime(self.backend.clock)
        return self._run_time

    def refresh(self) -> TaskRecord:
        """Read the task's record."""
        self.update(self.backend.store.tasks.get(self._record.id))
        return self._record

    def task_id(self) -> str:
        """Id of the job's task."""
        return self._record.id

    @property
    def task(self) -> Any:
        """The job's task, to read and to act on."""
        return self.backend.task(self._record)

    @property
    def trial(self) -> int:
        """Optuna's number of the job's trial."""
        return self._record.trial

    # What it does

    def launch(self, queue_name: str | None = None) -> bool:
        """Write the record, then enqueue the job. Twice is harmless.

        Returns:
            True once it is queued; False when it has ended already, or the budget allows no further job.
        """
        if self.keeper is not None and not self.keeper.allows(self):
            return False
        begun = self.backend.clock.monotonic()
        self.update(self.backend.launch(self._record, queue_name), launched_at=begun)
        if self._record.status.is_finished:
            return False
        if self.keeper is not None:
            self.keeper.launched(self)
        return True

    @staticmethod
    def launch_all(jobs: Sequence[Job], queue_name: str) -> None:
        """Launch jobs that the budget allows: together, unless their class has a `launch` of its own."""
        if len(jobs) == 1 or any(type(job).launch is not Job.launch for job in jobs):
            for job in jobs:
                job.launch(queue_name)
            return
        begun = jobs[0].backend.clock.monotonic()
        records = jobs[0].backend.launch_all([job.record for job in jobs], queue_name)
        for job, record in zip(jobs, records, strict=True):
            job.update(record, launched_at=begun)

    def abort(
        self, reason_class: Reason = Reason.USER, reason: str = "aborted", iteration: int | None = None
    ) -> None:
        """Ask for the job's end; it stops within its grace period.

        Args:
            iteration: the last one of the objective that counts; None where all do.
        """
        try:
            found = self.backend.store.transitions.request_stop(
                self._record.id, reason_class, reason, iteration
            )
        except NewerRecord:
            raise
        except RecordError:
            return  # spoiled: the next look takes it for lost, and writes it again
        self.update(found)
        if self._record.status is Status.STOPPED and self._record.started_at is None:
            self.backend.launcher.withdraw(self._record.spec.queue, self._record.id, self._record.attempt)

    def computed_s(self) -> float:
        """Seconds computed so far, over all attempts."""
        record = self._record
        return record.compute_s + (self._timer().seconds() if record.status is Status.IN_PROGRESS else 0.0)

    def elapsed(self) -> float:
        """Seconds computed so far, over all attempts; -1 while it has not begun."""
        return self.computed_s() if self.started() else -1.0

    def iterations(self) -> int:
        """Distinct iterations reported for the first objective metric; -1 while it has not begun.

        Of a job without an objective metric, the most that any of its metrics has.
        """
        if not self.started():
            return -1
        if self._record.spec.metrics:
            return self._record.iterations
        found = self.backend.store.reports.scalars([self._record.id])[0]
        return max((s.iterations for key, s in found.items() if not key.startswith(":monitor:")), default=0)

    def get_metric(self, title: str, series: str) -> tuple[float, float, float] | None:
        """(min, max, last) of a metric; None when it was not reported."""
        scalars = self.backend.store.reports.scalars([self._record.id])[0]
        for summary in scalars.values():
            if (summary.title, summary.series) == (title, series):
                return summary.min, summary.max, summary.last
        return None

    def status(self, force: bool = False) -> str:
        """The task's status; `force` reads it from Redis."""
        if force:
            self.refresh()
        return self._now().status.value

    def wait(self, timeout: float | None = None, pool_period: float = 1.0) -> bool:
        """Wait for the job's end.

        Args:
            timeout: in minutes; None for ever.
            pool_period: seconds between two looks.

        Returns:
            True when it has ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout * 60
        while self.refresh().status not in FINISHED:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(pool_period)
        return True

    def delete(self) -> bool:
        """Remove the task's record, scalars and log. False while it is queued or runs."""
        if self.refresh().status in (Status.QUEUED, Status.IN_PROGRESS):
            return False
        self.backend.store.tasks.remove(self._record)
        return True

    def is_pending(self) -> bool:
        return self._now().status in (Status.CREATED, Status.QUEUED)

    def is_running(self) -> bool:
        return self._now().status is Status.IN_PROGRESS

    def is_completed(self) -> bool:
        return self._now().status is Status.COMPLETED

    def is_failed(self) -> bool:
        return self._now().status is Status.FAILED

    def is_aborted(self) -> bool:
        return self._now().status is Status.STOPPED

    def is_stopped(self) -> bool:
        """True once nothing runs any more, however it ended."""
        return self._now().status in FINISHED

    def started(self) -> bool:
        return self._now().started_at is not None

    def worker(self) -> str:
        """The slot that runs it, or ran it last."""
        return self._record.worker

    def get_console_output(self, number_of_reports: int = 1) -> list[str]:
        """The program's output, as one text in a list; the argument is ClearML's."""
        return [self.backend.store.logs.read(self._record.id)[0]]
