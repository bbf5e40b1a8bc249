"""The loop: what ended is told, what may run is launched, what must stop is stopped.

It alone knows both sides: it asks a `Search` and launches through a `Backend`; neither knows the other.
"""

from __future__ import annotations

import time

from controller.loop.backend import Backend
from controller.loop.budget import Budget
from controller.loop.context import LoopContext
from controller.loop.control import Control
from controller.loop.ending import Ending
from controller.loop.fleet import Fleet
from controller.loop.job import Job
from controller.loop.launching import Launching
from controller.loop.lease_monitor import LeaseMonitor
from controller.loop.logged_settings import logged_settings
from controller.loop.machines import Machines
from controller.loop.monitor import Changes, Monitor
from controller.loop.outages import Outages
from controller.loop.own_jobs import OwnJobs
from controller.loop.periodic import PeriodicChecks
from controller.loop.progress import StudyProgress
from controller.loop.quarantine import NodePauses
from controller.loop.recovery import Recovery
from controller.loop.stopping import Stopping
from controller.loop.telling import Telling
from controller.loop.tracking import JobTracker
from controller.search.objective import Objective

WAIT_S = 0.5
"""Longest wait for an event, in seconds: how soon a request from another thread is seen."""
GATHER_S = 0.005
"""How long the ends of trials are gathered while slots find their next jobs on the queue, in seconds: a step
for several costs little more than a step for one."""
ESTIMATE_S = 10.0
"""How long the end waits for an estimate that is being made, in seconds."""
FLUSH_S = 0.25
"""Shortest time between two writings of what was told and reported, in seconds."""


