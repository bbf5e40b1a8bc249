"""What the trials of a recorded study have used: iterations, seconds on a slot, the study's clock."""

from __future__ import annotations

import bisect

from controller.insight.replay_budget import Charge
from controller.insight.replay_record import Recorded
from controller.loop.decisions import MIN_REPORTS
from controller.search.decision_log import BEGUN, ENDED, TOLD


class Times:
    """Looks a study's log through once."""

    def __init__(self, recorded: Recorded) -> None:
        self.charges: dict[int, Charge] = {}
        """Trial → what its task has cost; of those that have ended."""
        self._seconds: dict[int, float] = {}
        self._until: dict[int, float] = {}
        self._sessions: list[tuple[int, float, float]] = []
        """(place of the start, its time, seconds of all sessions before), by place."""
        last = None
        for decision in recorded.decisions:
            if decision.kind == BEGUN:
                before = self._sessions[-1] if self._sessions else None
                ran = before[2] + (last.at - before[1]) if before and last else 0.0
                self._sessions.append((decision.n, decision.at, ran))
            last = decision
            if decision.trial is None:
                continue
            if decision.kind == ENDED:
                self._until.setdefault(decision.trial, decision.at)
            elif decision.kind == TOLD and (charge := Charge.of(decision.why)) is not None:
                self.charges[decision.trial] = charge
                self._seconds[decision.trial] = charge.seconds
                self._until.setdefault(decision.trial, decision.at)

    @property
    def all(self) -> list[int]:
        """The trials that have run, and ended."""
        return list(self.charges)

    def iterations(self, number: int) -> int:
        """What a trial has used; 0 for one that has not ended."""
        return self.charges[number].iterations if number in self.charges else 0

    def is_iterative(self, number: int) -> bool:
        """Whether a trial can be given up: not where it has ended by itself with too few reports."""
        charge = self.charges.get(number)
        return charge is None or not charge.by_itself or charge.reports >= MIN_REPORTS

    def seconds(self, number: int) -> float:
        """How long a trial was on slots, all attempts together."""
        return self._seconds.get(number, 0.0)

    def computed_s(self, number: int, at: float) -> float:
        """How long it had been by then, taken as one stretch up to its end."""
        seconds = self.seconds(number)
        return min(seconds, max(0.0, at - (self._until.get(number, at) - seconds)))

    def left_s(self, number: int, at: float) -> float:
        """How long it was on slots from then on."""
        return self.seconds(number) - self.computed_s(number, at)

    def wall_clock_s(self, n: int, at: float) -> float:
        """How long controllers had run the study by a decision."""
        place = bisect.bisect_right([session[0] for session in self._sessions], n) - 1
        if place < 0:
            return 0.0
        _, begun, before = self._sessions[place]
        return before + max(0.0, at - begun)
