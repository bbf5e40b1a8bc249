"""What no event tells: time that passes, lost workers, lost jobs, and the records themselves."""

from __future__ import annotations

from controller.loop.context import LoopContext
from controller.loop.control import Control
from controller.loop.fleet import Fleet
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.machines import Machines
from controller.loop.progress import StudyProgress
from controller.loop.recovery import Recovery
from controller.loop.tracking import JobTracker

TICK_S = 1.0
"""How often running times are added up and deadlines looked at, in seconds."""


class PeriodicChecks:
    """Each step's look at what is due by the clock. Used by the loop's thread only.

    Args:
        pool_period_s: seconds between two readings of all running records.
    """

    def __init__(
        self,
        context: LoopContext,
        fleet: Fleet,
        leases: LeaseMonitor,
        tracker: JobTracker,
        progress: StudyProgress,
        recovery: Recovery,
        control: Control,
        machines: Machines,
    ) -> None:
        self._pool_period_s = context.settings.pool_period_s
        self._state = context.state
        self._budget = context.budget
        self._fleet = fleet
        self._leases = leases
        self._tracker = tracker
        self._progress = progress
        self._recovery = recovery
        self._control = control
        self._machines = machines
        self._observer = context.observer
        self._last_tick = self._next_tick = self._next_poll = 0.0

    def begin(self, now: float) -> None:
        """Count time from now on."""
        self._last_tick = now
        self._next_poll = now + self._pool_period_s
        self._fleet.look(now)

    def poll_soon(self) -> None:
        """Read all running records in the next step."""
        self._next_poll = 0.0

    def idle_s(self, now: float) -> float:
        """Seconds until the next tick."""
        return max(0.0, self._next_tick - now)

    def run(self, now: float) -> None:
        """Do what is due.

        Args:
            now: monotonic time, in seconds.
        """
        if now >= self._next_tick:
            self._tick(now)
        # Their scalars are read, too: one that ended meanwhile is told with what it reported.
        self._tracker.refresh(
            [job.task_id() for job in self._leases.sweep(now, self._state.running.values())]
        )
        if now >= self._next_poll:
            self._next_poll = now + self._pool_period_s
            self._tracker.refresh(list(self._state.running))
            self._control.take()

    def _tick(self, now: float) -> None:
        wall_clock = self._budget.wall_clock
        wall_clock.update("study", wall_clock.used + (now - self._last_tick) / 60)
        self._last_tick, self._next_tick = now, now + TICK_S
        for task_id, job in self._state.running.items():
            if job.is_running():
                self._budget.compute_time.update(task_id, job.computed_s() / 60)
                self._state.due.add(task_id)
        self._fleet.look(now)
        if self._state.verdict is None:
            self._machines.look()
        self._observer.tick(self._budget, self._fleet, list(self._state.running.values()))
        if not self._progress.save() and self._progress.record is not None:
            self._recovery.restore_lost()