class Loop:
    """Composes the parts of a loop and runs them step by step, in the thread that calls `run`."""

    def __init__(self, context: LoopContext) -> None:
        self._context = context
        backend, state, observer = context.backend, context.state, context.observer
        if context.search is not None:
            context.search.log.clock = backend.clock.now
        settings = context.settings
        fleet = Fleet(backend.store, state.queue)
        if observer.workers:
            fleet.expect(observer.workers.count)
        self._monitor = Monitor(backend.store, state.study)
        self._leases = LeaseMonitor(
            backend,
            observer,
            lease_s=settings.lease_s,
            max_attempts=settings.max_attempts,
            queue=state.queue,
        )
        self.tracker = JobTracker(context, self._leases, lambda: self._recovery.restore_lost())
        self._progress = StudyProgress(backend.store, backend.clock, state, context.budget)
        self._recovery = Recovery(context, self._monitor, self.tracker, self._progress)
        self._control = Control(context, self._progress)
        self._periodic = PeriodicChecks(
            context,
            fleet,
            self._leases,
            self.tracker,
            self._progress,
            self._recovery,
            self._control,
            Machines(state, context.requests, fleet, observer),
        )
        self.launching = Launching(context, fleet, self.tracker)
        self._pauses = NodePauses(backend.store, backend.clock, state, fleet, observer)
        self._stopping = Stopping(context)
        self._telling = Telling(context, self.tracker, on_ended=self._let_go, on_told=self._stopping.take)
        self._ending = Ending(context, self.launching, self.tracker, self._progress)
        self._outages = Outages(
            context.requests,
            self._leases,
            observer,
            restore_lost=self._recovery.restore_lost,
            poll_soon=self._periodic.poll_soon,
        )
        self._changes = Changes()
        self._next_flush = 0.0
        self.own_jobs = OwnJobs(context, self.tracker)
        self._stepped = False
        """`step` has run since the last `process_step` began."""
        self._is_replaced = False
        """A subclass does the steps itself, as far as is known."""

    # To look at: what observers are handed

    @property
    def study(self) -> str:
        return self._context.state.study

    @property
    def status(self) -> str:
        return self._context.state.status

    @property
    def budget(self) -> Budget:
        return self._context.budget

    @property
    def objective(self) -> Objective:
        return self._context.objective

    @property
    def queue(self) -> str:
        return self._context.state.queue

    @property
    def backend(self) -> Backend:
        return self._context.backend

    @property
    def events_position(self) -> str:
        return self._monitor.position

    def get_running_jobs(self) -> list[Job]:
        return self._context.state.jobs_running()

    # Running

    def run(self) -> bool:
        """Continue the study and run the search to its end. True when Ctrl-C ended it."""
        storage_recovers = self._outages.wait_for_storage(self._context.search)
        try:
            self.own_jobs.begin()
            self._open()
            try:
                return self._run_steps()
            finally:
                self._ending.close(self._recovery.restore_lost)
                self._context.state.closed = True
                self._context.observer.end()
                self._stopping.join(ESTIMATE_S)
        finally:
            storage_recovers()

    def step(self) -> bool:
        """One step of the loop. False when the search has ended."""
        changes = self._changes
        self._stepped = True
        self._take_in(changes)
        self.tracker.monitor_due()
        # A free slot gets its next job before anything slow is done: its trial may be asked for already.
        self.launching.launch_asked()
        self._telling.tell_reports(changes.points)
        self._telling.tell_ended()
        self._stopping.look()
        self.launching.launch_new()
        # Only now: a step that a lost connection cut short is run again, and recognizes what it had done.
        self._changes = Changes()
        goes_on = self._ending.go_on()
        self._flush(at_once=not goes_on)
        return goes_on

    def _take_in(self, changes: Changes) -> None:
        """Bring jobs, requests and what no event tells up to now."""
        self.own_jobs.take_up()
        self.tracker.apply(changes)
        if changes.request:
            self._control.take()
        self._periodic.run(time.monotonic())

    def _process_step(self) -> bool:
        """One step as the subclass wants it; what it leaves out of ours is done all the same."""
        if self._is_replaced and (self._context.state.verdict or self._context.requests.paused):
            return self._oversee(goes_on=True)
        self._stepped = False
        goes_on = self._context.hooks.process_step()
        self._is_replaced = not self._stepped
        return goes_on if self._stepped else self._oversee(goes_on=goes_on)

    def _oversee(self, *, goes_on: bool) -> bool:
        """Keep budgets and requests where the subclass creates, launches and monitors jobs by itself.

        Args:
            goes_on: what its `process_step` has returned.
        """
        changes = self._changes
        self._take_in(changes)
        self.tracker.account_due()
        self._telling.tell_reports(changes.points)
        self._telling.tell_ended()
        self._stopping.look()
        self._changes = Changes()
        goes_on = self._ending.go_on(wanted=goes_on)
        self._flush(at_once=not goes_on)
        return goes_on

    def _run_steps(self) -> bool:
        """Step by step to the end. Ctrl-C stops in order what runs; True then."""
        outages, requests = self._outages, self._context.requests
        interrupted = False
        while True:
            try:
                while outages.keep_lease(self._context.lease) and outages.survive(self._process_step):
                    outages.survive(self._wait)
                return interrupted
            except KeyboardInterrupt:
                if requests.interrupted:  # for the second time
                    raise
                interrupted = True
                requests.interrupt()

    def _open(self) -> None:
        """Begin to listen, then continue the study where it stands."""
        now = time.monotonic()
        self._monitor.open()
        self._progress.load()
        if (search := self._context.search) is not None:
            search.log.begun(logged_settings(self._context, self._progress.record))
        left = self._recovery.adopt_leftover()
        self._stopping.begin(self._progress.record, left.closed, {job.task_id() for job, _ in left.ended})
        self._telling.adopted = {job.task_id() for job in (*left.running, *(job for job, _ in left.ended))}
        for job in left.running:
            self._telling.tell_recorded(job)
            if job.is_pending():
                self.tracker.relaunch(job)
        self.tracker.refresh([job.task_id() for job in left.running])
        self._leases.give_time()
        self._periodic.begin(now)
        self._control.begin()

    def _wait(self) -> None:
        changes = self._changes  # not empty where a lost connection has cut this short
        wait_s = 0.0 if changes else min(WAIT_S, self._periodic.idle_s(time.monotonic()))
        changes.add(self._monitor.read(max(wait_s, 0.001)))
        if changes and not changes.urgent and self.launching.are_jobs_waiting(besides=len(changes.ended)):
            time.sleep(GATHER_S)
            changes.add(self._monitor.read(0))

    def _flush(self, *, at_once: bool) -> None:
        """Write what was told and reported to Optuna's storage; each ask writes most of it."""
        search, now = self._context.search, time.monotonic()
        if search is not None and search.dirty and (at_once or now >= self._next_flush):
            search.flush()
            self._next_flush = now + FLUSH_S

    def _let_go(self, job: Job) -> None:
        """Judge the node of a job that has ended, and forget its events."""
        self._pauses.look_at(job)
        self._monitor.forget(job.task_id())
