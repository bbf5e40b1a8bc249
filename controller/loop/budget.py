"""Budgets: what a study may use, what it has used, and the verdicts that follow. Pure, apart from counting.

Iterations are those reported for the first objective metric: how many, or their highest number where that is
more. A running job reserves ``max_iteration_per_job`` until it ends, then is charged what it used. So early
stopping buys more jobs, and the sum never passes the limit. A full share is charged to a job that ended by
itself with fewer than two reports, since it is not iterative, and to one that was stopped before its first:
neither has saved anything. Besides, no more jobs fail than ``total_max_jobs``, whatever they have used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.results.durations import spoken
from worker.protocol import Reason
from worker.protocol.errors import BadInput

MOST_ROOM = 1_000_000
"""Jobs that may be created at once where nothing limits them."""


class Limit:
    """One kind of use, counted per job.

    Attributes:
        limit: the most that may be used; None for no limit.
        unit: what is counted.
    """

    def __init__(self, limit: float | None = None, unit: str = "jobs") -> None:
        self.limit = limit
        self.unit = unit
        self._by_job: dict[str, float] = {}
        self._used = 0.0

    def update(self, uid: str, value: float) -> None:
        """Set what job `uid` has used so far; what isn't known yet (below 0) counts as nothing."""
        value = max(0.0, float(value))
        self._used += value - self._by_job.get(uid, 0.0)
        self._by_job[uid] = value

    @property
    def used(self) -> float:
        """Sum over all jobs."""
        return self._used

    def of(self, uid: str) -> float:
        """What one job has used."""
        return self._by_job.get(uid, 0.0)


