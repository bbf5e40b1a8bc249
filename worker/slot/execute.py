"""One attempt: start the objective's program, watch it, collect what it says, finish exactly once.

The supervising loop has one thread and waits in one place, for whatever comes first: output, a report,
the program's end, a stop request, or the next thing that is due. Redis may go away at any time without
disturbing the program.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from worker.health.attempts import DROPPED, HANDED_BACK, REQUEUED
from worker.process.channel import Message
from worker.protocol.batch import Point
from worker.protocol.checkpoint import ResumePoint
from worker.protocol.errors import ObjectiveLoadError, StaleAttempt, TransitionRefused
from worker.protocol.metrics import MACHINE, split_key, violations
from worker.protocol.record import StopRequest, TaskRecord
from worker.protocol.sizes import show_size
from worker.protocol.status import Reason
from worker.protocol.store import Store
from worker.runner.objective import check_description, script_path
from worker.sdk.reporter import Reporter
from worker.sdk.session import describe
from worker.slot.allowance import Allowance
from worker.slot.code import CodeFolders
from worker.slot.outcome import Ended, Outcome, judge
from worker.slot.output import ScalarLines
from worker.slot.program_channel import ProgramChannel
from worker.slot.programs import Program, WarmRunner, command_argv, script_argv, start_fresh
from worker.slot.resources import KillCounter, Sampler, memory_of
from worker.slot.scratch import TaskScratch

log = logging.getLogger(__name__)

HEARTBEAT_S = 30.0
"""How often the slot is to show that it is alive while an attempt runs, in seconds, after the first one."""

TERMINATED = (-signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit codes of a program that SIGTERM has ended."""

_kills = KillCounter()

MEMORY_S = 0.5
"""How often memory is looked at where it is limited, in seconds."""

FETCH_S = 0.2
"""How often it is looked whether a study's code is still wanted while it is fetched, in seconds."""

_SHUTTING_DOWN = StopRequest(reason_class=Reason.STUDY_STOPPED, reason="the worker is shutting down")

_NO_MODULE = "ModuleNotFoundError: No module named"

RUNNER_KINDS = ("function", "optuna")
"""Kinds of objectives that a warm runner calls; others are programs of their own."""


@dataclass(kw_only=True)
class SlotContext:
    """What a slot offers its attempts."""

    store: Store
    runner: WarmRunner
    folder: Path
    """Where programs start, and the first place that modules are imported from."""
    wake: socket.socket | None
    """Readable when a stop request may have arrived for this worker."""
    storage_url: str | None
    """Optuna's storage, for objectives that take Optuna's trial; None when nobody said where it is."""
    heartbeat: Callable[[], None]
    """To be called now and then while an attempt runs."""
    hand_back_at: Callable[[], float | None]
    """Monotonic time at which a running attempt is to be handed back, once the worker shuts down."""
    allowance: Allowance = field(default_factory=Allowance)
    """Which objectives are run."""
    memory_bytes: int | None = None
    """What a program and its children may use."""
    code: CodeFolders
    """Studies' own code."""
    scratch: TaskScratch
    """Where programs have their temporary files."""
    signed: bool = False
    """Jobs are signed here."""
    keep: Callable[[], frozenset[int]] = frozenset
    """Children of this process that belong to no attempt."""


