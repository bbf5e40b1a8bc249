"""Runs what confirms a study's best: tasks of the study that its search doesn't see.

What is to run follows from the records of what has run: the next controller continues one that was killed. A
task's id follows from what it repeats, and one that exists is not made again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import redis

from controller.insight.confirm import read_confirmation
from controller.insight.confirm_rounds import standing
from controller.insight.confirm_tasks import ended_repeats, is_cut_short, repeat_id, repeat_seed, sorted_out
from controller.loop.backend import Backend
from controller.loop.job import Job
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.logged_observer import LoggedObserver
from controller.loop.monitor import Monitor
from controller.loop.observer import Observer
from controller.results.parameters import as_written
from controller.results.ranking import Ranking
from controller.results.study_data import TaskData, read_tasks
from controller.session.lock import LEASE_S, StudyLock
from worker.protocol import Reason, StudyRecord
from worker.protocol.confirmations import ConfirmPlan
from worker.protocol.connection import can_pass
from worker.protocol.errors import BadInput
from worker.protocol.study_log import LogKind

log = logging.getLogger(__name__)

WAIT_S = 1.0
"""Longest wait for an event, in seconds."""
SAVE_S = 5.0
"""Between two writings of how long it has taken, in seconds."""
STOPPED = "stopped"
"""Why it has ended where a person has asked for its end."""


@dataclass(frozen=True, kw_only=True)
class ConfirmLimits:
    """What it may use; None for no limit. Times are in seconds, those that it has used itself included."""

    wall_s: float | None = None
    compute_s: float | None = None
    max_concurrent: int | None = None


def choose(backend: Backend, study: StudyRecord, k: int, seeds: int) -> ConfirmPlan:
    """The plan for a study's best `k`: what it has, where it was asked for the same before.

    Of tasks with the same parameters, only the best is confirmed.
    """
    store = backend.store
    best = Ranking(store, study.name, study.metrics).finished_first(4 * k)
    kept: dict[str, str] = {}
    for record in best.records[: best.standing]:
        kept.setdefault(repr(sorted(as_written(record, everything=False).items())), record.id)
    known = store.confirmations.plan(study.name)
    return ConfirmPlan(
        k=k,
        seeds=seeds,
        of=tuple(list(kept.values())[:k]),
        trials=len(store.ranking.scores(study.name, len(study.metrics))),
        used_s=known.used_s if known else 0.0,
    )


class Confirming:
    """Runs one plan. Used by one thread.

    Args:
        lock: the lease on the study, which is held.
        stopped: whether to leave what runs as it is, and end.
    """

    def __init__(
        self,
        backend: Backend,
        study: StudyRecord,
        plan: ConfirmPlan,
        observer: Observer,
        *,
        lock: StudyLock,
        limits: ConfirmLimits | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._backend = backend
        self._store = backend.store
        self._study = study
        self._plan = plan
        self._observer = observer
        self._lock = lock
        self._limits = limits or ConfirmLimits()
        self._stopped = stopped
        self._sources: dict[str, TaskData] = {}
        self._ended: dict[str, TaskData] = {}
        """Tasks that have ended, which are read once."""
        self._jobs: dict[str, Job] = {}
        """Those that are queued or run."""
        self._why_stop = ""
        self._stop_by = 0.0
        self._saved_at = 0.0

    def run(self) -> ConfirmPlan:
        """Run what is to run. Returns the plan; its `ended` is empty where the next call goes on."""
        monitor = Monitor(self._store, self._study.name)
        begun, before = time.monotonic(), self._plan.used_s
        ready = False
        while not self._stopped() and not self._lock.lost:
            try:
                if not ready:
                    leases = self._open(monitor)
                    ready = True
                self._plan = replace(self._plan, used_s=before + time.monotonic() - begun)
                if not self._step(leases):
                    self._store.confirmations.save(self._study.name, self._plan)
                    break
                self._observer.heartbeat()
                if monitor.read(WAIT_S).request:
                    self._take_request()
            except redis.RedisError as error:
                if not can_pass(error):
                    raise
                log.warning("study %s: Redis is away: %s", self._study.name, error)
                time.sleep(WAIT_S)
        return self._plan

    def _open(self, monitor: Monitor) -> LeaseMonitor:
        """Begin to listen, and take up what an earlier controller has left."""
        monitor.open()
        self._sources = read_tasks(self._store, self._study, self._plan.of)
        self._plan = replace(self._plan, of=tuple(self._sources), ended="")
        self._store.confirmations.save(self._study.name, self._plan)
        spec = next((task.record.spec for task in self._sources.values()), None)
        leases = LeaseMonitor(
            self._backend,
            self._observer,
            lease_s=spec.lease_s if spec else 15.0,
            max_attempts=spec.max_attempts if spec else 3,
            queue=self._study.queue,
        )
        leases.give_time()
        self._look()
        for job in list(self._jobs.values()):
            if job.is_pending():
                leases.relaunch(job)
        return leases

    def _step(self, leases: LeaseMonitor) -> bool:
        """Bring all up to now, and launch what is to run. False when it has ended."""
        leases.sweep(time.monotonic(), list(self._jobs.values()))
        tasks = self._look()
        if self._observer.workers:
            self._observer.workers.look_after()
        found = sorted_out(self._plan, tasks.values())
        now = standing(ended_repeats(found, self._study.metrics), self._plan.seeds)
        if not now.wanted:
            self._plan = replace(self._plan, ended="all repeats have run")
            return False
        self._why_stop = self._why_stop or self._over(tasks.values())
        if self._why_stop:
            return self._end_early()
        room = (self._limits.max_concurrent or len(now.wanted)) - len(self._jobs)
        for number, repeat in now.wanted:
            if room <= 0:
                break
            tries = found[number].get(repeat, [])
            if tries and not is_cut_short(tries[-1].record):
                continue  # it runs
            job = self._job(self._sources[self._plan.of[number]], repeat, len(tries))
            job.launch(self._study.queue)
            leases.queued(job.task_id())
            room -= 1
        if time.monotonic() - self._saved_at > SAVE_S:
            self._saved_at = time.monotonic()
            self._store.confirmations.save(self._study.name, self._plan)
        return True

    def _look(self) -> dict[str, TaskData]:
        """Read what has not ended as far as is known. Returns all tasks that confirm, by id."""
        ids = self._store.confirmations.tasks(self._study.name)
        fresh = read_tasks(self._store, self._study, [one for one in ids if one not in self._ended])
        jobs: dict[str, Job] = {}
        for task_id, task in fresh.items():
            if task.record.status.is_finished:
                self._ended[task_id] = task
                if task_id in self._jobs:
                    self._say_ended(task)
                continue
            job = self._jobs.get(task_id)
            if job is None:
                job = Job.adopt(task.record, task.record.spec.parameters, self._backend)
            else:
                job.update(task.record)
            job.watched = True
            jobs[task_id] = job
        self._jobs = jobs
        return {**self._ended, **fresh}

    def _say_ended(self, task: TaskData) -> None:
        values = [task.value(metric) for metric in self._study.metrics]
        shown = ", ".join("no value" if value is None else f"{value:.6g}" for value in values)
        self._observer.note(f"{task.record.name}: {task.record.status.value}, {shown}")

    def _job(self, source: TaskData, repeat: int, tried: int) -> Job:
        """A repeat's job, not launched yet. Of the source, which workers write, only data counts."""
        of, base = source.record.spec, self._study.base_task or source.record.parent
        chosen = dict.fromkeys((*of.searched, *of.connected))
        return Job(
            base,
            {name: of.parameters[name] for name in chosen if name in of.parameters},
            {
                "metrics": self._study.metrics,
                "constraints": of.constraints,
                "queue": self._study.queue,
                "time_limit_s": of.time_limit_s,
                "max_iterations": of.max_iterations,
                "lease_s": of.lease_s,
                "max_attempts": of.max_attempts,
                "retry_on": of.retry_on,
                "artifacts": self._backend.artifacts_url,
                "connected": of.connected,
                "confirms": source.record.id,
                "seed": repeat_seed(source.record.id, repeat),
            },
            parent=source.record.id,
            backend=self._backend,
            name=f"confirms trial {source.record.trial}, seed {repeat + 1}",
            study=self._study.name,
            project=source.record.project,
            task_id=repeat_id(source.record.id, repeat, tried),
        )

    # Its end

    def _over(self, tasks: Iterable[TaskData]) -> str:
        """The limit that is reached; empty for none."""
        limits = self._limits
        if limits.wall_s is not None and self._plan.used_s >= limits.wall_s:
            return "the study's wall-clock limit is reached"
        used = sum(task.record.compute_s for task in tasks if task.record.status.is_finished)
        used += sum(job.computed_s() for job in self._jobs.values())
        if limits.compute_s is not None and used >= limits.compute_s:
            return "the study's compute-time limit is reached"
        return ""

    def _take_request(self) -> None:
        request = self._store.studies.take_request(self._study.name)
        if request == "stop":
            self._why_stop = STOPPED
        elif request in ("pause", "resume"):
            self._observer.note(f"{request}: what confirms is not paused; `controller stop` ends it")

    def _end_early(self) -> bool:
        """Have what runs stopped. False when nothing runs any more."""
        if not self._stop_by:
            self._observer.remark(LogKind.NOTE, f"confirmation ends: {self._why_stop}")
            grace = max((job.record.spec.grace_s for job in self._jobs.values()), default=0.0)
            self._stop_by = time.monotonic() + grace + 15.0
        for job in self._jobs.values():
            if job.record.stop is None:
                job.abort(Reason.STUDY_STOPPED, self._why_stop)
        if self._jobs and time.monotonic() < self._stop_by:
            return True
        self._plan = replace(self._plan, ended=self._why_stop)
        return False


