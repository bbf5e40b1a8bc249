"""The loop: what ended is told, what may run is launched, what must stop is stopped.

The strategy sees neither RQ nor Optuna: it asks a search and tells a backend; only the loop knows both.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

import redis

from controller.loop.backend import Backend
from controller.loop.budget import Budget, Verdict
from controller.loop.fleet import Fleet
from controller.loop.job import Job, LocalJob
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.monitor import Changes, Monitor
from controller.loop.observer import LEASE, REDIS, STORAGE, Observer
from controller.loop.quarantine import HOLD_S, NodeQuarantine
from controller.loop.taking_up import TakingUp
from controller.loop.verdicts import trial_state
from controller.results.ranking import Ranking
from controller.search.objective import Objective
from controller.search.parameters import Parameter
from controller.search.search import Search
from controller.search.trial_cache import TrialCache
from controller.search.trial_snapshot import remember
from controller.session.lock import StudyLock
from controller.session.opening import Opening, check_base_task
from worker.artifacts import ArtifactMeta
from worker.protocol import Reason, Status, StudyRecord, StudyState, Summary, TaskSpec
from worker.protocol.connection import can_pass, trouble
from worker.protocol.errors import BadInput, NoSuchTask, RecordError, StorageUnavailable
from worker.protocol.metrics import violations
from worker.trials.patience import be_patient

log = logging.getLogger(__name__)

WAIT_S = 0.5
"""Longest wait for an event, in seconds: how long a request from another thread may take to be seen."""
TICK_S = 1.0
"""How often running times are added up and deadlines looked at, in seconds."""


FLUSH_S = 0.25
"""Shortest time between two writings of what was told and reported, in seconds."""


class SearchStrategy(TakingUp):
    """Runs a search over jobs made from one base task. Base class of `OptimizerOptuna` and the others.

    By itself it creates no job: a subclass overrides `create_job`, and whatever else it wants to change.

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
        backend: Redis, RQ, storage and artifacts; by default those of the environment.
        study: name under which records are kept, and Optuna's study; by default made from the optimizer's
            task or the base task. One that was interrupted is continued.
        search: where parameters come from; by default this class' own.
        max_attempts: executions of one task before it is given up as lost.
        lease_s: seconds after which a worker that was not heard of is lost.
        retry_on: classes of failures after which a task is tried again, such as ``objective_error``.
        wall_clock_limit: minutes that the whole search may take.
        max_failures: failed jobs at which the search fails.
        constraints: ``{"metric": "title/series", "max": bound}`` (or ``min``): what violates one never ranks.
        allow_new_parameters: search parameters that the base task doesn't have.
        workers: local workers to start; by default one per CPU (at most one per concurrent job) where Redis
            is embedded and nobody serves the queue, else none.
        observer: is told what happens; by default it is printed.
        lock: the right to act on the study; the loop waits while it does not hold it.

    Raises:
        BadInput: there is no such base task, it lacks a parameter, or limits contradict each other.

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
        backend: Backend | None = None,
        study: str | None = None,
        search: Search | None = None,
        max_attempts: int = 3,
        lease_s: float = 15.0,
        retry_on: Sequence[str] = (),
        wall_clock_limit: float | None = None,
        max_failures: int | None = None,
        constraints: Sequence[Mapping[str, Any]] = (),
        allow_new_parameters: bool = False,
        workers: int | None = None,
        observer: Observer | None = None,
        lock: StudyLock | None = None,
    ) -> None:
        super().__init__()
        limits = {
            "pool_period_min": pool_period_min,
            "time_limit_per_job": time_limit_per_job,
            "compute_time_limit": compute_time_limit,
            "max_iteration_per_job": max_iteration_per_job,
            "total_max_jobs": total_max_jobs,
            "num_concurrent_workers": num_concurrent_workers,
            "wall_clock_limit": wall_clock_limit,
            "max_failures": max_failures,
        }
        _refuse_contradictions(limits, min_iteration_per_job)
        self.budget = Budget(
            total_max_jobs,
            None,
            compute_time_limit,
            max_iteration_per_job=max_iteration_per_job,
            wall_clock_limit=wall_clock_limit,
            max_concurrent=num_concurrent_workers,
            max_failures=max_failures,
        )
        """What may be used and what has been; `monitor_job` keeps it."""
        self._base_task_id = base_task_id
        self._hyper_parameters = list(hyper_parameters)
        self._objective_metric = objective_metric
        self._execution_queue = execution_queue
        self._num_concurrent_workers = num_concurrent_workers
        self._pool_period_s = pool_period_min * 60
        self._time_limit_s = time_limit_per_job * 60 if time_limit_per_job else None
        self._min_iterations = min_iteration_per_job or 0
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._retry_on = _checked_retries(retry_on)
        self._constraints = tuple(dict(constraint) for constraint in constraints)
        self._backend = backend or Backend.at_home()
        self._store = self._backend.store
        self._study = study or ""
        self._search = search
        self._observer = observer or _printing()
        self._lock = lock
        self._local_workers = workers
        self._opening: Opening | None = None
        self._continues = False
        """Goes on with a study that was ended, with a budget of its own."""
        self._ranking: Ranking | None = None
        if search is None:
            base = self._backend.base_task(base_task_id)
            check_base_task(base, self._hyper_parameters, allow_new_parameters=allow_new_parameters)

        self._record: StudyRecord | None = None
        self._nodes = NodeQuarantine()
        self._due: set[str] = set()
        self._dismissed: set[str] = set()
        self._taken_up: set[str] = set()
        """Tasks that an earlier controller has left open: some reports of theirs are in the records only."""
        self._ended: list[Job] = []
        self._stop_asked = threading.Event()
        self._begun = self._closed = False
        self._interrupted = self._hands_over = False
        self._finish_asked = False
        self._out_of_time = ""
        self._ending: Verdict | None = None
        self._paused = False
        self.state = StudyState.RUNNING
        self.reason = ""
        self._ended_by_deadline = 0.0
        self._metric_seen = False
        self._changes: Changes = Changes()
        self._next_tick = self._next_poll = self._next_flush = 0.0
        self._last_tick = time.monotonic()

    @property
    def study(self) -> str:
        """Name of the study; empty before `start` when none was given."""
        return self._study

    @property
    def objective(self) -> Objective:
        """What is optimized."""
        return self._objective_metric

    @property
    def queue(self) -> str:
        """Queue that jobs are launched on."""
        return self._execution_queue

    @property
    def backend(self) -> Backend:
        """Redis, RQ, storage and artifacts."""
        return self._backend

    @property
    def events_position(self) -> str:
        """Id of the last event that the loop has read."""
        return self._monitor.position

    # The loop

    def start(self) -> None:
        """Run the search; returns when it has ended or `stop` was called.

        Raises:
            BadInput: the study exists with another search space, or its storage can't be used.
        """
        if self._begun:
            raise BadInput("start: this optimizer has run already; make another one")
        self._begun = True
        try:
            if not self._prepare():
                return
            impatient = self._wait_for_storage()
            try:
                self._open()
                try:
                    interrupted = self._loop()
                finally:
                    self._close()
                    self._closed = True
                    self._observer.end()
            finally:
                impatient()
        finally:
            if self._opening:
                self._opening.close()
        if interrupted:
            raise KeyboardInterrupt

    def _loop(self) -> bool:
        """Step by step to the end. Ctrl-C stops in order what runs; True then."""
        interrupted = False
        while True:
            try:
                while self._may_act() and self._survive(self.process_step):
                    self._survive(self._wait)
                return interrupted
            except KeyboardInterrupt:
                if self._interrupted:  # for the second time
                    raise
                interrupted = True
                self.interrupt()

    def _prepare(self) -> bool:
        """Have all that the loop works with; False when `stop` was called meanwhile."""
        if issubclass(self._job_class, LocalJob):
            self._execution_queue = self._backend.local_queue()
        if self._search is None and self._lock is None:
            self._opening = Opening(self._backend)
            if not self._opening.open(self):
                self.state, self.reason = StudyState.INTERRUPTED, "stopped before it began"
                return False
        self._ranking = Ranking(self._store, self._study, self._objective_metric.metrics)
        self._monitor = Monitor(self._store, self._study)
        self._fleet = Fleet(self._store, self._execution_queue)
        if self._observer.workers:
            self._fleet.expect(self._observer.workers.count)
        self._care = LeaseMonitor(
            self._backend,
            self._observer,
            lease_s=self._lease_s,
            max_attempts=self._max_attempts,
            queue=self._execution_queue,
        )
        self._observer.begin(self)
        return True

    def _storage_shown(self) -> str:
        """Where Optuna's trials are, without a password; empty when there are none."""
        return ""

    def _is_taken(self, name: str) -> bool:
        """Whether there are trials of a study of that name already."""
        return False

    def _open_search(self, name: str) -> Search | None:
        """The search of the study `name`, made or continued; None for a class that creates its own jobs."""
        return None

    def _may_act(self) -> bool:
        """Whether the study is still ours; waits while that can't be known. False once another has it."""
        told = False
        while self._lock and not self._lock.held:
            self._observer.heartbeat(LEASE)
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
        """Run a part of the loop; a Redis that is away is waited for, however long it takes.

        Where records are missing that were there, they are written anew, and the part is run again.
        """
        away = ""
        while True:
            self._observer.heartbeat(REDIS if away else "")
            try:
                result = step()
            except StorageUnavailable as error:  # it was waited for until the search was interrupted
                self._observer.note(f"{error}; the next start tells what ended")
                return False
            except NoSuchTask:
                if not self._survive(self._recover):
                    raise
                continue
            except redis.RedisError as error:
                if not can_pass(error):
                    raise
                if trouble(error) != away:
                    away = trouble(error)
                    self._observer.note(f"{away}; waiting for it")
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

    def _wait_for_storage(self) -> Callable[[], None]:
        """Have an Optuna storage that is locked or away waited for, however long it takes."""
        told = ""

        def waiting(reason: str) -> None:
            nonlocal told
            self._observer.heartbeat(STORAGE)
            if reason != told:
                told = reason
                self._observer.note(f"Optuna's storage can't be used ({reason}); waiting for it")
            if self._stop_asked.is_set() and self._interrupted:
                raise StorageUnavailable(f"Optuna's storage can't be used: {reason}")

        def back() -> None:
            nonlocal told
            told = ""
            self._observer.heartbeat()
            self._observer.note("Optuna's storage is back")
            # Events were not read meanwhile; their tasks' leases were renewed all the same.
            self._care.give_time()

        if self._search is None:
            return lambda: None
        storage = self._search.study._storage
        also = storage.transactions if isinstance(storage, TrialCache) else ()
        return be_patient(storage, waiting, back, also=also)

    def process_step(self) -> bool:
        """One step: monitor the jobs of which something is new, tell results, create and launch jobs.

        Returns:
            True to go on, False when the search has ended.
        """
        changes = self._changes
        self._take(changes)
        self._look_around(time.monotonic())
        for task_id in [task_id for task_id in self._due if task_id in self._running]:
            self._look_at(self._running[task_id])
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
        going_on = self._go_on()
        self._flush(at_once=not going_on)
        return going_on

    def _flush(self, *, at_once: bool = False) -> None:
        """Have the storage know what was told and reported; most has gone there with a trial asked for."""
        now = time.monotonic()
        if self._search is not None and self._search.dirty and (at_once or now >= self._next_flush):
            self._search.flush()
            self._next_flush = now + FLUSH_S

    def _look_at(self, job: Job) -> None:
        """Have one job monitored, and take it off the list once it is over."""
        task_id = job.task_id()
        if task_id not in self._dismissed and not self.monitor_job(job) and not job.is_stopped():
            # A subclass wants no more of it: it is stopped, and told of when it has ended.
            self._dismissed.add(task_id)
            self._abort(job, Reason.USER, "given up by the optimizer")
        if job.is_stopped():
            self._account(job)
            del self._running[task_id]
            self._dismissed.discard(task_id)
            self._care.forget(task_id)
            self._ended.append(job)

    def _account(self, job: Job) -> None:
        """Charge what an ended job has used."""
        task_id, record = job.task_id(), job.record
        self.budget.compute_time.update(task_id, job.computed_s() / 60)
        self.budget.close_job(
            task_id,
            iterations=record.iterations,
            by_itself=job.is_completed(),
            counts=record.reason_class is not Reason.STUDY_STOPPED,
        )
        if job.is_failed():
            self.budget.failures.update(task_id, 1)

    def monitor_job(self, job: Job) -> bool:
        """Look at one job: account for it, and stop it if it is over a limit.

        Returns:
            False when the job has ended and belongs off the list.
        """
        task_id = job.task_id()
        self.budget.compute_time.update(task_id, job.computed_s() / 60)
        if job.is_stopped():
            return False
        iterations = job.record.iterations
        self.budget.iterations.update(task_id, iterations)
        limit = self.budget.max_iteration_per_job
        # The worker itself keeps both limits; this is for one that does not.
        if limit is not None and iterations > limit:
            self._abort(job, Reason.ITERATION_LIMIT, f"reached its limit of {limit} iterations")
        elif self._time_limit_s is not None and job.computed_s() > self._time_limit_s + self._lease_s:
            self._abort(job, Reason.TIME_LIMIT, f"ran for its limit of {self._time_limit_s:g} s")
        return True

    def create_job(self) -> Job | None:
        """A new job if one may be created now, else None. It is launched by the caller."""
        if self._search is None or not self._may_create():
            return None
        asked = self._asked.popleft() if self._asked else self._search.ask()
        if asked is None:
            return None
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
        known = {field.name for field in fields(TaskSpec)}
        for name in task_overrides or {}:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
                raise BadInput(f"task_overrides: a task has no {name!r}; {hint}")
        base = self._backend.base_task(base_task_id)
        parameters = dict(parameter_override or {})
        naming = self._job_naming or _job_name
        overrides = {
            "metrics": self._objective_metric.metrics,
            "constraints": self._constraints,
            "queue": self._execution_queue,
            "time_limit_s": self._time_limit_s,
            "max_iterations": self.budget.max_iteration_per_job,
            "lease_s": self._lease_s,
            "max_attempts": self._max_attempts,
            "retry_on": self._retry_on,
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

    def end(self, reason: str) -> None:
        """End the search from another thread because its time is over: what runs is stopped."""
        self._out_of_time = reason

    def interrupt(self) -> None:
        """As `stop`, but the study can be continued: what was cut short is tried again then."""
        self._interrupted = True
        self._stop_asked.set()

    def hand_over(self) -> None:
        """As `interrupt`, but what runs goes on: the next controller takes it up."""
        self._hands_over = True
        self.interrupt()

    # What has changed

    def _wait(self) -> None:
        now = time.monotonic()
        wait = min(WAIT_S, max(0.0, self._next_tick - now))
        self._changes = self._monitor.read(max(wait, 0.001))

    def _take(self, changes: Changes) -> None:
        """Bring the running jobs up to what the events say."""
        for task_id, start in changes.started.items():
            job = self._running.get(task_id)
            if job and job.record.attempt <= start.attempt:
                job.update(
                    replace(
                        job.record,
                        status=Status.IN_PROGRESS,
                        attempt=start.attempt,
                        started_at=start.at,
                        worker=start.worker,
                    )
                )
                job.scalars = {}
                self._care.forget(task_id)
                self._observer.started(job)
        # What counts until their checkpoints stands in the records.
        self._refresh([task_id for task_id in changes.resumed if task_id in self._running])
        for task_id, points in changes.points.items():
            job = self._running.get(task_id)
            if job:
                self._add_points(job, points)
                self._due.add(task_id)
        if changes.ended:
            self._refresh([task_id for task_id in changes.ended if task_id in self._running])
        for task_id, attempt in changes.requeued.items():
            # Not what this controller has put on the queue by itself.
            if task_id in self._running and not self._care.has_queued(task_id, attempt):
                self._relaunch(self._running[task_id])
        if changes.request:
            self._obey(self._store.take_request(self._study))

    def _add_points(self, job: Job, points: Sequence[tuple[int, int, float]]) -> None:
        for index, iteration, value in points:
            if index < len(self._objective_metric.metrics):
                metric = self._objective_metric.metrics[index]
                summary = job.scalars.get(metric.key) or Summary.of(metric.title, metric.series)
                job.scalars[metric.key] = summary.add(value, iteration)
        first = job.scalars.get(self._objective_metric.metrics[0].key)
        job.update(replace(job.record, iterations=first.iterations if first else 0))
        self._observer.reported(job)

    def _refresh(self, task_ids: Sequence[str]) -> None:
        """Read records and scalars of running jobs; they are monitored in this step."""
        if not task_ids:
            return
        missing = False
        for task_id, (record, scalars, saved) in zip(task_ids, self._store.look(task_ids), strict=True):
            if record is None:
                missing = True
                continue
            job = self._running[task_id]
            job.update(record)
            job.scalars = scalars
            job.saved = saved if record.status.is_finished else None
            self._due.add(task_id)
        if missing:
            self._recover()

    def _relaunch(self, job: Job) -> None:
        """Have a queued task put on the queue again; one that has gone on meanwhile is read anew."""
        if not self._care.relaunch(job):
            self._refresh([job.task_id()])

    def _obey(self, request: str) -> None:
        if request == "stop":
            self.stop()
        elif request == "finish":
            self._finish_asked = True
        elif request in ("pause", "resume"):
            self._paused = request == "pause"
            self.state = StudyState.PAUSED if self._paused else StudyState.RUNNING
            self._observer.note("paused: what runs goes on" if self._paused else "resumed")
            self._save(self.state)

    # Now and then

    def _look_around(self, now: float) -> None:
        """What no event tells: time that passes, lost workers, lost jobs, and the records themselves."""
        if now >= self._next_tick:
            self.budget.wall_clock.update("study", self.budget.wall_clock.used + (now - self._last_tick) / 60)
            self._last_tick, self._next_tick = now, now + TICK_S
            for task_id, job in self._running.items():
                if job.is_running():
                    self.budget.compute_time.update(task_id, job.computed_s() / 60)
                    self._due.add(task_id)
            self._fleet.look(now)
            self._observer.tick(self.budget, self._fleet, list(self._running.values()))
            if not self._save(self.state) and self._record is not None:
                self._recover()
        # What ended while it was looked after is told with what it reported: the scalars are read, too.
        self._refresh([job.task_id() for job in self._care.sweep(now, self._running.values())])
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
            if job is None or job.trial < 0 or self._search is None:
                continue
            hopeless = self._search.report(job.trial, [(step, v) for index, step, v in points if index == 0])
            if hopeless and task_id in self._running and job.record.iterations >= self._min_iterations:
                step = points[-1][1]
                self._abort(job, Reason.PRUNED, f"given up at iteration {step}")

    def _tell_ended(self) -> None:
        while self._ended:
            job = self._ended[0]
            if job.trial >= 0 and self._search is not None:
                record = job.record
                state, values = trial_state(record, self._objective_metric.values(job.scalars))
                if job.task_id() in self._taken_up:
                    self._tell_kept(job)
                if record.reason_class is Reason.STUDY_STOPPED:
                    # Cut short with its study: when that goes on, these parameters are tried again.
                    self._search.try_again(job.trial)
                saved = job.saved if job.saved is not None else self._store.artifacts(job.task_id())
                self._search.link(job.trial, _readable(job.task_id(), saved))
                taken = self.budget.wall_clock.used
                self._search.remember(job.trial, remember(record, job.scalars, saved, taken))
                bounds = violations(self._constraints, job.scalars) if self._constraints else None
                self._search.tell(job.trial, state, values, bounds)
            self._warn_of_missing_metrics(job)
            self._look_at_node(job)
            self._ended.pop(0)
            self._monitor.forget(job.task_id())
            self._observer.ended(job)

    def _look_at_node(self, job: Job) -> None:
        """Have a worker pause on which whatever it is given fails at once."""

        def lasting() -> set[str]:
            return {
                other.record.worker.rpartition("/")[0]
                for other in self._running.values()
                if other.is_running() and other.computed_s() > HOLD_S
            }

        pause = self._nodes.ended(job.record, self._fleet.workers, lasting)
        if pause is not None:
            self._store.pause_worker(pause.worker, self._backend.clock.now() + pause.seconds, pause.reason)
            if pause.known:
                self._observer.note(
                    f"worker {pause.worker} takes no jobs for {pause.seconds:g} s: {pause.reason}"
                )

    def _tell_kept(self, job: Job) -> None:
        """Tell what a task has reported while no controller listened, as its record has it."""
        if self._search is None or job.trial < 0:
            return
        metric = self._objective_metric.metrics[0]
        points = self._store.series(job.task_id()).get(metric.key, [])
        self._search.report(job.trial, [(iteration, value) for iteration, value, _ in points])

    def _warn_of_missing_metrics(self, job: Job) -> None:
        """After the first job that ended by itself: are the objective's metrics among what it reported?"""
        record = job.record
        ended = record.status is Status.COMPLETED or record.reason_class is Reason.INVALID_VALUE
        if self._metric_seen or not ended:
            return
        self._metric_seen = True
        reported = [key for key in sorted(job.scalars) if not key.startswith(":monitor:")]
        for metric in self._objective_metric.metrics:
            if metric.key not in job.scalars:
                near = get_close_matches(metric.key, reported, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                said = ", ".join(reported) or "nothing"
                self._observer.note(
                    f"the first finished job has no metric {metric.key!r}; it reported {said}{hint}"
                )

    def _abort(self, job: Job, reason_class: Reason, reason: str) -> None:
        if job.record.stop is None and not job.is_stopped():
            job.abort(reason_class, reason)
            if job.is_stopped():
                self._refresh([job.task_id()])


def _readable(task_id: str, artifacts: Mapping[str, str]) -> list[ArtifactMeta]:
    """The descriptions of a task's artifacts, but for those that can't be read."""
    found = []
    for name, text in artifacts.items():
        try:
            found.append(ArtifactMeta.from_json(text))
        except RecordError as error:
            log.warning("task %s: artifact %r is not linked: %s", task_id, name, error)
    return found


def _job_name(base: str, parameters: Mapping[str, Any]) -> str:
    shown = " ".join(f"{name}={_short(value)}" for name, value in parameters.items())
    return f"{base}: {shown}" if shown else base


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _checked_retries(given: Sequence[str]) -> tuple[str, ...]:
    known = [reason.value for reason in Reason if reason.status is Status.FAILED]
    wrong = [name for name in given if name not in known]
    if isinstance(given, str) or wrong:
        raise BadInput(f"retry_on: a list of {', '.join(known)}; not {given!r:.80}")
    return tuple(given)


def _refuse_contradictions(limits: Mapping[str, float | None], min_iterations: int | None) -> None:
    """Limits that can't be, or that can't be kept together. Raises `BadInput`."""
    problems = [
        f"{name} {value} must be above 0"
        for name, value in limits.items()
        if value is not None and not value > 0
    ]
    most = limits["max_iteration_per_job"]
    if min_iterations is not None and min_iterations < 0:
        problems.append(f"min_iteration_per_job {min_iterations} must not be below 0")
    if min_iterations is not None and most is not None and min_iterations > most:
        problems.append(f"min_iteration_per_job {min_iterations} is above max_iteration_per_job {most}")
    if problems:
        raise BadInput(*problems)


def _printing() -> Observer:
    from controller.commands.view import make_view

    return make_view("lines")
