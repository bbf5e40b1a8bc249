"""The budget of a replay: the loop's own `Budget`, fed with the launches and ends that the log has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from controller.loop.budget import Budget, Verdict
from controller.loop.changes import set_limit
from worker.protocol import Reason, Status

TIMED = ("total_compute", "wall_clock")
"""Limits that depend on the passing of time, of which the log has no ticks."""


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What an ended task costs, as the loop charges it."""

    iterations: int = 0
    reports: int = 0
    seconds: float = 0.0
    """On slots, all attempts together."""
    by_itself: bool = True
    counts: bool = False
    fails: bool = False

    @classmethod
    def of(cls, why: Mapping[str, Any]) -> Charge | None:
        """By a ``told`` entry of the log; None for a trial that had no task, or where it can't be read."""
        try:
            iterations, reports, seconds = (float(value) for value in why["used"])
            status, reason = Status(why["task"]), Reason(why["class"]) if "class" in why else None
        except (KeyError, TypeError, ValueError):
            return None
        if not all(map(math.isfinite, (iterations, reports, seconds))):
            return None
        machine = reason is not None and reason.is_machine_fault
        return cls(
            iterations=int(iterations),
            reports=int(reports),
            seconds=seconds,
            by_itself=status is not Status.STOPPED,
            counts=reason is not Reason.STUDY_STOPPED,
            fails=status is Status.FAILED and not machine,
        )


class ReplayBudget:
    """Counts launches and ends, and says whether one more launch is allowed.

    Args:
        timed: limit the times, too: somebody tells `budget` what is used of them.
    """

    def __init__(self, *, timed: bool = False) -> None:
        self.budget = Budget()
        self._timed = timed
        self._open: set[int] = set()
        self._charges: dict[int, Charge] = {}
        """Number of an ended trial → what it costs."""

    def begin(self, limits: Mapping[str, Any], *, afresh: bool) -> None:
        """A controller begins with these limits.

        Args:
            limits: by key of ``[budget]``; times in seconds.
            afresh: what was used before does not count.
        """
        per_trial = limits.get("max_iterations")
        self.budget = Budget(max_iteration_per_job=int(per_trial) if per_trial else None)
        for name, limit in limits.items():
            self.limit(name, limit)
        if afresh:
            self._charges.clear()
        for number, charge in self._charges.items():
            self._count(number, charge)
        for number in self._open:
            self.budget.open_job(str(number))

    def limit(self, name: str, limit: float | None) -> None:
        """Set a limit; one that this budget does not keep changes nothing."""
        if name in ("max_trials", "max_concurrent", "max_failures") or (self._timed and name in TIMED):
            set_limit(self.budget, name, limit)

    def may_launch(self) -> Verdict:
        """Whether one more may be launched now."""
        return self.budget.may_create()

    def launch(self, number: int) -> None:
        """A trial was launched."""
        self._open.add(number)
        self.budget.open_job(str(number))

    def end(self, number: int, charge: Charge) -> None:
        """A launched trial has ended: charge what it used."""
        self._open.discard(number)
        self._charges[number] = charge
        self._count(number, charge)

    def forget(self, number: int) -> None:
        """A trial that has failed is tried again: it leaves the budget, and its failure counts no more."""
        if number in self._charges:
            self._charges[number] = replace(self._charges[number], counts=False, fails=False)

    def _count(self, number: int, charge: Charge) -> None:
        uid = str(number)
        self.budget.open_job(uid)
        self.budget.close_job(
            uid,
            iterations=charge.iterations,
            reports=charge.reports,
            by_itself=charge.by_itself,
            counts=charge.counts,
        )
        self.budget.failures.update(uid, int(charge.fails))
        self.budget.compute_time.update(uid, charge.seconds / 60)
