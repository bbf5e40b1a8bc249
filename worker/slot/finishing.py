"""Finishes an attempt exactly once: its end is recorded, or its task gets another attempt."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

from worker.health.attempts import DROPPED, HANDED_BACK, REQUEUED
from worker.protocol.errors import StaleAttempt, TransitionRefused
from worker.protocol.faults import Fault
from worker.protocol.metrics import violations
from worker.protocol.record import TaskRecord
from worker.protocol.status import Reason
from worker.sdk.reporter import Reporter
from worker.slot.context import SlotContext
from worker.slot.outcome import Outcome
from worker.slot.program_channel import ProgramChannel
from worker.slot.stopping import Stopping

log = logging.getLogger(__name__)

TERMINATED = (-signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit codes of a program that SIGTERM has ended."""
MOST_FAULTS = 10
"""Attempts of a task, in multiples of ``max_attempts``, from which on those lost to the machine count, too: a
program that fills each disk itself must end."""
RETRY_S = 0.1
"""Between two tries to write while Redis is away, in seconds."""


class Finishing:
    """Writes how an attempt has ended, however long Redis is away.

    Args:
        monotonic: the time, in seconds.
    """

    def __init__(
        self,
        record: TaskRecord,
        context: SlotContext,
        reporter: Reporter,
        channel: ProgramChannel,
        stopping: Stopping,
        monotonic: Callable[[], float],
    ) -> None:
        self._record = record
        self._context = context
        self._reporter = reporter
        self._channel = channel
        self._stopping = stopping
        self._now = monotonic
        self.ended_as = (DROPPED, "")
        """Outcome and reason, see `worker.health.attempts`."""
        self._recorded = False
        self._counts = True
        """This attempt counts against ``max_attempts``."""

    def finish(self, outcome: Outcome, exit_code: int | None, compute_s: float) -> bool:
        """Write the end, or have the task queued again.

        Returns:
            True when the end was recorded with the task's, False when it was refused, or the task gets
            another attempt.
        """
        record = self._record
        if outcome.fault:
            self._hold(outcome.fault)
        elif not outcome.interrupted:
            self._context.machine.works()
        again = self._another_attempt(outcome, exit_code)

        def write() -> bool:
            try:
                if again:
                    self._requeue(again, outcome, compute_s)
                else:
                    self._record_end(outcome, compute_s)
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
                return self._recorded
            self._reporter.renew()
            time.sleep(RETRY_S)
        return False

    def _another_attempt(self, outcome: Outcome, exit_code: int | None) -> str:
        """Why the task gets another attempt; empty when this was its last."""
        record = self._record
        if (self._stopping.hand_back and outcome.interrupted) or self._lost_to_shutdown(outcome, exit_code):
            self._stopping.hand_back, self._counts = True, False
            return f"handed back by worker {record.worker}, which was shutting down"
        if not self._may_retry(outcome):
            return ""
        again = f"{outcome.reason_class}: {outcome.reason}; tried again"
        log.info("task %s: attempt %d failed: %s", record.id, record.attempt, again)
        return again

    def _hold(self, fault: Fault) -> None:
        """Have the slot take no jobs until a fault of its machine is gone."""
        machine, record = self._context.machine, self._record
        lasts = True
        # An answer may take longer than a lease.
        pool = ThreadPoolExecutor(max_workers=1)
        try:
            looking = pool.submit(machine.lasts, fault, record.spec.artifacts)
            while True:
                try:
                    lasts = looking.result(record.spec.lease_s / 3)
                    break
                except FutureTimeout:
                    self._reporter.renew()
        except RuntimeError:  # not even a thread can be started
            log.debug("task %s: the machine could not be looked at", record.id)
        finally:
            pool.shutdown(wait=False)
        self._counts = not lasts or record.attempt >= MOST_FAULTS * record.spec.max_attempts
        machine.hold(fault, record.spec.artifacts, lasts=lasts)

    def _lost_to_shutdown(self, outcome: Outcome, exit_code: int | None) -> bool:
        """Whether its worker's shutdown may have ended the program, too.

        Slurm, for one, sends SIGTERM to all processes at once, down to those that programs have started.
        """
        if self._stopping.request or self._channel.mark:
            return False
        if outcome.reason_class not in (Reason.OBJECTIVE_ERROR, Reason.USER):
            return False
        if exit_code in TERMINATED or outcome.reason_class is Reason.USER:
            # It may have come to the program first.
            deadline = self._now() + 1.0
            while self._context.hand_back_at() is None and self._now() < deadline:
                time.sleep(0.01)
        return self._context.hand_back_at() is not None

    def _may_retry(self, outcome: Outcome) -> bool:
        record = self._record
        if outcome.reason_class is None or self._stopping.request is not None:
            return False
        if outcome.fault and not self._counts:
            return True
        wanted = outcome.reason_class.value in record.spec.retry_on or outcome.fault is not None
        return wanted and record.spent_attempts < record.spec.max_attempts

    def _requeue(self, reason: str, outcome: Outcome, compute_s: float) -> None:
        self._context.store.transitions.requeue(
            self._record.id,
            self._record.attempt,
            reason=reason,
            compute_s=compute_s,
            handed_back=not self._counts,
        )
        self.ended_as = (REQUEUED, HANDED_BACK if self._stopping.hand_back else outcome.reason_class or "")

    def _record_end(self, outcome: Outcome, compute_s: float) -> None:
        record, constraints = self._record, self._record.spec.constraints
        self._context.store.transitions.finish(
            record.id,
            record.attempt,
            outcome.status,
            worker=record.worker,
            reason_class=outcome.reason_class,
            reason=outcome.reason,
            error=outcome.error,
            compute_s=compute_s,
            ranks=not constraints or max(violations(constraints, self._reporter.summaries())) <= 0,
            last=self._reporter.last(),
            register=True,
        )
        self._recorded = True
        self.ended_as = (outcome.status.value, outcome.reason_class or "")
