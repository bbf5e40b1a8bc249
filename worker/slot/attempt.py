"""One attempt: start the objective's program, watch it, collect what it says, finish exactly once.

The supervising loop has one thread and waits in one place, for whichever comes first: output, a report, the
program's end, a stop request, or the next thing that is due. Redis may go away at any time without disturbing
the program.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import replace

import psutil

from worker.process.channel import Message
from worker.process.out_of_memory import of_gpu
from worker.protocol.batch import Point
from worker.protocol.checkpoint import ResumePoint
from worker.protocol.clock import STEADY
from worker.protocol.errors import ObjectiveLoadError
from worker.protocol.faults import Fault, fault_of
from worker.protocol.metrics import MACHINE, split_key
from worker.protocol.record import TaskRecord
from worker.protocol.status import Reason
from worker.runner.objective import check_description
from worker.sdk.reporter import Reporter
from worker.sdk.session import describe
from worker.slot.code_fetch import CodeFetch
from worker.slot.context import SlotContext
from worker.slot.devices import visible
from worker.slot.finishing import Finishing
from worker.slot.gpus.cards import Cards
from worker.slot.outcome import Ended, in_users_words, judge
from worker.slot.output import ScalarLines
from worker.slot.program_channel import ProgramChannel
from worker.slot.programs import Program
from worker.slot.resources import KillCounter, ResourceMonitor
from worker.slot.schedule import Schedule
from worker.slot.starting import RUNNER_KINDS, start_program
from worker.slot.stopping import Stopping

log = logging.getLogger(__name__)

HEARTBEAT_S = 30.0
"""How often the slot is to show that it is alive while an attempt runs, in seconds, after the first one."""
FIRST_HEARTBEAT_S = 1.0
MEMORY_S = 0.5
"""How often memory is looked at where it is limited, in seconds."""
MONITOR_S = 0.05
"""Into an attempt, its resources begin to be looked at, in seconds: the shortest trials are over by then."""
LONGEST_WAIT_S = 1.0
"""Longest wait of the loop, in seconds."""
EXIT_LOOK_S = 0.05
"""How often it is looked whether the program has ended, where the system can't tell, in seconds."""
DRAIN_S = 2.0
"""How long the pipes of a program that has ended are read, in seconds."""

_kills = KillCounter()


