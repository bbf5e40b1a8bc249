"""Runs a task that belongs to no study to its end: queued, watched, tried again when its worker is lost."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from controller.loop.backend import Backend
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.observer import Notes
from controller.session.local_workers import LocalWorkers, local_workers
from controller.session.preflight import no_worker
from worker.protocol import Reason, TaskRecord
from worker.protocol.errors import BadInput, ForbiddenJob, TransitionRefused

LOOK_S = 0.1
"""Between two looks at a task, in seconds."""
QUIET_S = 3.0
"""A queue may be without a worker for so long before that is said, in seconds."""


def as_launched(backend: Backend, record: TaskRecord) -> TaskRecord:
    """A task as its maker or controller signed it; as it is where nothing is signed.

    Raises:
        BadInput: it was altered in Redis, or signed with another secret.
    """
    try:
        return backend.launcher.verified(record)
    except ForbiddenJob as error:
        raise BadInput(f"task {record.id}: {error}") from error


@contextlib.contextmanager
def worker_here(backend: Backend) -> Iterator[str]:
    """A worker of one slot on this machine, in the current folder. Yields the queue that it alone serves."""
    queue = f"reproduce-{os.getpid()}"
    workers: LocalWorkers = local_workers(backend, 1, queue)
    workers.start()
    try:
        yield queue
    finally:
        workers.stop(at_once=True)


def launch(backend: Backend, record: TaskRecord) -> TaskRecord:
    """Write a new task and put it on its queue; returns it as queued."""
    backend.store.tasks.create(record)
    queued = backend.store.transitions.queue(record.id)
    backend.launcher.enqueue(queued)
    return queued


def wait_for(backend: Backend, task: TaskRecord, note: Callable[[str], None]) -> TaskRecord:
    """Wait until a task has ended; Ctrl-C has it stop. Returns it as it has ended.

    Args:
        task: as `launch` returned it.
        note: is told what a person can do where nothing happens.
    """
    fleet, store = Fleet(backend.store, task.spec.queue), backend.store
    leases = LeaseMonitor(
        backend,
        Notes(note),
        lease_s=task.spec.lease_s,
        max_attempts=task.spec.max_attempts,
        queue=task.spec.queue,
    )
    leases.queued(task.id)
    job = Job.adopt(task, task.spec.parameters, backend)
    told = False
    try:
        while not job.refresh().status.is_finished:
            now = time.monotonic()
            leases.sweep(now, [job])
            fleet.look(now)
            for text in fleet.new_refusals():
                note(text)
            if not told and fleet.empty_since is not None and now - fleet.empty_since > QUIET_S:
                note(no_worker(task.spec.queue, backend.redis_url))
                told = True
            time.sleep(LOOK_S)
        return store.tasks.get(task.id)
    except KeyboardInterrupt:
        with contextlib.suppress(TransitionRefused):
            store.transitions.request_stop(task.id, Reason.USER, "the command that waited was interrupted")
        raise
