"""Jobs that a subclass launches by itself: budgets, `stop` and the views reach them like the loop's own."""

from __future__ import annotations

import threading
from collections import deque

from controller.loop.context import LoopContext
from controller.loop.job import Job
from controller.loop.tracking import JobTracker
from worker.protocol import Status


class OwnJobs:
    """Keeps the jobs of a `process_step` that does not call ours.

    A job of `helper_create_job` asks here before it is launched. One that was made in another way is found
    among `get_running_jobs`.
    """

    def __init__(self, context: LoopContext, tracker: JobTracker) -> None:
        self._state = context.state
        self._requests = context.requests
        self._budget = context.budget
        self._observer = context.observer
        self._hooks = context.hooks
        self._tracker = tracker
        self.of_a_subclass = context.of_a_subclass
        """Whether a class that is not ours does the steps; ours keep no jobs of their own."""
        self._thread = 0
        """Of the loop; 0 before it runs."""
        self._elsewhere: deque[Job] = deque()
        """Jobs that another thread has launched."""
        self._said = ""

    def begin(self) -> None:
        """The loop runs in this thread."""
        self._thread = threading.get_ident()

    def allows(self, job: Job) -> bool:
        """Whether the budget allows the job now; says once why not."""
        if self._state.closed or job.task_id() in self._state.running:
            return True  # after the search, a job is the program's own
        if self._requests.stops or self._requests.paused or self._state.verdict is not None:
            return False
        if not self._budget.may_create().ok and threading.get_ident() == self._thread:
            self.look_again()
        verdict = self._budget.may_create()
        if not verdict.ok and verdict.final and verdict.reason != self._said:
            self._said = verdict.reason
            self._observer.note(f"no further job is launched: {verdict.reason}")
        return verdict.ok

    def launched(self, job: Job) -> None:
        """Count a job that was launched."""
        if self._state.closed:
            return
        if threading.get_ident() != self._thread:
            self._elsewhere.append(job)
        elif job.task_id() not in self._state.running:
            self._tracker.adopt(job)
            self._observer.launched(job)

    def look_again(self) -> None:
        """Read the running jobs: the subclass may know of an end that no event has told yet."""
        self._tracker.refresh(list(self._state.running))
        self._tracker.account_due()

    def take_up(self) -> None:
        """Count what was launched elsewhere, and the jobs that no event tells of."""
        while self._elsewhere:
            self.launched(self._elsewhere.popleft())
        if not self.of_a_subclass:
            return
        for job in self._hooks.get_running_jobs():
            known = job.task_id() in self._state.running
            if not known and job.record.study in ("", self._state.study) and not _is_over(job):
                self.launched(job)
        strangers = [key for key, job in self._state.running.items() if job.record.study != self._state.study]
        self._tracker.refresh(strangers)


def _is_over(job: Job) -> bool:
    """Whether it has ended, or was never launched."""
    return job.is_stopped() or job.record.status is Status.CREATED
