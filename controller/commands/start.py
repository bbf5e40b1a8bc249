"""`controller start`: from a sweep file to a study that has ended."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import optuna

from controller.api.optuna_strategy import OptimizerOptuna
from controller.commands.settings import Settings, open_redis
from controller.commands.view import View
from controller.loop.backend import Backend
from controller.loop.observer import Observer
from controller.results.artifact_keeper import ArtifactKeeper
from controller.search.objective import Objective
from controller.search.parameters import Parameter
from controller.search.samplers import grid, made_for_each, make_pruner, make_sampler, seed_after
from controller.search.search import Search
from controller.search.study import (
    open_study,
    quiet_optuna,
    refuse_other_trials,
    study_uid,
    task_id_of,
)
from controller.search.trial_cache import cached
from controller.session import preflight
from controller.session.code_snapshot import snapshot
from controller.session.interrupts import Interrupts, Patience
from controller.session.local_workers import LocalWorkers
from controller.session.lock import StudyLock
from controller.session.sweep_objects import constraints_of, objective_of, parameters_of, task_spec
from controller.sweep import Sweep, describe_difference
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

log = logging.getLogger(__name__)

INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """What the command line adds to the sweep."""

    workers: int | None = None
    """Local workers; by default one per CPU with the embedded Redis, none with another."""
    resume: bool | None = None
    """True goes on with a study that exists, False begins a new one; None does either."""
    hand_over: bool = False
    """SIGTERM leaves what runs to the next controller."""
    wait: bool = False
    """Wait for a Redis or a storage that can't be reached yet."""
    grace_s: float = 10.0
    pool_period_min: float = 2.0


