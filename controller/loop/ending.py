"""Ends a search: decides when, stops what runs, and writes down how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import redis

from controller.loop.budget import Verdict
from controller.loop.context import LoopContext
from controller.loop.launching import Launching
from controller.loop.progress import StudyProgress
from controller.loop.tracking import JobTracker
from controller.search.decision_log import STOPPED
from worker.protocol import Reason, Status, StudyState
from worker.protocol.connection import can_pass
from worker.protocol.errors import StorageUnavailable
from worker.protocol.study_log import LogKind

log = logging.getLogger(__name__)


class Ending:
    """Decides how and when a search ends. Used by the loop's thread only."""

    def __init__(
        self,
        context: LoopContext,
        launching: Launching,
        tracker: JobTracker,
        progress: StudyProgress,
    ) -> None:
        self._store = context.backend.store
        self._state = context.state
        self._budget = context.budget
        self._requests = context.requests
        self._search = context.search
        self._launching = launching
        self._tracker = tracker
        self._progress = progress
        self._observer = context.observer
        self._lease_s = context.settings.lease_s
        self._lease = context.lease
        self._deadline = 0.0

    def go_on(self, *, wanted: bool = True) -> bool:
        """Whether there is anything left to do; decides how the search ends.

        Args:
            wanted: False where the subclass' own step has ended the search.
        """
        running = self._state.running
        if self._state.verdict is None:
            verdict = self._judge()
            if verdict is None and not wanted:
                verdict = Verdict(ok=False, final=True, stop=True, reason="process_step has ended it")
            if verdict and running and not self._requests.hands_over:
                self._stop_running(verdict)
            if verdict and self._search is not None:
                why = {"reason": verdict.reason, "running": len(running)}
                self._search.log.record(STOPPED, why | {"budget": self._budget.to_dict(), **verdict.numbers})
            # Only once all have been asked to stop: if Redis goes away before, this step is run again.
            self._state.verdict = verdict
        if self._state.verdict is None:
            return True
        if running:
            if time.monotonic() < self._deadline:
                return True
            what = "are left to go on" if self._requests.hands_over else "did not end in time"
            self._observer.note(f"{len(running)} task(s) {what}; the next start takes them up")
        return False

    def _judge(self) -> Verdict | None:
        requests = self._requests
        if requests.stops:
            reason = "its end was asked for"
            if requests.interrupted:
                reason = "handed over" if requests.hands_over else "by Ctrl-C or a signal"
            return Verdict(ok=False, final=True, stop=True, reason=reason)
        if requests.time_over:
            reason_class = Reason.TIME_LIMIT
            return Verdict(
                ok=False, final=True, stop=True, reason=requests.time_over, reason_class=reason_class
            )
        exceeded = self._budget.exceeded()
        if exceeded or self._state.running or self._state.ended:
            return exceeded
        return self._judge_idle()

    def _judge_idle(self) -> Verdict | None:
        """The verdict on a search of which nothing runs."""
        if self._requests.finish:
            return Verdict(ok=False, final=True, reason="an objective called study.stop()")
        if self._launching.exhausted:
            return Verdict(ok=False, final=True, reason="search space exhausted")
        if self._requests.paused or self._state.held:
            return None
        verdict = self._budget.may_create()
        if verdict.final:
            return verdict
        if self._launching.gave_nothing:
            return Verdict(ok=False, final=True, reason="create_job gave no more jobs")
        return None

    def _stop_running(self, verdict: Verdict) -> None:
        grace = 0.0
        for job in list(self._state.running.values()):
            self._tracker.abort(job, verdict.reason_class, verdict.reason)
            grace = max(grace, job.record.spec.grace_s)
        self._deadline = time.monotonic() + grace + self._lease_s

    # Writing it down

    def close(self, restore_lost: Callable[[], bool]) -> None:
        """Write how it ended; called once, also when an error ended the loop."""
        state = self._state
        if self._lease and self._lease.lost:
            state.status, state.reason = StudyState.INTERRUPTED, "taken over by another controller"
            return
        self._flush()
        state.reason = self._state.verdict.reason if self._state.verdict else "left by an error"
        try:
            state.status = self._final_status()
            if not self._progress.save(ended=True) and restore_lost():
                self._progress.save(ended=True)
            self._observer.log(LogKind.END, f"{state.status}: {state.reason}")
        except redis.RedisError as error:
            if not can_pass(error):
                raise
            log.warning("study %s: its state was not written, Redis is away: %s", state.study, error)

    def _flush(self) -> None:
        """Close the trials that never became a job, and have the storage know all."""
        if self._search is None:
            return
        if not self._requests.interrupted:  # else the next start launches them
            for asked in self._state.asked:
                self._search.discard(asked.number)
        try:
            self._search.flush()
        except StorageUnavailable as error:
            log.warning("study %s: %s; the next start tells what ended", self._state.study, error)

    def _final_status(self) -> str:
        verdict = self._state.verdict
        if self._requests.interrupted or verdict is None:
            return StudyState.INTERRUPTED
        if verdict.failed:
            return StudyState.FAILED
        if self._requests.stops:
            return StudyState.STOPPED
        counts = self._store.studies.status_counts(self._state.study)
        usable = counts[Status.COMPLETED] + counts[Status.STOPPED]
        return StudyState.COMPLETED if usable or not counts[Status.FAILED] else StudyState.FAILED
