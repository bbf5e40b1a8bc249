"""How a search ends: when it does, what is stopped for it, and what is written down."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from controller.loop.backend import Backend
from controller.loop.budget import Verdict
from controller.loop.launching import Launching
from worker.protocol import Reason, Status, StudyState
from worker.protocol.connection import AWAY
from worker.protocol.errors import StorageUnavailable

if TYPE_CHECKING:
    from controller.loop.job import Job
    from controller.session.lock import StudyLock
    from worker.protocol import Store, StudyRecord

log = logging.getLogger(__name__)


class Ending(Launching):
    """Base of `SearchStrategy`. Used by the loop's thread only."""

    state: str
    reason: str
    _backend: Backend
    _store: Store
    _study: str
    _lock: StudyLock | None
    _lease_s: float
    _ended: list[Job]
    _due: set[str]
    _record: StudyRecord | None
    """The study's record as last written; None while there is none."""
    _interrupted: bool
    _hands_over: bool
    """What runs is left to the next controller."""
    _out_of_time: str
    _stop_asked: threading.Event
    _ended_by_deadline: float

    def _abort(self, job: Job, reason_class: Reason, reason: str) -> None:
        raise NotImplementedError

    def _recover(self) -> bool:
        raise NotImplementedError

    def _go_on(self) -> bool:
        """Whether there is anything left to do; decides how the search ends."""
        if self._ending is None:
            ending = self._end_verdict()
            if ending and self._running and not self._hands_over:
                self._stop_running(ending)
            # Only once all have been asked: a lost connection in between has this step done again.
            self._ending = ending
        if self._ending is None:
            return True
        if self._running:
            if time.monotonic() < self._ended_by_deadline:
                return True
            what = "are left to go on" if self._hands_over else "did not end in time"
            self._observer.note(f"{len(self._running)} task(s) {what}; the next start takes them up")
        return False

    def _end_verdict(self) -> Verdict | None:
        if self._stop_asked.is_set():
            reason = "stopped"
            if self._interrupted:
                reason = "handed over" if self._hands_over else "interrupted"
            return Verdict(ok=False, final=True, stop=True, reason=reason)
        if self._out_of_time:
            return Verdict(
                ok=False, final=True, stop=True, reason=self._out_of_time, reason_class=Reason.TIME_LIMIT
            )
        over = self.budget.exceeded()
        if over:
            return over
        if self._running or self._ended:
            return None
        if self._finish_asked:
            return Verdict(ok=False, final=True, reason="an objective called study.stop()")
        if self._exhausted():
            return Verdict(ok=False, final=True, reason="search space exhausted")
        if self._paused:
            return None
        verdict = self.budget.may_create()
        if verdict.final:
            return verdict
        if self._nothing_created:
            return Verdict(ok=False, final=True, reason="create_job gave no more jobs")
        return None

    def _stop_running(self, verdict: Verdict) -> None:
        grace = 0.0
        for job in list(self._running.values()):
            self._abort(job, verdict.reason_class, verdict.reason)
            grace = max(grace, job.record.spec.grace_s)
        self._ended_by_deadline = time.monotonic() + grace + self._lease_s

    def _close(self) -> None:
        """Say how it ended; called once, also when the loop was left by an error."""
        if self._lock and self._lock.lost:
            self.state, self.reason = StudyState.INTERRUPTED, "taken over by another controller"
            return
        for asked in self._asked:
            if self._interrupted or self._search is None:
                break  # The next start launches it.
            self._search.discard(asked.number)
        try:
            if self._search is not None:
                self._search.flush()
        except StorageUnavailable as error:
            log.warning("study %s: %s; the next start tells what ended", self._study, error)
        self.reason = self._ending.reason if self._ending else "left by an error"
        try:
            self.state = self._final_state()
            if not self._save(self.state, ended=True) and self._recover():
                self._save(self.state, ended=True)
        except AWAY as error:
            log.warning("study %s: its state was not written, Redis is away: %s", self._study, error)

    def _final_state(self) -> str:
        verdict = self._ending
        if self._interrupted or verdict is None:
            return StudyState.INTERRUPTED
        if verdict.failed:
            return StudyState.FAILED
        if self._stop_asked.is_set():
            return StudyState.STOPPED
        counts = self._store.status_counts(self._study)
        usable = counts[Status.COMPLETED] + counts[Status.STOPPED]
        return StudyState.COMPLETED if usable or not counts[Status.FAILED] else StudyState.FAILED

    def _save(self, state: str, *, ended: bool = False) -> bool:
        """Write down how the study does. False when its record is gone."""
        record = self._store.find_study(self._study)
        if record is None:
            return False
        changed = replace(
            record,
            state=state,
            reason=self.reason,
            ended_at=self._backend.clock.now() if ended else None,
            budget=self.budget.to_dict(),
        )
        if changed != record:
            self._store.save_study(changed)
        self._record = changed
        return True