def start(
    sweep: Sweep, settings: Settings, options: StartOptions, view: View, meter: Meter | None = None
) -> int:
    """Run a study to its end, or go on with it.

    Args:
        meter: is to know how it goes.

    Returns:
        The exit code: 0 it ended within its budgets, 1 it failed, 130 it was interrupted.

    Raises:
        BadInput: something that was asked for can't be; nothing was started, and nothing is lost.
    """
    quiet_optuna()
    parameters = parameters_of(sweep)
    objective = objective_of(sweep)
    check_queue_name(sweep.queue.name)
    sampler = _sampler(sweep, parameters, 0)
    pruner = make_pruner(
        sweep.pruner.type if sweep.pruner else None, sweep.pruner.options if sweep.pruner else {}
    )
    artifacts = open_artifacts(settings.artifacts_url)
    # The store's own URL: what is given may be a path relative to this folder, which workers don't share.
    spec = task_spec(
        sweep,
        parameters,
        objective,
        artifacts_url=artifacts.url,
        storage_url=settings.storage_url,
        grace_s=options.grace_s,
    )
    with ExitStack() as stack:
        own = _own_files(artifacts.url, settings.storage_url)
        code = stack.enter_context(snapshot(sweep.code, settings.folder, own)) if sweep.code else None
        # What workers will have, rather than what lies here: a file that is left out is missed now.
        folder = stack.enter_context(code.unpacked()) if code else settings.folder
        try:
            can_tell = preflight.check_here(spec, folder, must_run_here=settings.embedded)
        except BadInput as error:
            if not code:
                raise
            raise BadInput(
                str(error).replace(str(folder), f"[code], the snapshot of {code.folder},")
            ) from error
        if sweep.objective.kind == "optuna" and not settings.embedded:
            can_tell = False  # whether a worker reaches the storage
        interrupts = stack.enter_context(Interrupts(hand_over=options.hand_over).installed())
        if meter:
            interrupts.looked_at = meter.health.long
        patience = Patience(options.wait, view.note, interrupts)
        patience.have(artifacts.check)
        url, embedded = patience.have(lambda: stack.enter_context(open_redis(settings, create=True)))
        at = Home(url, artifacts.url, settings.folder, embedded)
        backend = Backend(url, settings.storage_url, artifacts.url, home=at)
        _refuse_other_study(backend, sweep, settings)
        _check_resume(options.resume, backend, sweep.study.name)
        lock = StudyLock(backend.store, sweep.study.name)
        if meter:
            meter.watch(backend, lock, sweep.queue.name)
        left_over = backend.store.pending_request(sweep.study.name)
        stood_by, before = False, backend.store.find_study(sweep.study.name)

        def stand_by(holder: str) -> None:
            nonlocal stood_by
            stood_by = True
            if meter:
                meter.health.stands_by = True
            view.note(f"controller {holder} acts on study {sweep.study.name!r}; standing by to take over")

        if not lock.acquire(wait=True, on_wait=stand_by, stopped=interrupts.pending):
            return INTERRUPTED
        if stood_by:
            code_of_end = _ended_meanwhile(backend, sweep.study.name, before, view)
            if code_of_end is not None:
                lock.release()
                return code_of_end
        count = options.workers if options.workers is not None else (os.cpu_count() or 1) if embedded else 0
        workers = LocalWorkers(
            count,
            redis_url=url,
            artifacts_url=artifacts.url,
            storage_url=settings.storage_url,
            queue=sweep.queue.name,
            folder=settings.folder,
            log_folder=settings.state_folder / "workers",
            keep_alive=embedded.lock_fd if embedded else None,
        )
        policy = evicts(backend.store.redis)
        if policy:
            view.note(
                f"this Redis drops records or leases when its memory is full (maxmemory-policy {policy}); "
                "set maxmemory-policy noeviction"
            )
        if not embedded and artifacts.url.startswith("file:"):
            view.note(
                f"artifacts go to {artifacts.url} on each worker's own machine; for one place for all, share "
                "that folder or set ARTIFACT_STORE=s3://BUCKET/PREFIX"
            )
        try:
            _refuse_other_study(backend, sweep, settings)
            storage = patience.have(lambda: open_storage(settings.storage_url))
            _check_resume(options.resume, backend, sweep.study.name, storage)
            workers.start()
            view.workers = workers
            study = open_study(storage, sweep.study.name, objective.directions, sampler, pruner)
            refuse_other_trials(study, {p.name: p.distribution() for p in parameters})
            if code:
                spec = replace(spec, code=code.store_in(artifacts, backend.store, sweep.study.name))
                view.note(code.describe())
            if not can_tell and not preflight.check_on_worker(backend, spec, view.note, interrupts.pending):
                return INTERRUPTED
            study.sampler = _sampler(sweep, parameters, len(study.get_trials(deepcopy=False)))
            if left_over and left_over == backend.store.pending_request(sweep.study.name):
                # Asked of an earlier controller, which was gone by then.
                backend.store.take_request(sweep.study.name)
            by_objective = sweep.objective.kind == "optuna"
            search = (meter.search if meter else Search)(
                # Objectives that take Optuna's trial write to the storage themselves.
                study if by_objective else cached(study),
                parameters,
                # What an objective chooses by itself is not known beforehand.
                allow_duplicates=sweep.study.allow_duplicates or by_objective,
                reports=not by_objective,
                sampler_for=_sampler_for(sweep, parameters),
            )
            _know(search, study, sweep, view)
            base_task = _write_study(
                backend, sweep, settings, study_uid(study).hex, spec, objective, lock.name
            )
            strategy = _strategy(
                backend, sweep, base_task, parameters, objective, search, options, meter or view, lock
            )
            interrupts.pass_on_to(strategy)
            keep_top = sweep.artifacts.keep_top
            keeper = ArtifactKeeper(backend.store, sweep.study.name, keep_top) if keep_top else None
            if keeper:
                keeper.start()
            try:
                strategy.start()
            finally:
                if keeper:
                    keeper.stop()
        finally:
            workers.stop(at_once=interrupts.count > 1 or interrupts.handed_over)
            lock.release()
        view.summary(backend.store, sweep.study.name, strategy.state, strategy.reason)
        if strategy.state == StudyState.INTERRUPTED:
            return INTERRUPTED
        return 1 if strategy.state == StudyState.FAILED else 0


def _own_files(artifacts_url: str, storage_url: str) -> list[Path]:
    """What studies write on this machine, and is no code: the folder of artifacts, the database's files."""
    found = []
    if artifacts_url.startswith("file:"):
        found.append(Path(os.fsdecode(unquote_to_bytes(artifacts_url.removeprefix("file://")))))
    database = file_of(storage_url)
    if database:
        found += [database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]
    return found


def _sampler(sweep: Sweep, parameters: list[Parameter], trials: int) -> optuna.samplers.BaseSampler:
    """The sweep's sampler, for a study that has so many trials. Raises `BadInput`."""
    given = sweep.sampler
    return make_sampler(given.type, given.options, seed_after(given.seed, trials, given.type), parameters)


def _sampler_for(
    sweep: Sweep, parameters: list[Parameter]
) -> Callable[[int], optuna.samplers.BaseSampler] | None:
    """The sampler of each suggestion, where a seed is given that can be kept so."""
    if sweep.sampler.seed is None or not made_for_each(sweep.sampler.type, sweep.sampler.options):
        return None
    return lambda suggested: _sampler(sweep, parameters, suggested)


def _know(search: Search, study: optuna.Study, sweep: Sweep, view: View) -> None:
    """Give the search what is known beforehand: an older study's trials, and configurations to try."""
    older = sweep.study.start_from
    if older is not None:
        try:
            known = optuna.load_study(study_name=older, storage=study._storage)
        except KeyError as error:
            raise BadInput(f"study.start_from: there is no study {older!r} in Optuna's storage") from error
        copied, left = search.start_from(known)
        view.note(f"{copied} trial(s) of study {older!r} are known to the sampler, {left} don't fit")
    for parameters in sweep.tries:
        search.enqueue(parameters)


