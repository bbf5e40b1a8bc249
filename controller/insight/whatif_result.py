"""What another pruner or budget would have made of a study, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from controller.results.durations import spoken
from worker.protocol.clock import iso


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A trial that would have ended earlier."""

    trial: int
    at: float
    """When, seconds since the epoch."""
    iteration: int
    """Iterations that it would have had."""
    of: int
    """Those that it has had."""
    reason_class: str
    reason: str
    saved_s: float
    """Seconds on a slot that it had from then on."""


@dataclass(frozen=True, kw_only=True)
class EndedEarlier:
    """The study would have ended by itself."""

    reason: str
    at: float
    """When, seconds since the epoch."""
    launched: int
    """Trials that were launched by then."""


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The best trial, or the Pareto front of several objectives."""

    trials: tuple[int, ...]
    """As recorded, by number."""
    values: tuple[tuple[float, ...], ...]
    survive: tuple[int, ...]
    """Those of them that would still be among the best."""
    instead: tuple[int, ...]
    """The best that there would have been; the same ones where nothing changes."""
    instead_values: tuple[tuple[float, ...], ...]

    @property
    def survives(self) -> bool:
        """Whether all of them would."""
        return len(self.survive) == len(self.trials)


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """What would have come of it."""

    study: str
    changes: Mapping[str, Any]
    stopped: tuple[Stopped, ...]
    """In the order in which they would have been."""
    not_run: tuple[int, ...]
    """Trials that would not have been launched."""
    longer: tuple[int, ...]
    """Trials that were given up, and would have gone on."""
    ended: EndedEarlier | None
    iterations: int
    """Of all trials, as recorded."""
    saved_iterations: int
    slot_s: float
    """Seconds on slots of all trials, as recorded."""
    saved_s: float
    winner: Winner | None
    asked_after: int
    """Trials asked for after the first difference: a sampler that learns might have suggested others."""
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        found = asdict(self)
        found["with"] = found.pop("changes")
        if self.winner is not None:
            found["winner"]["survives"] = self.winner.survives
        return found

    def rows(self) -> list[dict[str, Any]]:
        """The trials that would have been stopped, for a table."""
        return [
            {
                "trial": found.trial,
                "at": iso(found.at),
                "iteration": found.iteration,
                "of": found.of,
                "saved": spoken(found.saved_s),
                "reason": found.reason,
            }
            for found in self.stopped
        ]

    def lines(self) -> list[str]:
        """For people."""
        saved = _share(self.saved_iterations, self.iterations)
        time = _share(self.saved_s, self.slot_s)
        found = [
            f"{len(self.stopped)} trial(s) would have been stopped earlier, {len(self.not_run)} not have "
            f"run, {len(self.longer)} have gone on longer",
            f"saved: {self.saved_iterations} of {self.iterations} iterations{saved}, "
            f"{spoken(self.saved_s)} of {spoken(self.slot_s)} on slots{time}",
        ]
        if self.ended is not None:
            found.append(f"it would have ended with {self.ended.launched} trial(s): {self.ended.reason}")
        found.append(_winner_said(self.winner))
        if self.asked_after:
            found.append(
                f"{self.asked_after} trial(s) were asked for after the first difference: here with their "
                "parameters; a sampler that learns might have suggested others"
            )
        return [*found, *self.notes]


def _share(part: float, whole: float) -> str:
    return f" ({part / whole:.0%})" if whole else ""


def _winner_said(winner: Winner | None) -> str:
    if winner is None:
        return "no trial has a result: there is no winner that could survive"
    if len(winner.trials) > 1:
        count = f"{len(winner.survive)} of the {len(winner.trials)} trials"
        return f"{count} of the Pareto front would have survived"
    shown = f"trial {winner.trials[0]} ({_values(winner.values[0])})"
    if winner.survives:
        other = (
            "" if winner.instead_values == winner.values else f", with {_values(winner.instead_values[0])}"
        )
        return f"the winner would have survived: {shown}{other}"
    if not winner.instead:
        return f"the winner would not have survived: {shown}; no trial would have had a result"
    instead = f"trial {winner.instead[0]} ({_values(winner.instead_values[0])})"
    return f"the winner would not have survived: {shown}; the best would have been {instead}"


def _values(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
