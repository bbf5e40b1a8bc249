"""`controller start`: from a sweep file to a study that has ended."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes
from uuid import UUID

import optuna

from controller.api.optuna_strategy import OptimizerOptuna
from controller.commands.settings import Settings, open_redis
from controller.loop.backend import Backend
from controller.results.artifact_keeper import ArtifactKeeper
from controller.search.search import Search
from controller.search.study import quiet_optuna, study_uid, task_id_of
from controller.session import preflight
from controller.session.code_snapshot import Snapshot, snapshot
from controller.session.interrupts import Interrupts, ServerWait
from controller.session.printing import View
from controller.session.study_session import ENDED, StudyDefinition, StudySession
from controller.session.sweep_objects import constraints_of, task_spec
from controller.session.sweep_source import SweepSource
from controller.sweep import Sweep
from worker.artifacts import open_store as open_artifacts
from worker.protocol import Status, StudyRecord, StudyState, TaskRecord, TaskSpec
from worker.protocol.connection import evicts
from worker.protocol.errors import BadInput
from worker.protocol.queues import check_queue_name
from worker.protocol.urls import redact
from worker.sdk.home import Home
from worker.trials.storage import file_of, open_storage

if TYPE_CHECKING:
    from controller.health.metrics import Meter

INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """What the command line adds to the sweep."""

    workers: int | None = None
    """Local workers; by default one per CPU with the embedded Redis, none with another."""
    resume: bool | None = None
    """True continues a study that exists, False begins a new one; None does either."""
    hand_over: bool = False
    """SIGTERM leaves what runs to the next controller."""
    wait: bool = False
    """Wait for a Redis or a storage that can't be reached yet."""
    retry_failed: bool = False
    """Run the configurations of the failed trials again."""
    grace_s: float = 10.0
    pool_period_min: float = 2.0


def start(
    sweep: Sweep, settings: Settings, options: StartOptions, view: View, meter: Meter | None = None
) -> int:
    """Run a study to its end, or continue it.

    Args:
        meter: counts what happens, for `--metrics-port`.

    Returns:
        The exit code: 0 it ended within its budgets, 1 it failed, 130 it was interrupted.

    Raises:
        BadInput: the sweep or a setting can't be used; nothing was started, and nothing is lost.
    """
    quiet_optuna()
    return _Start(sweep, settings, options, view, meter).run()