class Attempt:
    """Runs `record`'s current attempt to its end. Use once: ``Attempt(...).run()``."""

    def __init__(
        self,
        record: TaskRecord,
        context: SlotContext,
        monotonic: Callable[[], float] = time.monotonic,
        checkpoints: Sequence[ResumePoint] = (),
        study_store: str | None = None,
    ) -> None:
        """
        Args:
            checkpoints: what attempts before this one have left, the oldest first.
            study_store: URL of the study's artifact store, where this worker was given another one.
        """
        self._record = record
        self._checkpoints = list(checkpoints)
        self._context = context
        self._study_store = study_store
        self._folder = context.folder
        self._now = monotonic
        self._reporter = Reporter(context.store, record, monotonic, checkpoints[-1] if checkpoints else None)
        self._selector = selectors.DefaultSelector()
        self._channel = ProgramChannel(
            context.store, record, self._reporter, self._description(), self._selector
        )
        self._scalar_lines = ScalarLines() if record.spec.objective.get("kind") == "command" else None
        self._program: Program | None = None
        self._exit: int | None = None
        self._request: StopRequest | None = None
        self._asked_at: float | None = None
        self._killed = False
        self._over_memory = ""
        self._hand_back = False
        self.ended_as = (DROPPED, "")
        """Outcome and reason, see `worker.health.attempts`."""

    # The course of an attempt

    def run(self) -> bool:
        """Returns when the attempt has ended. True when its end was recorded with its task's, False when it
        was refused, or the task gets another attempt."""
        try:
            return self._run()
        finally:
            self._context.scratch.empty()

    def _run(self) -> bool:
        started = self._now()
        kills = _kills.count()
        load_error: ObjectiveLoadError | None = None
        try:
            try:
                self._start()
            except ObjectiveLoadError as error:
                load_error = None if self._request else error
            if self._program:
                self._supervise(started)
                self._drain()
        finally:
            self._clean_up()
        return self._finish(started, kills, load_error)

    def _start(self) -> None:
        record, context = self._record, self._context
        objective = record.spec.objective
        kind = objective.get("kind")
        check_description(objective)
        context.allowance.check_objective(objective)
        if record.spec.code:
            context.allowance.check_code(context.signed)
            self._folder = self._fetch_code()
        folder = self._folder
        if kind in RUNNER_KINDS:
            runner = context.runner.get(objective, folder)
            assert runner.channel is not None
            self._channel.listen(runner.channel, runner.hear)
            runner.send(
                {
                    "op": "check" if record.spec.check_only else "run",
                    "task": self._description(),
                    "objective": objective,
                    "folder": str(folder),
                    "optional": record.spec.optional,
                    "connected": record.spec.connected,
                    "scratch": str(context.scratch.path),
                    **({"storage": context.storage_url} if kind == "optuna" else {}),
                }
            )
            program: Program = runner
        elif kind in ("script", "command"):
            if kind == "script":
                if not objective.get("module"):
                    context.allowance.check_script(script_path(objective, folder), folder)
                argv = script_argv(objective, folder)
            else:
                argv = command_argv(record, folder)
                context.allowance.check_command(argv[0], folder)
            if record.spec.check_only:
                self._channel.result = {"op": "result", "kind": "ok"}
                return
            program = start_fresh(
                argv,
                objective,
                folder,
                self._channel.open(),
                scratch=context.scratch.path,
                own_code=bool(record.spec.code),
            )
        else:
            raise ObjectiveLoadError(
                f"objective: this worker can't run the kind {kind!r}; upgrade optuna-rq here"
            )
        self._program = program
        self._selector.register(program.stdout, selectors.EVENT_READ, self._read_output)
        if program.stderr != program.stdout:
            self._selector.register(program.stderr, selectors.EVENT_READ, self._read_output)
        if context.wake:
            self._selector.register(context.wake, selectors.EVENT_READ, self._woken)

    def _fetch_code(self) -> Path:
        """The folder with the study's code; the lease is renewed while it is on its way.

        Raises:
            ObjectiveLoadError: it isn't to be had, or nobody waits for it any more: then `_request` says why.
        """
        spec, unwanted = self._record.spec, threading.Event()
        next_renewal = self._now() + spec.lease_s / 3

        def waiting() -> None:
            if unwanted.is_set():
                raise ObjectiveLoadError("code: nobody waits for it any more")

        with ThreadPoolExecutor(max_workers=1) as pool:
            stores = (spec.artifacts, self._study_store)
            found = pool.submit(self._context.code.folder, spec.code, *stores, waiting=waiting)
            while True:
                with contextlib.suppress(FutureTimeout):
                    folder = found.result(FETCH_S)
                    waiting()
                    return folder
                if self._now() >= next_renewal:
                    self._reporter.renew()
                    next_renewal = self._now() + spec.lease_s / 3
                hand_back_at = self._context.hand_back_at()
                if hand_back_at is not None and self._now() >= hand_back_at:
                    self._hand_back = True
                    self._request = self._request or _SHUTTING_DOWN
                self._request = self._request or self._reporter.stop
                if self._request or self._reporter.stale:
                    unwanted.set()

    def _description(self) -> Message:
        about = describe(self._record)
        if self._checkpoints:
            about["resumed_at"] = self._checkpoints[-1].iteration
            about["checkpoints"] = [point.meta for point in self._checkpoints]
        return about

    def _supervise(self, started: float) -> None:
        """The loop: until the program has ended, or has come back with a result."""
        spec = self._record.spec
        renew_s = spec.lease_s / 3
        next_renewal = started + renew_s
        sampler, next_sample = self._sampler(started)
        next_heartbeat = started + 1.0
        next_memory = started + MEMORY_S if self._context.memory_bytes else float("inf")
        limit = started + spec.time_limit_s if spec.time_limit_s else None
        exit_watch = self._watch_exit()
        while self._running():
            now = self._now()
            hand_back_at = None if self._hand_back else self._context.hand_back_at()
            dues = [
                next_renewal, next_sample, next_memory, next_heartbeat,
                self._reporter.due, limit, hand_back_at,
            ]  # fmt: skip
            if self._asked_at is not None and not self._killed:
                dues.append(self._asked_at + spec.grace_s)
            if not exit_watch:
                dues.append(now + 0.05)
            nearest = min(due for due in dues if due is not None)
            for key, _ in self._selector.select(max(0.0, min(nearest - now, 1.0))):
                key.data(key.fileobj)
            now = self._now()
            if now >= next_renewal:
                self._reporter.renew()
                next_renewal = now + renew_s
            if sampler and now >= next_sample:
                self._sample(sampler, now - started)
                next_sample = now + sampler.pause_s
            if now >= next_memory:
                self._check_memory()
                next_memory = now + MEMORY_S
            if now >= next_heartbeat:
                self._context.heartbeat()
                next_heartbeat = now + HEARTBEAT_S
            if self._reporter.due is not None and now >= self._reporter.due:
                self._reporter.flush()
            if limit is not None and now >= limit:
                limit = None
                self._ask_to_stop(
                    StopRequest(
                        reason_class=Reason.TIME_LIMIT, reason=f"ran for its limit of {spec.time_limit_s:g} s"
                    )
                )
            if hand_back_at is not None and now >= hand_back_at:
                self._hand_back = True
                self._ask_to_stop(_SHUTTING_DOWN)
            if self._reporter.over_limit:
                self._ask_to_stop(self._iteration_limit())
            if self._reporter.stop:
                self._ask_to_stop(self._reporter.stop)
            if self._reporter.stale or self._overdue(now):
                self._kill()

    def _iteration_limit(self) -> StopRequest:
        reason = f"reached its limit of {self._record.spec.max_iterations} iterations"
        return StopRequest(reason_class=Reason.ITERATION_LIMIT, reason=reason)

    def _running(self) -> bool:
        assert self._program is not None
        if self._exit is None:
            self._exit = self._program.poll()
        if self._exit is not None:
            return False
        return self._channel.result is None

    def _sampler(self, started: float) -> tuple[Sampler | None, float]:
        if self._program is None:
            return None, float("inf")
        try:
            sampler = Sampler(self._program.runs_as)
        except psutil.Error:
            return None, float("inf")
        return sampler, started + sampler.pause_s

    def _sample(self, sampler: Sampler, elapsed_s: float) -> None:
        at = time.time()
        assert self._program is not None
        for series, value in sampler.sample(self._program.runs_as).items():
            self._reporter.add(
                Point(title=MACHINE, series=series, value=value, iteration=round(elapsed_s), at=at)
            )

    def _check_memory(self) -> None:
        """Kill a program that takes more than it may."""
        assert self._program is not None
        used, most = memory_of(self._program.runs_as), self._context.memory_bytes
        if most and used > most:
            self._over_memory = (
                f"used {show_size(used)} of memory; this worker allows {show_size(most)} (--memory)"
            )
            self._kill()

    # Stopping

    def _ask_to_stop(self, request: StopRequest) -> None:
        """Ask once: the next report raises, and the program gets SIGTERM."""
        if self._asked_at is not None or self._program is None:
            return
        self._request = request
        self._asked_at = self._now()
        log.info("task %s: asked to stop: %s (%s)", self._record.id, request.reason, request.reason_class)
        self._program.send(self._channel.stop(request))
        self._program.terminate()

    def _overdue(self, now: float) -> bool:
        if self._asked_at is None or self._killed:
            return False
        forced = self._hand_back and self._context.hand_back_at() == 0.0
        return forced or now >= self._asked_at + self._record.spec.grace_s

    def _kill(self) -> None:
        if self._killed or self._program is None:
            return
        self._killed = True
        log.info("task %s: killing its program", self._record.id)
        self._program.kill(self._others())

    def _others(self) -> frozenset[int]:
        """This process' children that are not this attempt's."""
        keep = self._context.keep()
        runner = self._context.runner.pid
        return keep | {runner} if runner and (not self._program or self._program.pid != runner) else keep

    # Listening

    def _watch_exit(self) -> bool:
        """Have the program's end wake the loop, where the system can tell (Linux)."""
        assert self._program is not None
        try:
            descriptor = os.pidfd_open(self._program.pid)
        except (AttributeError, OSError):
            return False
        self._selector.register(descriptor, selectors.EVENT_READ, lambda fd: None)
        self._exit_descriptor = descriptor
        return True

    _exit_descriptor: int | None = None

    def _read_output(self, descriptor: int) -> None:
        assert self._program is not None
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(descriptor)
            return
        self._reporter.write(data)
        if self._scalar_lines and descriptor == self._program.stdout:
            self._add_lines(self._scalar_lines.feed(data))

    def _add_lines(self, found: list[tuple[str, float, int]]) -> None:
        at = time.time()
        for name, value, iteration in found:
            title, series = split_key(name)
            self._reporter.add(Point(title=title, series=series, value=value, iteration=iteration, at=at))

    def _woken(self, wake: socket.socket) -> None:
        with contextlib.suppress(OSError):
            wake.recv(4096)
        self._reporter.renew()

    def _drain(self) -> None:
        """Read what is left in the pipes once the program has ended or come back."""
        deadline = self._now() + 2.0
        while self._now() < deadline:
            ready = [key for key, _ in self._selector.select(0) if key.fileobj != self._exit_descriptor]
            if not ready:
                break
            for key in ready:
                key.data(key.fileobj)
        if self._scalar_lines:
            self._add_lines(self._scalar_lines.end())

    # The end

    def _clean_up(self) -> None:
        program = self._program
        kind = self._record.spec.objective.get("kind")
        if kind in RUNNER_KINDS:
            result = self._channel.result if self._exit is None and not self._killed else None
            self._context.runner.after(result)
        elif program:
            # A program that has ended may have left children; its group ends with its attempt.
            program.kill(self._others())
            program.close()
        self._channel.close()
        if self._exit_descriptor is not None:
            os.close(self._exit_descriptor)
        self._selector.close()

    def _finish(self, started: float, kills: int, load_error: ObjectiveLoadError | None) -> bool:
        if self._reporter.stale:
            return False
        compute_s = self._now() - started
        request, result = self._request, self._channel.result
        if self._reporter.over_limit:
            # Whatever it came to after its last iteration doesn't count.
            request, result = request or self._iteration_limit(), None
        ended = Ended(
            result=result,
            exit_code=self._exit,
            request=request,
            mark=self._channel.mark,
            load_error=load_error,
            killed=self._killed,
            over_memory=self._over_memory,
            out_of_memory=self._exit == -signal.SIGKILL and _kills.count(now=True) > kills,
            tail=self._reporter.tail,
        )
        outcome = judge(self._record, ended, self._reporter)
        outcome = replace(outcome, reason=self._in_users_words(outcome))
        record = self._record
        again = ""
        if (self._hand_back and outcome.interrupted) or self._lost_to_shutdown(outcome):
            self._hand_back = True
            again = f"handed back by worker {record.worker}, which was shutting down"
        elif self._try_again(outcome):
            again = f"{outcome.reason_class}: {outcome.reason}; tried again"
            log.info("task %s: attempt %d failed: %s", record.id, record.attempt, again)

        recorded = False

        def write() -> bool:
            nonlocal recorded
            try:
                if again:
                    self._context.store.transitions.requeue(
                        record.id,
                        record.attempt,
                        reason=again,
                        compute_s=compute_s,
                        handed_back=self._hand_back,
                    )
                    self.ended_as = (REQUEUED, HANDED_BACK if self._hand_back else outcome.reason_class or "")
                else:
                    self._record_end(outcome, compute_s)
                    recorded = True
                    self.ended_as = (outcome.status.value, outcome.reason_class or "")
            except StaleAttempt:
                raise
            except TransitionRefused as error:
                log.warning("%s; its end is dropped", error)
            return True

        while not self._reporter.stale:
            if self._reporter.flush(but_last=not again) and self._reporter.attempt(write):
                if (self._channel.result or {}).get("stop_study") and record.study:
                    self._reporter.attempt(
                        lambda: self._context.store.studies.request(record.study, "finish")
                    )
                return recorded
            self._reporter.renew()
            time.sleep(0.1)
        return False

    def _in_users_words(self, outcome: Outcome) -> str:
        """The reason, with what else is missing here, and without a folder that only this worker knows."""
        spec, reason = self._record.spec, outcome.reason
        if _NO_MODULE in reason and spec.objective.get("kind") != "command":
            from worker.runner.requirements import also_missing  # hardly ever needed

            reason += also_missing(self._folder)
        if spec.code and outcome.reason_class is Reason.LAUNCH_ERROR:
            reason = reason.replace(str(self._folder), "[code]")
        return reason

    def _record_end(self, outcome: Outcome, compute_s: float) -> None:
        record = self._record
        self._context.store.transitions.finish(
            record.id,
            record.attempt,
            outcome.status,
            worker=record.worker,
            reason_class=outcome.reason_class,
            reason=outcome.reason,
            error=outcome.error,
            compute_s=compute_s,
            ranks=self._ranks(),
            last=self._reporter.last(),
            register=True,
        )

    def _lost_to_shutdown(self, outcome: Outcome) -> bool:
        """Whether what its worker was told to end with may have ended the program, too: Slurm, for one, sends
        SIGTERM to all processes at once, down to those that programs have started."""
        if (
            self._request
            or self._channel.mark
            or outcome.reason_class not in (Reason.OBJECTIVE_ERROR, Reason.USER)
        ):
            return False
        if self._exit in TERMINATED or outcome.reason_class is Reason.USER:
            # It may have come to the program first.
            deadline = self._now() + 1.0
            while self._context.hand_back_at() is None and self._now() < deadline:
                time.sleep(0.01)
        return self._context.hand_back_at() is not None

    def _try_again(self, outcome: Outcome) -> bool:
        record = self._record
        wanted = outcome.reason_class is not None and outcome.reason_class.value in record.spec.retry_on
        return wanted and self._request is None and record.spent_attempts < record.spec.max_attempts

    def _ranks(self) -> bool:
        """Whether what was reported keeps the study's constraints."""
        constraints = self._record.spec.constraints
        return not constraints or max(violations(constraints, self._reporter.summaries())) <= 0
