"""A slot: one RQ worker that runs one attempt at a time, in a program of its own.

Started by the daemon as a process; ends when told to, or with its daemon. RQ hands over jobs and nothing
more: what a task is and how it ends stands in its record.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import NoPermissionError
from rq import suspension, worker_registration
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import SimpleWorker, WorkerStatus

from worker.health.attempts import HealthReporter
from worker.process.cgroups import SlotGroup
from worker.process.logs import configure
from worker.process.parent_death import HAND_BACK_NOW, adopt_orphans, die_with_parent
from worker.protocol.connection import AWAY, can_pass, connect, trouble
from worker.protocol.errors import ForbiddenJob, RecordError, TransitionRefused
from worker.protocol.faults import Fault, Lacking, fault_of
from worker.protocol.keys import RQ
from worker.protocol.printable import one_line
from worker.protocol.record import TaskRecord, job_id
from worker.protocol.redis_time import RedisTime
from worker.protocol.secrets import JOB_SECRET, REDIS_URL
from worker.protocol.signature import Signer, UsedSignatures, used_once
from worker.protocol.store import Store
from worker.protocol.transport import TaskJob, TaskQueue
from worker.slot import run_attempt, serve_with
from worker.slot.allowance import Allowance
from worker.slot.attempt import Attempt
from worker.slot.code import CodeFolders
from worker.slot.context import SlotContext
from worker.slot.devices import VISIBLE
from worker.slot.machine import Machine
from worker.slot.programs import share_with_programs
from worker.slot.runner_program import SlotRunner
from worker.slot.scratch import TaskScratch
from worker.slot.surroundings import SurroundingsNotes

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
"""RQ's heartbeat of a slot, in seconds; RQ itself would send several for every job."""
FAULT_SHOWN_S = 1.0
"""How much longer than until the next look a fault is shown, in seconds."""
SUSPENSION_S = 1.0
"""How often a slot looks whether `rq suspend` was called, in seconds."""


def keep_rq_keys() -> None:
    """Keep RQ's default prefix where RQ reads names of keys from its modules. For a slot's process only."""
    worker_registration.REDIS_WORKER_KEYS = f"{RQ}workers"
    worker_registration.WORKERS_BY_QUEUE_KEY = f"{RQ}workers:%s"
    suspension.WORKERS_SUSPENDED = f"{RQ}suspended"


@contextlib.contextmanager
def _full_or_not() -> Iterator[None]:
    """Pass over a Redis that takes no writes: what RQ does besides is a courtesy, not worth a slot's end."""
    try:
        yield
    except redis.ResponseError as error:
        if not can_pass(error):
            raise
        log.debug("not shown to RQ: %s", trouble(error))