class _Start:
    """One call of the command, step by step."""

    def __init__(
        self, sweep: Sweep, settings: Settings, options: StartOptions, view: View, meter: Meter | None
    ) -> None:
        self._sweep = sweep
        self._settings = settings
        self._options = options
        self._view = view
        self._meter = meter
        self._name = sweep.study.name
        check_queue_name(sweep.queue.name)
        self._source = SweepSource(sweep)
        self._artifacts = open_artifacts(settings.artifacts_url)
        self._spec = task_spec(
            sweep,
            self._source.parameters,
            self._source.objective,
            # The store's own URL: the given one may be relative to this folder, which workers don't have.
            artifacts_url=self._artifacts.url,
            storage_url=settings.storage_url,
            grace_s=options.grace_s,
        )
        self._code: Snapshot | None = None
        self._left_over = ""
        """The request that was waiting in Redis when this controller started."""
        self._interrupts = Interrupts(hand_over=options.hand_over)
        self._wait = ServerWait(options.wait, view.note, self._interrupts)

    def run(self) -> int:
        """Check, open, run and close the study; returns the exit code."""
        with ExitStack() as stack:
            checked = self._check_objective(stack)
            stack.enter_context(self._interrupts.installed())
            backend = self._reach_servers(stack)
            with self._session(backend) as session:
                ended = self._take_over(session)
                if ended is not None:
                    return ended
                self._warn(backend)
                strategy = self._open(session, checked)
                if strategy is None:
                    return INTERRUPTED
                self._run(strategy, backend)
                if not self._confirm(session, strategy):
                    return INTERRUPTED
            self._report(backend, strategy.state)
            return self._end(backend, strategy.state, strategy.reason)

    # What needs no server

    def _check_objective(self, stack: ExitStack) -> bool:
        """Snapshot the code and check the objective here; False where only a worker can tell."""
        sweep, settings = self._sweep, self._settings
        if sweep.code:
            own = _own_files(self._artifacts.url, settings.storage_url)
            own += [settings.folder / sweep.study.report] if sweep.study.report else []
            self._code = stack.enter_context(snapshot(sweep.code, settings.folder, own))
        # Check what workers will get, not what is here: a file that the snapshot lacks is missed now.
        folder = stack.enter_context(self._code.unpacked()) if self._code else settings.folder
        try:
            checked = preflight.check_here(self._spec, folder, must_run_here=settings.embedded)
        except BadInput as error:
            if not self._code:
                raise
            shown = f"[code], the snapshot of {self._code.folder},"
            raise BadInput(str(error).replace(str(folder), shown)) from error
        # Whether a worker reaches the storage can't be seen from here.
        return checked and (sweep.objective.kind != "optuna" or settings.embedded)

    # Servers, and the right to act

    def _reach_servers(self, stack: ExitStack) -> Backend:
        """The artifact store and Redis, once they can be reached."""
        settings = self._settings
        if self._meter:
            self._interrupts.looked_at = self._meter.health.long
        self._wait.have(self._artifacts.check)
        url, embedded = self._wait.have(lambda: stack.enter_context(open_redis(settings, create=True)))
        home = Home(url, self._artifacts.url, settings.folder, embedded)
        return Backend(url, settings.storage_url, self._artifacts.url, home=home)

    def _session(self, backend: Backend) -> StudySession:
        """The study's session, not acquired yet."""
        definition = StudyDefinition(
            name=self._name,
            metrics=self._source.objective.metrics,
            parameters=self._source.parameters,
            queue=self._sweep.queue.name,
            storage=redact(self._settings.storage_url),
            sweep=self._sweep.to_dict(),
            old_fingerprint=self._sweep.search_space_fingerprint(),
            name_option="study.name",
            lease_s=self._sweep.budget.lease_s,
        )
        return StudySession(
            backend,
            definition,
            self._view,
            self._interrupts.pending,
            on_wait=self._stands_by,
            hand_back=lambda: self._interrupts.count > 1 or self._interrupts.handed_over,
        )

    def _stands_by(self) -> None:
        if self._meter:
            self._meter.health.stands_by = True

    def _take_over(self, session: StudySession) -> int | None:
        """Acquire the right to act on the study; returns the exit code if there is nothing left to do."""
        store = session.backend.store
        session.refuse_other_study()
        self._check_resume(session.backend)
        if self._meter and session.lock:
            self._meter.watch(session.backend, session.lock, self._sweep.queue.name)
        self._left_over = store.studies.pending_request(self._name)
        before = store.studies.find(self._name)
        if not session.acquire():
            return INTERRUPTED
        if session.stood_by and not self._options.retry_failed:
            record = store.studies.find(self._name)
            if record and _ended_meanwhile(record, before):
                return self._end(session.backend, record.state, record.reason)
        return None

    def _warn(self, backend: Backend) -> None:
        """Warn of settings that work now and may hurt later."""
        policy = evicts(backend.store.redis)
        if policy:
            self._view.note(
                f"this Redis drops records or leases when its memory is full (maxmemory-policy {policy}); "
                "set maxmemory-policy noeviction"
            )
        if not self._settings.embedded and self._artifacts.url.startswith("file:"):
            self._view.note(
                f"artifacts go to {self._artifacts.url} on each worker's own machine; for one place for all, "
                "share that folder or set ARTIFACT_STORE=s3://BUCKET/PREFIX"
            )

    # The study

    def _open(self, session: StudySession, checked: bool) -> OptimizerOptuna | None:
        """Start workers, open the study and return its strategy; None if interrupted meanwhile."""
        backend, view = session.backend, self._view
        session.refuse_other_study()
        storage = self._wait.have(lambda: open_storage(self._settings.storage_url))
        self._check_resume(backend, storage)
        session.start_workers(self._worker_count())
        study = self._source.open_study(storage)
        spec = self._spec
        if self._code:
            spec = replace(spec, code=self._code.store_in(self._artifacts, backend.store, self._name))
            view.note(self._code.describe())
        if not checked and not preflight.check_on_worker(backend, spec, view.note, self._interrupts.pending):
            return None
        if self._left_over and self._left_over == backend.store.studies.pending_request(self._name):
            # It was meant for an earlier controller, which had gone by then.
            backend.store.studies.take_request(self._name)
        kind = self._meter.search if self._meter else Search
        search = self._source.open_search(study, storage, view, kind)
        base = self._base_task(study_uid(study), spec, backend.clock.now())
        session.register(base)
        return self._strategy(session, base.id, search)

    def _worker_count(self) -> int:
        if self._options.workers is not None:
            return self._options.workers
        return (os.cpu_count() or 1) if self._settings.embedded else 0

    def _check_resume(self, backend: Backend, storage: optuna.storages.BaseStorage | None = None) -> None:
        """Raise `BadInput` if the study exists and must not, or doesn't and must."""
        resume, name = self._options.resume, self._name
        if resume is None:
            return
        exists = backend.store.studies.find(name) is not None or (
            storage is not None and name in optuna.get_all_study_names(storage)
        )
        if exists and not resume:
            raise BadInput(
                f"--no-resume: study {name!r} exists; give this one another study.name, or remove it with "
                f"`controller delete {name} --trials`"
            )
        if storage is not None and resume and not exists:
            raise BadInput(
                f"--resume: there is no study {name!r} to continue; leave --resume out to begin it"
            )

    def _base_task(self, uid: UUID, spec: TaskSpec, now: float) -> TaskRecord:
        """The study's own base task."""
        return TaskRecord(
            id=task_id_of(uid, -1),
            name=self._name,
            project=self._sweep.study.project or "",
            spec=replace(spec, parameters={}),
            status=Status.CREATED,
            created_at=now,
        )

    def _strategy(self, session: StudySession, base_task: str, search: Search) -> OptimizerOptuna:
        sweep, budget = self._sweep, self._sweep.budget
        return OptimizerOptuna(
            base_task,
            self._source.parameters,
            self._source.objective,
            sweep.queue.name,
            budget.max_concurrent,
            budget.max_iterations,
            self._source.max_trials,
            pool_period_min=self._options.pool_period_min,
            min_iteration_per_job=budget.min_iterations,
            time_limit_per_job=_minutes(budget.time_per_trial_s),
            compute_time_limit=_minutes(budget.total_compute_s),
            backend=session.backend,
            study=self._name,
            search=search,
            observer=self._meter or self._view,
            constraints=constraints_of(sweep),
            wall_clock_limit=_minutes(budget.wall_clock_s),
            max_failures=budget.max_failures,
            first_failures=budget.first_failures,
            retry_failed=self._options.retry_failed,
            max_attempts=budget.max_attempts,
            retry_on=budget.retry_on,
            on_nan=sweep.study.on_nan or ("ignore" if sweep.objective.kind == "optuna" else None),
            stop_when=budget.stop_when,
            lease_s=budget.lease_s,
            lock=session.lock,
        )

    def _run(self, strategy: OptimizerOptuna, backend: Backend) -> None:
        self._interrupts.pass_on_to(strategy)
        keep_top = self._sweep.artifacts.keep_top
        keeper = ArtifactKeeper(backend.store, self._name, keep_top) if keep_top else None
        if keeper:
            keeper.start()
        try:
            strategy.start()
        finally:
            if keeper:
                keeper.stop()

    def _confirm(self, session: StudySession, strategy: OptimizerOptuna) -> bool:
        """Run the best again where the sweep asks for it, within what the search has left of the budget.

        Returns:
            False when it was interrupted; the same command goes on.
        """
        wanted = self._sweep.confirm
        if wanted is None or strategy.state != StudyState.COMPLETED or session.lock is None:
            return True
        # Scipy takes long to import, and few sweeps ask for it.
        from controller.session.confirming import ConfirmLimits, confirm_best, time_left

        budget, used = self._sweep.budget, session.backend.store.studies.get(self._name).budget
        limits = ConfirmLimits(
            wall_s=time_left(budget.wall_clock_s, used, "wall_clock"),
            compute_s=time_left(budget.total_compute_s, used, "compute_time"),
            max_concurrent=budget.max_concurrent,
        )
        confirm_best(
            session.backend,
            self._name,
            (wanted.k, wanted.seeds),
            self._view,
            lock=session.lock,
            limits=limits,
            stopped=self._interrupts.pending,
        )
        return not self._interrupts.pending() and not session.lock.lost

    def _end(self, backend: Backend, state: str, reason: str) -> int:
        """Show how the study ended; returns the exit code."""
        self._view.summary(backend.store, self._name, state, reason)
        return {StudyState.INTERRUPTED: INTERRUPTED, StudyState.FAILED: 1}.get(state, 0)

    def _report(self, backend: Backend, state: str) -> None:
        """Write the report that the sweep asks for, once the study has ended."""
        path = self._sweep.study.report
        if path and state in ENDED:
            from controller.session.end_report import write_end_report

            storage, note = self._settings.storage_url, self._view.note
            write_end_report(backend.store, self._name, self._settings.folder / path, storage, note)


def _ended_meanwhile(record: StudyRecord, before: StudyRecord | None) -> bool:
    """Whether another controller has ended the study while this one stood by.

    Args:
        before: the study's record from before; None when there was none yet.
    """
    return record.state in ENDED and not (before and before.ended_at == record.ended_at)


def _own_files(artifacts_url: str, storage_url: str) -> list[Path]:
    """What studies write on this machine that is no code: the artifacts' folder, the database's files."""
    found = []
    if artifacts_url.startswith("file:"):
        found.append(Path(os.fsdecode(unquote_to_bytes(artifacts_url.removeprefix("file://")))))
    database = file_of(storage_url)
    if database:
        found += [database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]
    return found


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60