class Attempt:
    """Runs `record`'s current attempt to its end. Use once: ``Attempt(...).run()``.

    Args:
        checkpoints: what attempts before this one have saved, the oldest first.
        study_store: URL of the study's artifact store, where this worker was given another one.
    """

    def __init__(
        self,
        record: TaskRecord,
        context: SlotContext,
        monotonic: Callable[[], float] = time.monotonic,
        checkpoints: Sequence[ResumePoint] = (),
        study_store: str | None = None,
    ) -> None:
        self._record = record
        self._checkpoints = list(checkpoints)
        self._context = context
        self._study_store = study_store
        self._folder = context.folder
        self._now = monotonic
        self._reporter = Reporter(context.store, record, monotonic, checkpoints[-1] if checkpoints else None)
        self._selector = selectors.DefaultSelector()
        self._channel = ProgramChannel(
            context.store,
            record,
            self._reporter,
            self._description(),
            self._selector,
            context.machine.waits_out,
        )
        self._scalar_lines = ScalarLines() if record.spec.objective.get("kind") == "command" else None
        self._stopping = Stopping(record, context, self._channel, monotonic)
        self._finishing = Finishing(record, context, self._reporter, self._channel, self._stopping, monotonic)
        environment = ChainMap(record.spec.objective.get("env", {}), os.environ)
        self._cards = Cards(context.gpu_folder, visible(environment), context.worker_pid, monotonic)
        self._program: Program | None = None
        self._exit: int | None = None
        self._exit_descriptor: int | None = None
        self._result_at: float | None = None
        self._forced = False
        """Its program was killed after its result."""
        self._fault: Fault | None = None
        """What the machine refused this slot itself."""

    @property
    def ended_as(self) -> tuple[str, str]:
        """Outcome and reason, see `worker.health.attempts`."""
        return self._finishing.ended_as

    # The course of an attempt

    def run(self) -> bool:
        """Returns when the attempt has ended.

        Returns:
            True when its end was recorded with its task's, False when it was refused, or the task gets
            another attempt.
        """
        try:
            return self._run()
        finally:
            self._context.scratch.empty()

    def _run(self) -> bool:
        STEADY.look()
        started = self._now()
        kills = _kills.count()
        load_error: ObjectiveLoadError | None = None
        try:
            try:
                self._start()
            except ObjectiveLoadError as error:
                load_error = None if self._stopping.request else error
            if self._program:
                self._supervise(self._program, started)
                self._drain()
        except (OSError, MemoryError) as error:
            self._fault = fault_of(error, starting=True)
            if self._fault is None:
                raise
            log.exception("task %s: attempt %d is given up", self._record.id, self._record.attempt)
        finally:
            self._clean_up()
        self._context.seen(self._record)
        return self._finish(started, kills, load_error)

    def _start(self) -> None:
        record, context = self._record, self._context
        context.seen(record)
        check_description(record.spec.objective)
        context.allowance.check_objective(record.spec.objective)
        if record.spec.code:
            context.allowance.check_code(context.signed)
            fetch = CodeFetch(record, context, self._reporter, self._stopping, self._now)
            self._folder = fetch.folder(self._study_store)
        for line in self._cards.strangers():
            log.warning("task %s: %s", record.id, line)
            self._reporter.write(f"optuna-rq: {line}\n".encode())
        program = start_program(record, context, self._channel, self._folder, self._description())
        if program is None:
            return
        self._program = self._stopping.program = program
        self._selector.register(program.stdout, selectors.EVENT_READ, self._read_output)
        if program.stderr != program.stdout:
            self._selector.register(program.stderr, selectors.EVENT_READ, self._read_output)
        if context.wake:
            self._selector.register(context.wake, selectors.EVENT_READ, self._woken)

    def _description(self) -> Message:
        about = describe(self._record)
        if self._checkpoints:
            about["resumed_at"] = self._checkpoints[-1].iteration
            about["checkpoints"] = [point.meta for point in self._checkpoints]
        return about

    def _supervise(self, program: Program, started: float) -> None:
        """The loop: until the program has ended, or has come back with a result."""
        schedule = self._schedule(program, started)
        exit_is_told = self._watch_exit(program)
        while self._running(program):
            self._wait(schedule, exit_is_told)
            schedule.run(self._now())
            if self._reporter.due is not None and self._now() >= self._reporter.due:
                self._reporter.flush()
            if self._channel.result is None:
                self._ask_to_stop()
            elif self._reporter.stale or self._now() >= self._ends_by:
                self._end_by_force()
            if self._reporter.stale or self._stopping.overdue:
                self._stopping.kill()

    def _ask_to_stop(self) -> None:
        """Pass on each reason to stop that there is."""
        self._stopping.ask_for_shutdown()
        if self._reporter.over_limit:
            self._stopping.ask(self._stopping.iteration_limit(self._reporter.beyond))
        if self._reporter.stop:
            self._stopping.ask(self._reporter.stop)

    @property
    def _ends_by(self) -> float:
        """When a program that has sent its result is killed."""
        if self._result_at is None:
            self._result_at = self._now()
        return self._result_at + self._record.spec.grace_s

    def _end_by_force(self) -> None:
        """Kill a program whose result is known, and that doesn't end."""
        text = f"its process did not end within {self._record.spec.grace_s:g} s of its result; it is killed"
        log.warning("task %s: %s", self._record.id, text)
        self._reporter.write(f"optuna-rq: {text}\n".encode())
        self._forced = True
        self._stopping.kill()

    def _schedule(self, program: Program, started: float) -> Schedule:
        """What is done at certain times while the program runs."""
        schedule, spec = Schedule(), self._record.spec
        renew_s = spec.lease_s / 3
        schedule.every(started + renew_s, renew_s, self._reporter.renew)
        schedule.every(started + FIRST_HEARTBEAT_S, HEARTBEAT_S, self._context.heartbeat)
        if self._context.memory_bytes:
            schedule.every(started + MEMORY_S, MEMORY_S, self._stopping.check_memory)
        if spec.time_limit_s:
            schedule.once(started + spec.time_limit_s, self._stopping.time_limit)
        schedule.once(started + MONITOR_S, lambda: self._monitor(schedule, program, started))
        return schedule

    def _monitor(self, schedule: Schedule, program: Program, started: float) -> None:
        """Have resources sampled from now on."""
        with contextlib.suppress(psutil.Error):
            monitor = ResourceMonitor(program.runs_as)
            schedule.every(
                started + monitor.pause_s,
                lambda: monitor.pause_s,
                lambda: self._sample(monitor, program, started),
            )

    def _wait(self, schedule: Schedule, exit_is_told: bool) -> None:
        """Wait for whichever comes first, and hear what has come."""
        now = self._now()
        dues = [schedule.next, self._stopping.due, now + LONGEST_WAIT_S]
        if self._reporter.due is not None:
            dues.append(self._reporter.due)
        if not exit_is_told:
            dues.append(now + EXIT_LOOK_S)
        for key, _ in self._selector.select(max(0.0, min(dues) - now)):
            key.data(key.fileobj)

    def _running(self, program: Program) -> bool:
        if self._exit is None:
            self._exit = program.poll()
        if self._exit is not None or self._forced:
            return False
        return self._channel.result is None or program.ends_by_itself

    def _sample(self, monitor: ResourceMonitor, program: Program, started: float) -> None:
        at, iteration = STEADY.now(), round(self._now() - started)
        try:
            found = monitor.sample(program.runs_as, self._stopping.detached())
        except OSError as error:  # no descriptor is left: the program need not suffer
            log.debug("task %s: no sample: %s", self._record.id, error)
            return
        sampled = [(MACHINE, series, value) for series, value in found.items()]
        sampled += self._cards.sample(monitor.pids, started)
        for title, series, value in sampled:
            self._reporter.add(Point(title=title, series=series, value=value, iteration=iteration, at=at))

    # Listening

    def _watch_exit(self, program: Program) -> bool:
        """Have the program's end wake the loop, where the system can tell (Linux)."""
        try:
            descriptor = os.pidfd_open(program.pid)
        except (AttributeError, OSError):
            return False
        self._selector.register(descriptor, selectors.EVENT_READ, lambda fd: None)
        self._exit_descriptor = descriptor
        return True

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
        at = STEADY.now()
        for name, value, iteration in found:
            title, series = split_key(name)
            self._reporter.add(Point(title=title, series=series, value=value, iteration=iteration, at=at))

    def _woken(self, wake: socket.socket) -> None:
        with contextlib.suppress(OSError):
            wake.recv(4096)
        self._reporter.renew()

    def _drain(self) -> None:
        """Read what is left in the pipes once the program has ended or come back."""
        deadline = self._now() + DRAIN_S
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
        self._stopping.look_back()
        kind = self._record.spec.objective.get("kind")
        if kind in RUNNER_KINDS:
            result = self._channel.result if self._exit is None and not self._stopping.killed else None
            self._context.runner.after(result, self._stopping.others())
        elif program:
            # A program that has ended may have left children; its group ends with its attempt.
            program.kill(self._stopping.others())
            program.close()
        self._channel.close()
        if self._exit_descriptor is not None:
            os.close(self._exit_descriptor)
        self._selector.close()

    def _finish(self, started: float, kills: int, load_error: ObjectiveLoadError | None) -> bool:
        if self._reporter.stale:
            return False
        compute_s = self._now() - started
        stopping, request, result = self._stopping, self._stopping.request, self._channel.result
        if self._reporter.over_limit:
            # What it came to after its last iteration doesn't count.
            request, result = request or stopping.iteration_limit(self._reporter.beyond), None
        ended = Ended(
            result=result,
            exit_code=self._exit,
            request=request,
            mark=self._channel.mark,
            load_error=load_error,
            fault=self._fault,
            killed=stopping.killed,
            over_memory=stopping.over_memory,
            out_of_memory=self._exit == -signal.SIGKILL and _kills.count(now=True) > kills,
            tail=self._reporter.tail,
        )
        outcome = judge(self._record, ended, self._reporter)
        if outcome.reason_class is Reason.OUT_OF_MEMORY and of_gpu(outcome.reason):
            outcome = replace(outcome, reason=self._cards.explain(outcome.reason))
        outcome = replace(outcome, reason=in_users_words(outcome, self._record, self._folder))
        return self._finishing.finish(outcome, self._exit, compute_s)