class Budget:
    """The budget of a study; ClearML's shape, with what it leaves out. Times are in minutes.

    Args:
        jobs_limit: jobs, or with `max_iteration_per_job` the number that multiplies it.
        iterations_limit: iterations of all jobs; by default ``jobs_limit * max_iteration_per_job``.
        compute_time_limit: minutes of all attempts together.
        max_iteration_per_job: iterations per job.
        wall_clock_limit: minutes that the study may run.
        max_concurrent: jobs at a time.
        max_failures: failed jobs at which the study fails.
        time_limit_per_job: minutes that one job may run. A job keeps the limit that it was created with.
        min_iteration_per_job: iterations that a job gets before it may be pruned.

    Raises:
        BadInput: a limit is zero or below.
    """

    def __init__(
        self,
        jobs_limit: int | None = None,
        iterations_limit: float | None = None,
        compute_time_limit: float | None = None,
        *,
        max_iteration_per_job: int | None = None,
        wall_clock_limit: float | None = None,
        max_concurrent: int | None = None,
        max_failures: int | None = None,
        time_limit_per_job: float | None = None,
        min_iteration_per_job: int | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        problems = [f"{name}: {value!r} must be above 0" for name, value in given.items() if not value > 0]
        if problems:
            raise BadInput(*problems)
        self.max_iteration_per_job = max_iteration_per_job
        self.max_concurrent = max_concurrent
        self._iterations_follow = iterations_limit is None
        self.jobs = Limit(jobs_limit)
        self.iterations = Limit(iterations_limit, "iterations")
        self.limit_jobs(jobs_limit)
        self.compute_time = Limit(compute_time_limit, "minutes")
        self.wall_clock = Limit(wall_clock_limit, "minutes")
        self.failures = Limit(max_failures)
        self.time_per_trial = Limit(time_limit_per_job, "minutes")
        self.min_iterations = Limit(min_iteration_per_job, "iterations")
        self.hopeless = ""
        """Why going on is of no use, as the tracker found; empty while it may be."""
        self.enough = ""
        """Which rule of `stop_when` holds, and why; empty while none does."""
        self.enough_by: dict[str, Any] = {}
        """The numbers by which it holds, as JSON types."""
        self.no_improvement = Limit(None, "trials")
        """Trials since the best one; limited where a rule of `stop_when` says so."""
        self._open: set[str] = set()

    def limit_jobs(self, limit: float | None) -> None:
        """Set the most jobs, and with it the most iterations of all where those follow from it."""
        self.jobs.limit = limit
        if self._iterations_follow and self.max_iteration_per_job is not None:
            self.iterations.limit = None if limit is None else limit * self.max_iteration_per_job

    # Counting

    def open_job(self, uid: str) -> None:
        """A job was created: it counts, and reserves its iterations until it ends."""
        self.jobs.update(uid, 1)
        self._open.add(uid)

    def close_job(
        self, uid: str, *, iterations: int, by_itself: bool, counts: bool = True, reports: int | None = None
    ) -> None:
        """A job has ended: charge what it used.

        Args:
            iterations: used, of the objective metric.
            by_itself: it was not stopped.
            counts: False for a job that leaves the budget: it was interrupted with its study, or has failed
                and is tried again.
            reports: how many iterations were reported, by default as many as were used.
        """
        self._open.discard(uid)
        charge = float(iterations)
        if (iterations if reports is None else reports) < (2 if by_itself else 1):
            charge = max(charge, self._share)
        self.iterations.update(uid, charge if counts else 0)
        if not counts:
            self.jobs.update(uid, 0)

    @property
    def _share(self) -> float:
        """Iterations that are set aside for one job; 0 where they are not limited."""
        if self.max_iteration_per_job is not None:
            return self.max_iteration_per_job
        return 0.0 if self.iterations.limit is None else 1.0

    @property
    def running(self) -> int:
        """Jobs created and not ended."""
        return len(self._open)

    @property
    def reserved(self) -> float:
        """Iterations set aside for running jobs: their shares, less what they have reported already."""
        if self.max_iteration_per_job is None:
            return 0.0
        return sum(max(0.0, self.max_iteration_per_job - self.iterations.of(uid)) for uid in self._open)

    # Verdicts

    def may_create(self) -> Verdict:
        """Whether one more job may be created now."""
        if self.max_concurrent is not None and self.running >= self.max_concurrent:
            return Verdict(ok=False, final=False, reason=f"{self.running} of {self.max_concurrent} jobs run")
        over = self.exceeded()
        if over:
            return over
        if self.iterations.limit is not None:
            over = self._too_many_may_fail()
            if over:
                return over
            if self.iterations.used + self.reserved + self._share > self.iterations.limit:
                # What running jobs give back may suffice later.
                return Verdict(
                    ok=False,
                    final=not self._open,
                    reason=f"iteration budget used up: {self.iterations.used:g} of {self.iterations.limit:g}",
                )
        elif self.jobs.limit is not None and self.jobs.used >= self.jobs.limit:
            return Verdict(ok=False, final=True, reason=f"all {self.jobs.limit:g} trials created")
        return Verdict(ok=True, final=False, reason="")

    def room(self) -> int:
        """How many jobs may be created now, as `may_create` would say before each."""
        if not self.may_create().ok:
            return 0
        rooms = [float(MOST_ROOM)]
        if self.max_concurrent is not None:
            rooms.append(self.max_concurrent - self.running)
        if self.iterations.limit is not None:
            if self.jobs.limit is not None:
                rooms.append(math.ceil(self.jobs.limit - self.failures.used - self.running))
            rooms.append((self.iterations.limit - self.iterations.used - self.reserved) // self._share)
            if self.max_iteration_per_job is None:
                rooms[-1] = 1  # what runs reserves nothing
        elif self.jobs.limit is not None:
            rooms.append(math.ceil(self.jobs.limit - self.jobs.used))
        return max(1, int(min(rooms)))

    def _too_many_may_fail(self) -> Verdict | None:
        """The verdict when one more job might be one failed job more than jobs are allowed."""
        limit, failed = self.jobs.limit, self.failures.used
        if limit is None or failed + self.running < limit:
            return None
        # Those that run and don't fail make room again.
        reason = f"{failed:g} trials failed, as many as may run in all"
        return Verdict(ok=False, final=not self._open, reason=reason)

    def exceeded(self) -> Verdict | None:
        """The limit that ends the study now, and stops what runs; None when none is reached."""
        for time, kind, reason_class in (
            (self.wall_clock, "wall-clock", Reason.TIME_LIMIT),
            (self.compute_time, "compute-time", Reason.COMPUTE_BUDGET),
        ):
            if time.limit is not None and time.used >= time.limit:
                reason = f"{kind} limit of {duration(time.limit)} reached"
                return Verdict(ok=False, final=True, stop=True, reason=reason, reason_class=reason_class)
        failed = ""
        if self.failures.limit is not None and self.failures.used >= self.failures.limit:
            failed = f"{self.failures.used:g} trials failed"
        if failed or self.hopeless:
            reason = self.hopeless or failed
            return Verdict(ok=False, final=True, stop=True, failed=True, reason=reason)
        if self.enough:
            return Verdict(ok=False, final=True, stop=True, reason=self.enough, numbers=self.enough_by)
        return None

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Used, reserved and limit of each kind, and the unit that they are in."""
        concurrent = Limit(self.max_concurrent)
        concurrent.update("study", self.running)
        found = {
            "jobs": _shown(self.jobs),
            "iterations": _shown(self.iterations, self.reserved),
            "compute_time": _shown(self.compute_time),
            "wall_clock": _shown(self.wall_clock),
            "failures": _shown(self.failures),
            "concurrent": _shown(concurrent),
            "time_per_trial": _limit_alone(self.time_per_trial),
            "min_iterations": _limit_alone(self.min_iterations),
        }
        if self.no_improvement.limit is not None:
            found["no_improvement"] = _shown(self.no_improvement)
        return found


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A decision and why."""

    ok: bool
    reason: str
    final: bool
    """No job will be created any more."""
    stop: bool = False
    """What runs has to stop, too."""
    reason_class: Reason = Reason.STUDY_STOPPED
    """Why, for those that have to stop."""
    failed: bool = False
    """The study has failed."""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What it rests on besides the budget, as JSON types."""


def _shown(field: Limit, reserved: float = 0.0) -> dict[str, Any]:
    return {
        "used": round(field.used, 4),
        "reserved": round(reserved, 4),
        "limit": None if field.limit is None else float(field.limit),
        "unit": field.unit,
    }


def _limit_alone(field: Limit) -> dict[str, Any]:
    """As `_shown`, of what each job has by itself: no sum is used."""
    return {"limit": None if field.limit is None else float(field.limit), "unit": field.unit}


def duration(minutes: float) -> str:
    """A time for people: ``90 s``, ``5 min``, ``2 h 30 min``."""
    return f"{minutes * 60:g} s" if minutes <= 2 else spoken(minutes * 60)
