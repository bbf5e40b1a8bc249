"""How an attempt's program is stopped: asked once, then killed after its grace period."""

from __future__ import annotations

import logging
from collections.abc import Callable

from worker.process.process_tree import orphans
from worker.protocol.record import TaskRecord
from worker.protocol.sizes import show_size
from worker.protocol.status import Reason
from worker.protocol.stop_request import StopRequest
from worker.slot.context import SlotContext
from worker.slot.program_channel import ProgramChannel
from worker.slot.programs import Program
from worker.slot.resources import memory_of

log = logging.getLogger(__name__)

SHUTTING_DOWN = StopRequest(reason_class=Reason.STUDY_STOPPED, reason="the worker is shutting down")


class Stopping:
    """Stops one program.

    Args:
        monotonic: the time, in seconds.
    """

    def __init__(
        self,
        record: TaskRecord,
        context: SlotContext,
        channel: ProgramChannel,
        monotonic: Callable[[], float],
    ) -> None:
        self._record = record
        self._context = context
        self._channel = channel
        self._now = monotonic
        self.program: Program | None = None
        """None until it has started."""
        self.request: StopRequest | None = None
        """Why it is to stop; the first request counts."""
        self._asked_at: float | None = None
        self.killed = False
        self.over_memory = ""
        """What it used and what it may use, if it was killed for that."""
        self.hand_back = False
        """The task is to get another attempt elsewhere: this worker shuts down."""

    def ask(self, request: StopRequest) -> None:
        """Ask once: the next report raises, and the program gets SIGTERM."""
        if self._asked_at is not None or self.program is None:
            return
        self.request = request
        self._asked_at = self._now()
        log.info("task %s: asked to stop: %s (%s)", self._record.id, request.reason, request.reason_class)
        self.program.send(self._channel.stop(request))
        self.program.terminate()

    def ask_for_shutdown(self) -> None:
        """Ask once its worker shuts down and its time to finish is over."""
        at = None if self.hand_back else self._context.hand_back_at()
        if at is not None and self._now() >= at:
            self.hand_back = True
            self.ask(SHUTTING_DOWN)

    def time_limit(self) -> None:
        """Ask a program that has run for its limit."""
        limit = self._record.spec.time_limit_s
        self.ask(StopRequest(reason_class=Reason.TIME_LIMIT, reason=f"ran for its limit of {limit:g} s"))

    def iteration_limit(self, beyond: int | None = None) -> StopRequest:
        """The request to a program that has reported all its iterations.

        Args:
            beyond: the number of one that is beyond the limit, if there were not as many before it.
        """
        reason = f"reached its limit of {self._record.spec.max_iterations} iterations"
        if beyond is not None:
            reason += f": it reported iteration {beyond}"
        return StopRequest(reason_class=Reason.ITERATION_LIMIT, reason=reason)

    def check_memory(self) -> None:
        """Kill a program that uses more than it may, or some of which the kernel has killed for that."""
        most, group = self._context.memory_bytes, self._context.group
        if self.program is None or not most or self.over_memory:
            return
        if group and group.has_killed():
            self.over_memory = (
                f"wanted more memory than the {show_size(most)} that this worker allows (--memory)"
            )
        elif not group or not group.holds(self.program.runs_as):
            used = memory_of(self.program.runs_as, *self.detached())
            if used > most:
                self.over_memory = (
                    f"used {show_size(used)} of memory; this worker allows {show_size(most)} (--memory)"
                )
        if self.over_memory:
            self.kill()

    def look_back(self) -> None:
        """Look at its memory once more when it has ended, if what it has started goes on."""
        group = self._context.group
        if self._context.memory_bytes and (self.detached() or (group and group.has_killed())):
            self.check_memory()

    def detached(self) -> list[int]:
        """What the program has started, and left to this process."""
        return orphans(self.others() | {self.program.pid}) if self.program else []

    @property
    def due(self) -> float:
        """When there is something to do here next; infinite when there is nothing."""
        dues = [float("inf")]
        hand_back_at = None if self.hand_back else self._context.hand_back_at()
        if hand_back_at is not None:
            dues.append(hand_back_at)
        if self._asked_at is not None and not self.killed:
            dues.append(self._asked_at + self._record.spec.grace_s)
        return min(dues)

    @property
    def overdue(self) -> bool:
        """Whether the program was asked and did not end in time."""
        if self._asked_at is None or self.killed:
            return False
        forced = self.hand_back and self._context.hand_back_at() == 0.0
        return forced or self._now() >= self._asked_at + self._record.spec.grace_s

    def kill(self) -> None:
        """End the program's whole process tree, once."""
        if self.killed or self.program is None:
            return
        self.killed = True
        log.info("task %s: killing its program", self._record.id)
        self.program.kill(self.others())

    def others(self) -> frozenset[int]:
        """This process' children that are not this attempt's."""
        keep, runner = self._context.keep(), self._context.runner.pid
        return keep | {runner} if runner and (not self.program or self.program.pid != runner) else keep
