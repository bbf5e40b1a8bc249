"""A study whose first trials all fail alike: it stops, rather than burn its budget, and says what to mend."""

from __future__ import annotations

import re
from collections.abc import Iterable

from controller.loop.job import Job
from worker.protocol import Reason, Status, TaskRecord

FIRST = 10
"""Trials that have to fail alike, by default."""
LONG_S = 5.0
"""A trial that has run longer than this, and than each that failed, may do better."""
_NEUTRAL = (Reason.USER, Reason.STUDY_STOPPED)
_LIMITS = (Reason.TIME_LIMIT, Reason.ITERATION_LIMIT)
_MEND = {
    Reason.TIME_LIMIT: "give each more time, or have it report on the way",
    Reason.ITERATION_LIMIT: "raise the limit, or have it number its iterations otherwise",
    Reason.OBJECTIVE_ERROR: "mend the objective",
    Reason.LAUNCH_ERROR: "have the workers find the objective",
    Reason.OUT_OF_MEMORY: "give it more memory, or search what needs less",
    Reason.INVALID_VALUE: "have it report a finite value for each objective",
    Reason.WORKER_LOST: "see what ends the workers",
}


def tells_of_the_study(record: TaskRecord) -> bool:
    """Whether a task's end says anything about its study: not if somebody else, or its machine, ended it."""
    machine = record.reason_class is not None and record.reason_class.is_machine_fault
    return record.reason_class not in _NEUTRAL and not machine


def failed(record: TaskRecord) -> bool:
    """Whether a task has failed, or reached a limit before it had reported anything."""
    reached = record.status is Status.STOPPED and record.reason_class in _LIMITS
    return record.status is Status.FAILED or (reached and record.iterations == 0)


class FirstFailures:
    """Remembers how the first trials of a study have ended. Used by the loop's thread only.

    Args:
        count: trials that have to fail alike; 0 for never.
    """

    def __init__(self, count: int = FIRST) -> None:
        self._count = count
        self._failed = 0
        self._kind = ""
        self._longest_s = LONG_S
        self._differ = count <= 0
        """Not all ended alike: nothing is left to judge."""

    def know(self, record: TaskRecord) -> None:
        """Take note of a task that has ended, under an earlier controller perhaps."""
        if self._differ or not tells_of_the_study(record):
            return
        kind = kind_of_failure(record) if failed(record) else ""
        if not kind or (self._kind and kind != self._kind):
            self._differ = True
            return
        self._kind = kind
        self._failed += 1
        self._longest_s = max(self._longest_s, record.compute_s)

    def ended(self, record: TaskRecord, running: Iterable[Job]) -> str:
        """Take note of a task that has ended now.

        Args:
            running: the jobs that run on.

        Returns:
            Why the study is hopeless, and what to mend; empty while it may not be.
        """
        self.know(record)
        if self._differ or self._failed < self._count or not failed(record):
            return ""
        if any(job.is_running() and job.computed_s() > self._longest_s for job in running):
            return ""
        assert record.reason_class is not None
        said = f"{record.reason_class}: {first_line(record)[:200]}"
        again = "start again"
        if record.status is Status.FAILED:
            again += " with --retry-failed (retry_failed=True in a program)"
        mend = _MEND.get(record.reason_class, "mend the cause")
        return f"its first {self._failed} trials have all failed alike, {said}; {mend}, then {again}"


def kind_of_failure(record: TaskRecord) -> str:
    """The same text for two failures of one cause, as far as can be told: class, and exception or message."""
    line = first_line(record)
    if record.reason_class is Reason.OBJECTIVE_ERROR:
        found = re.match(r"(?:exited with code \d+: )?([A-Za-z_][\w.]*)(?=:|$)", line)
        if found:
            return f"{record.reason_class}: {found[1]}"
    # Numbers, paths and quoted values are a trial's own.
    kept = re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|0x[0-9a-f]+|[-+]?\d[\d.e+-]*", "…", line)
    return f"{record.reason_class}: {kept}"


def first_line(record: TaskRecord) -> str:
    """The reason's first line, as a list of trials shows it."""
    return (record.reason.splitlines() or [""])[0]
