"""The loop: what ended is told, what may run is launched, what must stop is stopped.

The strategy sees neither RQ nor Optuna: it asks a search and tells a backend; only the loop knows both.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from controller.backend import Backend
from controller.budget import Budget, Verdict
from controller.care import Caretaker
from controller.fleet import Fleet
from controller.job import Job
from controller.lock import StudyLock
from controller.monitor import AWAY, Changes, Monitor
from controller.objective import Objective
from controller.observer import Observer
from controller.parameters import Parameter
from controller.questions import StrategyQuestions
from controller.ranking import Ranking
from controller.search import Asked, Search
from controller.verdicts import trial_state
from worker.protocol import Reason, Status, StudyState, Summary, TaskRecord
from worker.protocol.errors import BadInput

log = logging.getLogger(__name__)

WAIT_S = 0.5
"""Longest wait for an event, in seconds: how long a request from another thread may take to be seen."""
TICK_S = 1.0
"""How often running times are added up and deadlines looked at, in seconds."""


class SearchStrategy(StrategyQuestions):
    """Runs a search over jobs made from one base task. Base class of `OptimizerOptuna`.

    Args:
        base_task_id: the task that jobs are made from.
        hyper_parameters: what is searched.
        objective_metric: what is optimized.
        execution_queue: queue that jobs are launched on.
        num_concurrent_workers: jobs at a time; None for as many as the queue's workers have slots.
        pool_period_min: minutes between two looks at the records themselves, for whatever no event told.
        time_limit_per_job: minutes that one job may run.
        compute_time_limit: minutes that all jobs together may compute.
        min_iteration_per_job: iterations before a job may be pruned.
        max_iteration_per_job: iterations after which a job is stopped.
        total_max_jobs: jobs, or with `max_iteration_per_job` what multiplies it to the iteration budget.
        backend: Redis, RQ, storage and artifacts.
        study: name under which records are kept.
        search: where parameters come from.
        max_attempts: executions of one task before it is given up as lost.
        wall_clock_limit: minutes that the whole search may take.
        max_failures: failed jobs at which the search fails.
        observer: is told what happens.
        lock: the right to act on the study; the loop waits while it does not hold it.

    The loop runs in the thread that calls `start`; `stop` may be called from any other.
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
        backend: Backend,
        study: str,
        search: Search,
        max_attempts: int = 3,
        lease_s: float = 15.0,
        wall_clock_limit: float | None = None,
        max_failures: int | None = None,
        observer: Observer | None = None,
        lock: StudyLock | None = None,
    ) -> None:
        super().__init__()
        if pool_period_min <= 0:
            raise BadInput(f"pool_period_min {pool_period_min} must be above 0")
        self._base_task_id = base_task_id
        self._parameters = list(hyper_parameters)
        self._objective = objective_metric
        self._queue = execution_queue
        self._pool_period_s = pool_period_min * 60
        self._time_limit_s = time_limit_per_job * 60 if time_limit_per_job else None
        self._min_iterations = min_iteration_per_job or 0
        self._lease_s = lease_s
        self._backend = backend
        self._store = backend.store
        self._study = study
        self._search = search
        self._observer = observer or Observer()
        self._ranking = Ranking(self._store, study, objective_metric.metrics)
        self._monitor = Monitor(self._store, study)
        self._fleet = Fleet(self._store, execution_queue)
        self._care = Caretaker(backend, self._observer, lease_s=lease_s, max_attempts=max_attempts)
        self._lock = lock
        self.budget = Budget(
            jobs_limit=total_max_jobs,
            max_iteration_per_job=max_iteration_per_job,
            compute_time_limit_s=compute_time_limit * 60 if compute_time_limit else None,
            wall_clock_limit_s=wall_clock_limit * 60 if wall_clock_limit else None,
            max_concurrent=num_concurrent_workers,
            max_failures=max_failures,
        )
        """What may be used and what has been; `monitor_job` keeps it."""

        self._running: dict[str, Job] = {}
        self._created: dict[str, dict[str, Any]] = {}
        self._due: set[str] = set()
        self._ended: list[Job] = []
        self._asked: deque[Asked] = deque()
        self._stop_asked = threading.Event()
        self._interrupted = False
        self._ending: Verdict | None = None
        self._paused = False
        self.state = StudyState.RUNNING
        self.reason = ""
        self._ended_by_deadline = 0.0
        self._changes: Changes = Changes()
        self._next_tick = self._next_poll = 0.0
        self._last_tick = time.monotonic()

    # The loop

    def start(self) -> None:
        """Run the search; returns when it has ended or `stop` was called."""
        self._open()
        try:
            while self._may_act() and self._survive(self.process_step):
                self._survive(self._wait)
        finally:
            self._close()

    def _may_act(self) -> bool:
        """Whether the study is still ours; waits while that can't be known. False once another has it."""
        told = False
        while self._lock and not self._lock.held:
            if self._lock.lost:
                self._observer.note("another controller has taken over the study; this one ends")
                self.interrupt()
                return False
            if not told:
                self._observer.note("this controller's lease on the study has run out; waiting to renew it")
                told = True
            if self._stop_asked.is_set():
                return False
            time.sleep(0.2)
        return True

    def _survive(self, step: Callable[[], Any]) -> Any:
        """Run a part of the loop; a Redis that is away is waited for, however long it takes."""
        away = False
        while True:
            try:
                result = step()
            except AWAY as error:
                if not away:
                    self._observer.note(f"Redis is away ({error}); waiting for it")
                away = True
                if self._stop_asked.is_set() and self._interrupted:
                    return False
                time.sleep(0.5)
                continue
            if away:
                self._observer.note("Redis is back")
                # Leases could not be renewed meanwhile: their holders get time to do so.
                self._care.give_time(2)
                self._next_poll = 0.0
            return result

    def process_step(self) -> bool:
        """One step: monitor the jobs of which something is new, tell results, create and launch jobs.

        Returns:
            True to go on, False when the search has ended.
        """
        changes = self._changes
        self._take(changes)
        self._look_around(time.monotonic())
        for task_id in [task_id for task_id in self._due if task_id in self._running]:
            job = self._running[task_id]
            if not self.monitor_job(job):
                del self._running[task_id]
                self._care.forget(task_id)
                self._ended.append(job)
        self._due.clear()
        # A slot that has become free gets its next job before anything slow is done: the parameters of
        # that job may have been asked for already.
        self._launch_asked()
        self._tell_reports(changes)
        self._tell_ended()
        self._launch_new()
        # Not before all of it is dealt with: a step that a lost connection cut short is done again, and
        # whatever it had done already is recognized.
        self._changes = Changes()
        return self._go_on()

    def monitor_job(self, job: Job) -> bool:
        """Look at one job: account for it, and stop it if it is over a limit.

        Returns:
            False when the job has ended and belongs off the list.
        """
        task_id = job.task_id()
        self.budget.compute_time.update(task_id, job.elapsed())
        if job.is_stopped():
            reason = job.record.reason_class
            self.budget.close_job(
                task_id,
                iterations=job.iterations(),
                by_itself=job.is_completed(),
                counts=reason is not Reason.STUDY_STOPPED,
            )
            if job.is_failed():
                self.budget.failures.update(task_id, 1)
            return False
        self.budget.iterations.update(task_id, job.iterations())
        limit = self.budget.max_iteration_per_job
        if limit is not None and job.iterations() >= limit:
            self._abort(job, Reason.ITERATION_LIMIT, f"reached its limit of {limit} iterations")
        # The worker itself keeps the time limit; this is for one that does not.
        elif self._time_limit_s is not None and job.elapsed() > self._time_limit_s + self._lease_s:
            self._abort(job, Reason.TIME_LIMIT, f"ran for its limit of {self._time_limit_s:g} s")
        return True

    def create_job(self) -> Job | None:
        """A new job if one may be created now, else None. It is launched by the caller."""
        if not self._may_create():
            return None
        asked = self._asked.popleft() if self._asked else self._search.ask()
        try:
            return self.helper_create_job(
                self._base_task_id,
                parameter_override=asked.parameters,
                trial=asked.number,
                task_id=asked.task_id,
            )
        except BaseException:
            self._asked.appendleft(asked)
            raise

    def helper_create_job(
        self,
        base_task_id: str,
        parameter_override: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        parent: str | None = None,
        **kwargs: Any,
    ) -> Job:
        """Make a job with this search's job class, names and parent; further arguments go to the class."""
        base = self._backend.base_task(base_task_id)
        parameters = dict(parameter_override or {})
        naming = self._job_naming or _job_name
        overrides = {
            "metrics": self._objective.metrics,
            "queue": self._queue,
            "time_limit_s": self._time_limit_s,
            "lease_s": self._lease_s,
            "artifacts": self._backend.artifacts_url,
            **(task_overrides or {}),
        }
        return self._job_class(
            base_task_id,
            parameter_override=parameters,
            task_overrides=overrides,
            tags=tags,
            parent=parent or self._job_parent,
            backend=self._backend,
            name=naming(base.name, parameters),
            project=self._job_project or base.project,
            study=self._study,
            **kwargs,
        )

    def stop(self) -> None:
        """End the search from another thread: what runs is stopped, nothing more is created."""
        self._stop_asked.set()

    def interrupt(self) -> None:
        """As `stop`, but the study can be continued: what was cut short is tried again then."""
        self._interrupted = True
        self._stop_asked.set()

    # What has changed

    def _wait(self) -> None:
        now = time.monotonic()
        wait = min(WAIT_S, max(0.0, self._next_tick - now))
        self._changes = self._monitor.read(max(wait, 0.001))

    def _take(self, changes: Changes) -> None:
        """Bring the running jobs up to what the events say."""
        for task_id, (attempt, at) in changes.started.items():
            job = self._running.get(task_id)
            if job and job.record.attempt <= attempt:
                job.update(replace(job.record, status=Status.IN_PROGRESS, attempt=attempt, started_at=at))
                job.scalars = {}
                self._care.forget(task_id)
                self._observer.started(job)
        for task_id, points in changes.points.items():
            job = self._running.get(task_id)
            if job:
                self._add_points(job, points)
                self._due.add(task_id)
        if changes.ended:
            self._refresh([task_id for task_id in changes.ended if task_id in self._running])
        for task_id in changes.requeued:
            if task_id in self._running and not self._care.relaunch(self._running[task_id]):
                self._due.add(task_id)
        if changes.request:
            self._obey(self._store.take_request(self._study))

    def _add_points(self, job: Job, points: Sequence[tuple[int, int, float]]) -> None:
        for index, iteration, value in points:
            if index < len(self._objective.metrics):
                metric = self._objective.metrics[index]
                summary = job.scalars.get(metric.key) or Summary.of(metric.title, metric.series)
                job.scalars[metric.key] = summary.add(value, iteration)
        first = job.scalars.get(self._objective.metrics[0].key)
        job.update(replace(job.record, iterations=first.iterations if first else 0))
        self._observer.reported(job)

    def _refresh(self, task_ids: Sequence[str]) -> None:
        """Read records and scalars of running jobs; they are monitored in this step."""
        if not task_ids:
            return
        records = self._store.get_many(task_ids)
        scalars = self._store.scalars(task_ids)
        for task_id, record, found in zip(task_ids, records, scalars, strict=True):
            job = self._running[task_id]
            if record is None:
                record = self._lost_record(job)
            job.update(record)
            job.scalars = found
            self._due.add(task_id)

    def _lost_record(self, job: Job) -> TaskRecord:
        """A running task whose record is gone, as when Redis lost its data: failed, as far as we know."""
        return replace(
            job.record,
            status=Status.FAILED,
            reason_class=Reason.WORKER_LOST,
            reason="its record vanished from Redis",
        )

    def _obey(self, request: str) -> None:
        if request == "stop":
            self.stop()
        elif request in ("pause", "resume"):
            self._paused = request == "pause"
            self.state = StudyState.PAUSED if self._paused else StudyState.RUNNING
            self._observer.note("paused: what runs goes on" if self._paused else "resumed")
            self._save(self.state)

    # Now and then

    def _look_around(self, now: float) -> None:
        """What no event tells: time that passes, lost workers, lost jobs, and the records themselves."""
        if now >= self._next_tick:
            self.budget.wall_clock.update("study", self.budget.wall_clock.used + now - self._last_tick)
            self._last_tick, self._next_tick = now, now + TICK_S
            for task_id, job in self._running.items():
                if job.is_running():
                    self.budget.compute_time.update(task_id, job.elapsed())
                    self._due.add(task_id)
            self._fleet.look(now)
            self._observer.tick(self.budget, self._fleet, list(self._running.values()))
            self._save(self.state)
        self._due.update(job.task_id() for job in self._care.sweep(now, self._running.values()))
        if now >= self._next_poll:
            self._next_poll = now + self._pool_period_s
            self._refresh(list(self._running))
            self._obey(self._store.take_request(self._study))

    # Telling

    def _tell_reports(self, changes: Changes) -> None:
        """Tell the sampler the objective's values on the way; a trial without hope is stopped."""
        ended = {job.task_id(): job for job in self._ended}
        for task_id, points in changes.points.items():
            job = self._running.get(task_id) or ended.get(task_id)
            if job is None or job.trial < 0:
                continue
            hopeless = self._search.report(job.trial, [(step, v) for index, step, v in points if index == 0])
            if hopeless and task_id in self._running and job.iterations() >= self._min_iterations:
                step = points[-1][1]
                self._abort(job, Reason.PRUNED, f"given up at iteration {step}")

    def _tell_ended(self) -> None:
        while self._ended:
            job = self._ended[0]
            if job.trial >= 0:
                record = job.record
                state, values = trial_state(record, self._objective.values(job.scalars))
                if record.reason_class is Reason.STUDY_STOPPED:
                    # Cut short with its study: when that goes on, these parameters are tried again.
                    self._search.try_again(job.trial)
                self._search.tell(job.trial, state, values)
            self._ended.pop(0)
            self._monitor.forget(job.task_id())
            self._observer.ended(job)

    def _abort(self, job: Job, reason_class: Reason, reason: str) -> None:
        if job.record.stop is None and not job.is_stopped():
            job.abort(reason_class, reason)
            if job.is_stopped():
                self._refresh([job.task_id()])

    # Launching

    def _may_create(self) -> bool:
        if self._ending or self._paused or self._stop_asked.is_set() or self._exhausted():
            return False
        if self.budget.max_concurrent is None and self.budget.running >= self._fleet.target(
            ahead=self._search.can_ask_ahead
        ):
            return False
        return self.budget.may_create().ok

    def _exhausted(self) -> bool:
        """Whether the sampler has nothing left; what it has given already is still to be run."""
        return self._search.exhausted and not self._asked

    def _launch_asked(self) -> None:
        """Fill free slots with what needs no results: trials asked for already, or asked for blindly."""
        while (self._asked or self._search.can_ask_ahead) and self._launch_one():
            pass

    def _launch_new(self) -> None:
        while self._launch_one():
            pass
        self._ask_ahead()

    def _launch_one(self) -> bool:
        job = self.create_job()
        if job is None:
            return False
        try:
            job.launch(self._queue)
        except AWAY:
            # The trial is asked for already: launch it when Redis is back.
            if job.trial >= 0:
                self._asked.appendleft(
                    Asked(number=job.trial, task_id=job.task_id(), parameters=job.parameters)
                )
            raise
        self._adopt(job)
        self._observer.launched(job)
        return True

    def _adopt(self, job: Job) -> None:
        """Take a launched job among the running ones."""
        task_id = job.task_id()
        self._running[task_id] = job
        self._created[task_id] = job.parameters
        self._care.queued(task_id)
        self.budget.open_job(task_id)

    def _ask_ahead(self) -> None:
        """Have one trial ready for the next free slot, where that changes nothing for the sampler."""
        if not self._search.can_ask_ahead or self._asked or not self._running:
            return
        limit = self.budget.jobs.limit
        if self._ending or self._stop_asked.is_set() or self._search.exhausted or self._paused:
            return
        if self.budget.iterations.limit is None and (limit is None or self.budget.jobs.used < limit):
            self._asked.append(self._search.ask())

    # Beginning and end

    def _open(self) -> None:
        """Take up what an earlier controller has left, and begin listening."""
        from controller.recovery import reconcile

        now = time.monotonic()
        self._monitor.open()
        left = reconcile(self._backend, self._search, self._study)
        for closed in left.closed:
            self._created[closed.id] = closed.spec.parameters
            self.budget.open_job(closed.id)
            job = Job.adopt(closed, closed.spec.parameters, self._backend)
            self.monitor_job(job)
        for job, scalars in left.ended:
            job.scalars = scalars
            self._ended.append(job)
        for job in left.running:
            self._adopt(job)
            self._due.add(job.task_id())
            if job.is_pending():
                self._care.relaunch(job)
        self._asked.extend(left.unlaunched)
        record = self._store.find_study(self._study)
        if record:
            used = (record.budget.get("wall_clock") or {}).get("used") or 0.0
            self.budget.wall_clock.update("study", float(used))
        self._last_tick = now
        self._next_poll = now + self._pool_period_s
        self._care.give_time()
        self._fleet.look(now)
        # What was asked of this controller while it stood by.
        self._obey(self._store.take_request(self._study))
        if left.running or left.ended or left.unlaunched:
            self._observer.note(
                f"taking up {len(left.running)} running, {len(left.ended)} ended and "
                f"{len(left.unlaunched)} unlaunched trial(s)"
            )

    def _go_on(self) -> bool:
        """Whether there is anything left to do; decides how the search ends."""
        if self._ending is None:
            ending = self._end_verdict()
            if ending and self._running:
                self._stop_running(ending)
            # Only once all have been asked: a lost connection in between has this step done again.
            self._ending = ending
        if self._ending is None:
            return True
        if self._running:
            if time.monotonic() < self._ended_by_deadline:
                return True
            self._observer.note(
                f"{len(self._running)} task(s) did not end in time; the next start takes them up"
            )
        return False

    def _end_verdict(self) -> Verdict | None:
        if self._stop_asked.is_set():
            reason = "interrupted" if self._interrupted else "stopped"
            return Verdict(ok=False, final=True, stop=True, reason=reason)
        over = self.budget.exceeded()
        if over:
            return over
        if self._running or self._ended:
            return None
        if self._exhausted():
            return Verdict(ok=False, final=True, reason="search space exhausted")
        if self._paused:
            return None
        verdict = self.budget.may_create()
        return verdict if verdict.final else None

    def _stop_running(self, verdict: Verdict) -> None:
        reason_class = Reason.STUDY_STOPPED
        if "compute-time" in verdict.reason:
            reason_class = Reason.COMPUTE_BUDGET
        elif "wall-clock" in verdict.reason:
            reason_class = Reason.TIME_LIMIT
        grace = 0.0
        for job in list(self._running.values()):
            self._abort(job, reason_class, verdict.reason)
            grace = max(grace, job.record.spec.grace_s)
        self._ended_by_deadline = time.monotonic() + grace + self._lease_s

    def _close(self) -> None:
        """Say how it ended; called once, also when the loop was left by an error."""
        if self._lock and self._lock.lost:
            self.state, self.reason = StudyState.INTERRUPTED, "taken over by another controller"
            return
        for asked in self._asked:
            if self._interrupted:
                break  # The next start launches it.
            from optuna.trial import TrialState

            self._search.tell(asked.number, TrialState.FAIL)
        self.reason = self._ending.reason if self._ending else "left by an error"
        try:
            self.state = self._final_state()
            self._save(self.state, ended=True)
        except AWAY as error:
            log.warning("study %s: its state was not written, Redis is away: %s", self._study, error)

    def _final_state(self) -> str:
        verdict = self._ending
        if self._interrupted or verdict is None:
            return StudyState.INTERRUPTED
        if verdict.failed:
            return StudyState.FAILED
        if self._stop_asked.is_set():
            return StudyState.STOPPED
        counts = self._store.status_counts(self._study)
        usable = counts[Status.COMPLETED] + counts[Status.STOPPED]
        return StudyState.COMPLETED if usable or not counts[Status.FAILED] else StudyState.FAILED

    def _save(self, state: str, *, ended: bool = False) -> None:
        record = self._store.find_study(self._study)
        if record is None:
            return
        changed = replace(
            record,
            state=state,
            reason=self.reason,
            ended_at=self._backend.clock.now() if ended else None,
            budget=self.budget.to_dict(),
        )
        if changed != record:
            self._store.save_study(changed)


def _job_name(base: str, parameters: Mapping[str, Any]) -> str:
    shown = " ".join(f"{name}={_short(value)}" for name, value in parameters.items())
    return f"{base}: {shown}" if shown else base


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