def time_left(limit_s: float | None, budget: Mapping[str, Any], kind: str) -> float | None:
    """What the search has left of a limit, in seconds; None for no limit.

    Args:
        budget: as the study's record has it: in minutes.
    """
    used = (budget.get(kind) or {}).get("used") or 0.0
    return None if limit_s is None else max(0.0, limit_s - 60 * float(used))


def lease_of(study: StudyRecord) -> float:
    """Seconds of silence after which a controller of the study counts as lost, as its sweep file says."""
    found = (study.sweep.get("budget") or {}).get("lease")
    return float(found) if isinstance(found, (int, float)) else LEASE_S


def check_confirmable(study: StudyRecord, plan: ConfirmPlan) -> None:
    """Raises `BadInput` where a study has nothing to confirm."""
    if not plan.of:
        raise BadInput(f"study {study.name!r} has no task with a result: there is nothing to confirm yet")


def confirm_best(
    backend: Backend,
    name: str,
    wanted: tuple[int, int],
    observer: Observer,
    *,
    lock: StudyLock,
    limits: ConfirmLimits,
    stopped: Callable[[], bool],
) -> None:
    """Confirm a study's best and say what came out, as `[confirm]` asks for.

    Args:
        wanted: how many, and most repeats of each.
    """
    study = backend.store.studies.get(name)
    plan = choose(backend, study, *wanted)
    if not plan.of:
        observer.note("nothing to confirm: no task has a result")
        return
    logged = LoggedObserver(observer, backend.store, name, lock.name)
    logged.remark(LogKind.NOTE, f"confirms the best {len(plan.of)} with up to {plan.seeds} seeds each")
    Confirming(backend, study, plan, logged, lock=lock, limits=limits, stopped=stopped).run()
    answer = read_confirmation(backend.store, study)
    for sentence in answer.words if answer else ():
        logged.remark(LogKind.NOTE, sentence)
    logged.heartbeat()