class Slot(SimpleWorker):
    """RQ's in-process worker, with the allowlist, our signals and no remote commands."""

    redis_worker_namespace_prefix = f"{RQ}worker:"
    redis_workers_keys = f"{RQ}workers"
    job_class = TaskJob
    queue_class = TaskQueue  # type: ignore[assignment] # RQ's own has other types
    log_result_lifespan = False
    # RQ waits up to a minute between two looks for a Redis that is away; it may be back long before.
    max_connection_wait_time = 2.0

    def __init__(self, number: int, options: dict[str, Any], wake: socket.socket | None) -> None:
        """
        Args:
            number: of this slot within its worker, from 0.
            options: what the daemon passes on, by the names of `WorkerSettings`.
            wake: end of the socket on which the daemon forwards stop requests.
        """
        url = options["redis_url"]
        self.label = f"{options['name']}/{number}"
        self._options = options
        self._shutdown_at: float | None = None
        self._now = False
        # Reports must not wait for Redis; RQ's own commands may.
        self.store = Store(connect(url, patience_s=0, timeout_s=5.0))
        self._beat_at = self._suspension_at = 0.0
        self._shown_state: str | None = None
        self.out_of_work = False
        """No job was there, or none has come for long enough: what else ends `work` is trouble."""
        self._runner = SlotRunner()
        key = options.get("job_secret")
        self._signer = Signer(key, RedisTime(self.store.redis).now) if key else None
        self._nonce = ""
        """Of the signature that is being started."""
        self._used = UsedSignatures(Path(options["used_folder"]))
        self._health = HealthReporter(wake if options.get("metrics") else None)
        pause_file, folder = Path(options["pause_file"]), Path(options["folder"])
        self._drain_file = Path(options["drain_file"])
        """Is there while a person has the worker end without haste."""
        self._machine = Machine([folder, Path(os.environ["TMPDIR"])], self._show_fault)
        TaskQueue.paused = staticmethod(lambda: self._machine.holds() or pause_file.exists())
        group = options.get("memory_group")
        self._context = SlotContext(
            store=self.store,
            runner=self._runner,
            folder=folder,
            wake=wake,
            storage_url=options.get("storage_url"),
            heartbeat=self._heartbeat_while_busy,
            hand_back_at=self._hand_back_at,
            allowance=Allowance(options.get("allow", ())),
            memory_bytes=options.get("memory_bytes"),
            code=CodeFolders(Path(options["code_folder"])),
            scratch=TaskScratch(Path(os.environ["TMPDIR"])),
            signed=self._signer is not None,
            gpu_folder=Path(options["gpu_folder"]) if options.get("gpu_folder") else None,
            group=SlotGroup(Path(group), options["memory_bytes"]) if group else None,
            machine=self._machine,
            seen=SurroundingsNotes(self.store, options["name"], Path(options["surroundings_file"])).note,
        )
        super().__init__(
            options["queues"],
            # Unique per process: RQ refuses a killed slot's name until its registration expires.
            name=f"{options['name']}.{number}.{os.getpid()}",
            connection=connect(url, patience_s=60, text=False),
            serializer=JSONSerializer,
            log_job_description=False,
        )

    # What RQ must not do here

    def subscribe(self) -> None:
        """No remote commands: anybody who reaches Redis could kill work with them."""

    def unsubscribe(self) -> None:
        pass

    def _set_ip_address(self, connection: Any) -> None:
        # RQ finds it out by CLIENT LIST, which shows everybody's connections: not for a worker's user.
        self.ip_address = "unknown"

    def procline(self, message: str) -> None:
        """No process titles: they show what others need not read."""

    @property
    def dequeue_timeout(self) -> int:
        """Seconds between two looks at what else there is to do."""
        return 1

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        at = time.monotonic()
        if pipeline is None and at - self._beat_at < HEARTBEAT_S:
            return
        self._beat_at = at
        with _full_or_not():
            super().heartbeat(timeout, pipeline)

    def run_maintenance_tasks(self) -> None:
        # RQ would look after registries and groups that are not used here, and run what stands in them.
        with _full_or_not():
            for queue in self.queues:
                worker_registration.clean_worker_registry(queue)
                queue.tidy()  # type: ignore[attr-defined] # RQ's own has other types
        self.last_cleaned_at = now()  # type: ignore[assignment] # RQ's own has other types

    def check_for_suspension(self, burst: bool) -> None:
        at = time.monotonic()
        if at - self._suspension_at >= SUSPENSION_S:
            self._suspension_at = at
            with _full_or_not():
                super().check_for_suspension(burst)

    def set_state(self, state: str, pipeline: Any = None) -> None:
        # A job that is over in a moment is not shown in between.
        if state != self._shown_state:
            with _full_or_not():
                super().set_state(state, pipeline)
                self._shown_state = state

    # Shutting down

    def _install_signal_handlers(self) -> None:
        # A terminal's Ctrl-C reaches the whole group; only the daemon decides.
        signal.signal(signal.SIGINT, lambda *given: None)  # ignored here; programs begin without it
        signal.signal(signal.SIGTERM, self.request_stop)
        signal.signal(HAND_BACK_NOW, self.request_stop)

    def request_stop(self, signum: int, frame: Any) -> None:
        """SIGTERM: take no more jobs, finish or hand back. `HAND_BACK_NOW`: don't wait for anything."""
        TaskQueue.stopping = True
        self._stop_requested = True
        if self._shutdown_at is None and not self._drain_file.exists():
            self._shutdown_at = time.monotonic()
        if signum == HAND_BACK_NOW:
            self._now = True
        if TaskQueue.waiting:
            # Rather than wait out the second. Should a job come at this very moment, the controller sees
            # that it is on no queue, and puts it there again.
            TaskQueue.waiting = False
            raise StopRequested

    def _hand_back_at(self) -> float | None:
        if self._now:
            return 0.0
        if self._shutdown_at is None:
            return None
        return self._shutdown_at + float(self._options["drain_s"])

    # Working

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        found = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        self.out_of_work = found is None
        return found

    def _heartbeat_while_busy(self) -> None:
        try:
            self.set_state(WorkerStatus.BUSY)
            self.heartbeat()
        except Exception as error:  # RQ's view of us is a courtesy; the lease is what counts.
            log.warning("slot %s: RQ heartbeat failed: %s", self.label, error)

    def execute_job(self, job: TaskJob, queue: Any) -> None:  # type: ignore[override] # RQ's own has other types
        """Run what the job names. All that is known of it stands in the task's record from now on.

        RQ would keep statuses, results and registries of its own, at some twenty commands for each job.
        """
        queue.discard(job)
        try:
            task_id, attempt, token = job.verify()
            job.func(task_id, attempt, token)
        except ForbiddenJob as error:
            self._refuse(str(error))
        except RecordError as error:
            self._refuse(f"job {job.id}: {error}")
        except (*AWAY, NoPermissionError) as error:
            log.warning("slot %s: task %s attempt %d: %s", self.label, task_id, attempt, trouble(error))
        except redis.ResponseError as error:
            if can_pass(error):
                log.warning("slot %s: task %s attempt %d: %s", self.label, task_id, attempt, trouble(error))
            else:  # a key that isn't what it should be
                self._refuse(f"job {job.id}: {error}")
        except Exception as error:
            # The lease runs out, and the task gets another attempt; unless it was not begun: then this one.
            log.exception("slot %s: task %s attempt %d", self.label, task_id, attempt)
            fault = fault_of(error, starting=True)
            if fault:
                self._machine.hold(fault, None, lasts=True)

    def _refuse(self, why: str) -> None:
        """Say that a job was not run: in the log and in this worker's registration."""
        why = one_line(why, 500)
        log.warning("slot %s: refused: %s", self.label, why)
        self._health.refused()
        with contextlib.suppress(redis.RedisError):
            self.store.workers.show_refusal(self.label, why)

    def _check_signature(self, token: str | None, record: TaskRecord) -> None:
        """Raises `ForbiddenJob` unless the controller has asked for just this, once."""
        if self._signer:
            nonce = self._signer.verify(token, record)
            if nonce != self._nonce:  # else its start is tried again
                self._used.use(nonce)
                self._nonce = nonce
        elif token:
            raise ForbiddenJob("it is signed, and this worker has no OPTUNA_RQ_SECRET to compare with")

    def run(self, task_id: str, attempt: int, token: str | None = None) -> None:
        """Run one attempt to its end, if it is still wanted.

        Raises:
            ForbiddenJob: its signature isn't good for it.
        """
        self._nonce = ""
        try:
            record = self.store.transitions.start(
                task_id,
                attempt,
                self.label,
                register=True,
                check=partial(self._check_signature, token),
                once=used_once(token, self.label) if self._signer else None,
            )
        except ForbiddenJob as error:
            raise ForbiddenJob(f"job {job_id(task_id, attempt)}: {error}") from error
        except TransitionRefused as error:
            log.info("slot %s: not run: %s", self.label, error)
            return
        study_store = record.spec.artifacts
        if self._options.get("artifacts"):
            record = replace(record, spec=replace(record.spec, artifacts=self._options["artifacts"]))
        log.info(
            "slot %s: study %s trial %s task %s attempt %d",
            self.label,
            record.study,
            record.trial,
            task_id,
            attempt,
        )
        left = self.store.reports.checkpoints(task_id) if attempt > 1 else []
        try:
            execution = Attempt(record, self._context, checkpoints=left, study_store=study_store)
        except OSError as error:
            fault = fault_of(error, starting=True)
            if fault is None:
                raise
            self._give_back(record, fault)
            return
        with self._health.attempt(execution):
            recorded = execution.run()
        if not recorded:
            self._show_idle()

    def _give_back(self, record: TaskRecord, fault: Fault) -> None:
        """Have a task that could not even be begun here queued again."""
        lasts = self._machine.lasts(fault, record.spec.artifacts)
        self._machine.hold(fault, record.spec.artifacts, lasts=lasts)
        why = f"{fault.reason_class}: {fault.reason}; tried again"
        self.store.transitions.requeue(record.id, record.attempt, reason=why, handed_back=True)
        self._show_idle()

    def _show_fault(self, fault: Fault, seconds: float) -> None:
        """Have the worker's registration say why no jobs are taken, and the worker pause. Never raises."""
        try:
            until = self.store.clock.now() + seconds + FAULT_SHOWN_S
            self.store.workers.show_fault(
                self.label, until, fault.reason_class.value, fault.advice, alone=self._is_of_its_device(fault)
            )
        except Exception as error:
            log.debug("slot %s: registration not written: %s", self.label, error)

    def _is_of_its_device(self, fault: Fault) -> bool:
        """Whether other slots of the worker, which have GPUs of their own, need not suffer."""
        return fault.lacking is Lacking.GPU and int(self._options["slots"]) > 1 and VISIBLE in os.environ

    def _show_idle(self) -> None:
        """Have the worker's registration say so, where no task's end has. Never in the way of work."""
        try:
            self.store.workers.show_idle(self.label)
        except Exception as error:
            log.debug("slot %s: registration not written: %s", self.label, error)

    def close(self) -> None:
        self._runner.discard()
        if self._context.group:
            self._context.group.remove()


def main() -> None:
    """``python -c … NUMBER WAKE_FD PARENT``, with the options as JSON on standard input."""
    number, descriptor, parent = (int(text) for text in sys.argv[1:4])
    die_with_parent(parent)
    adopt_orphans()
    options = json.loads(sys.stdin.buffer.read())
    configure(options.get("log_level", "INFO"))
    if options.get("share_redis"):
        shared = {REDIS_URL: options["redis_url"]}
        if options.get("job_secret"):
            shared[JOB_SECRET] = options["job_secret"]
        share_with_programs(**shared)
    wake = socket.socket(fileno=descriptor)
    wake.setblocking(False)
    slot = Slot(number, options, wake)
    serve_with(slot)
    TaskJob.entry = staticmethod(run_attempt)
    keep_rq_keys()
    try:
        slot.work(burst=bool(options["burst"]), max_idle_time=options.get("idle_s"), logging_level="WARNING")
    finally:
        slot.close()
    if slot.out_of_work:
        sys.exit(int(options["out_of_work"]))


__all__ = ["Slot", "main"]