def _strategy(
    backend: Backend,
    sweep: Sweep,
    base_task: str,
    parameters: list[Parameter],
    objective: Objective,
    search: Search,
    options: StartOptions,
    observer: Observer,
    lock: StudyLock,
) -> OptimizerOptuna:
    budget = sweep.budget
    jobs = budget.max_trials
    if sweep.sampler.type == "grid":
        size = 1
        for values in grid(parameters).values():
            size *= len(values)
        jobs = min(jobs, size) if jobs is not None else size
    return OptimizerOptuna(
        base_task,
        parameters,
        objective,
        sweep.queue.name,
        budget.max_concurrent,
        budget.max_iterations,
        jobs,
        pool_period_min=options.pool_period_min,
        min_iteration_per_job=budget.min_iterations,
        time_limit_per_job=_minutes(budget.time_per_trial_s),
        compute_time_limit=_minutes(budget.total_compute_s),
        backend=backend,
        study=sweep.study.name,
        search=search,
        observer=observer,
        constraints=constraints_of(sweep),
        wall_clock_limit=_minutes(budget.wall_clock_s),
        max_failures=budget.max_failures,
        max_attempts=budget.max_attempts,
        retry_on=budget.retry_on,
        lease_s=budget.lease_s,
        lock=lock,
    )


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60


def _ended_meanwhile(backend: Backend, name: str, before: StudyRecord | None, view: View) -> int | None:
    """The exit code, if another controller has ended the study: nothing is to be taken over.

    Args:
        before: the study when it began to stand by; None when there was none yet.
    """
    record = backend.store.find_study(name)
    if record is None or record.state not in (StudyState.COMPLETED, StudyState.STOPPED, StudyState.FAILED):
        return None
    if before and before.ended_at == record.ended_at:
        return None  # as it was: it has not gone on since
    view.summary(backend.store, name, record.state, record.reason)
    return 1 if record.state == StudyState.FAILED else 0


def _refuse_other_study(backend: Backend, sweep: Sweep, settings: Settings) -> None:
    """A study of this name must have this search space and this storage. Raises `BadInput`."""
    known = backend.store.find_study(sweep.study.name)
    if known is None:
        return
    if known.fingerprint != sweep.search_space_fingerprint():
        difference = describe_difference(known.sweep, sweep.to_dict())
        raise BadInput(
            f"study {known.name!r} exists with another search space ({difference}); "
            "give this one another study.name"
        )
    storage = redact(settings.storage_url)
    if known.storage != storage:
        raise BadInput(
            f"study {known.name!r} has its trials in {known.storage}, not in {storage}; "
            "set OPTUNA_STORAGE to where they are, or give this one another study.name"
        )


def _check_resume(
    resume: bool | None, backend: Backend, name: str, storage: optuna.storages.BaseStorage | None = None
) -> None:
    """Whether the study exists, where that was made a condition. Raises `BadInput`."""
    if resume is None:
        return
    exists = backend.store.find_study(name) is not None or (
        storage is not None and name in optuna.get_all_study_names(storage)
    )
    if exists and not resume:
        raise BadInput(
            f"--no-resume: study {name!r} exists; give this one another study.name, or remove it with "
            f"`controller delete {name} --trials`"
        )
    if storage is not None and resume and not exists:
        raise BadInput(f"--resume: there is no study {name!r} to go on with; leave --resume out to begin it")


def _write_study(
    backend: Backend,
    sweep: Sweep,
    settings: Settings,
    uid: str,
    spec: TaskSpec,
    objective: Objective,
    controller: str,
) -> str:
    """Write or bring up to date the study's record and its base task; returns the base task's id."""
    import uuid

    store = backend.store
    name = sweep.study.name
    base_task = task_id_of(uuid.UUID(uid), -1)
    known = store.find_study(name)
    now = backend.clock.now()
    if known is not None:
        store.delete_task(base_task)
    base = TaskRecord(
        id=base_task,
        name=name,
        project=sweep.study.project or "",
        spec=replace(spec, parameters={}),
        status=Status.CREATED,
        created_at=now,
    )
    store.create(base)
    backend.know_base_task(base)
    record = known or StudyRecord(name=name, created_at=now, metrics=objective.metrics)
    store.save_study(
        replace(
            record,
            queue=sweep.queue.name,
            storage=redact(settings.storage_url),
            artifacts=backend.artifacts_url,
            fingerprint=sweep.search_space_fingerprint(),
            sweep=sweep.to_dict(),
            base_task=base_task,
            state=StudyState.RUNNING,
            reason="",
            ended_at=None,
            controller=controller,
        )
    )
    return base_task
