"""When to stop: how long the best has stood, and where a rule of `stop_when` would have ended a study."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from controller.results.course import Course, counts
from controller.results.study_data import StudyData, TaskData

TRIALS = (10, 20, 50, 100, 200)
"""Rules that are tried on what has happened: no improvement in so many trials."""


@dataclass(frozen=True, kw_only=True)
class WouldEnd:
    """Where "no improvement in N trials" would have ended a study."""

    rule: str
    ended: int
    """Trials that would have ended by then."""
    best: float | None
    """The best then; None with several objectives."""
    is_best: bool
    """It is still the best."""
    saved: float
    """Share of what all trials have computed that it would have saved, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How long the best of a study has stood."""

    text: str
    ended: int
    since: int
    trial: int
    """Number of the best; -1 without a result."""
    best: float | None
    rules: tuple[WouldEnd, ...]

    def rows(self) -> list[dict[str, Any]]:
        """The rules, for people."""
        return [
            {
                "stop_when": one.rule,
                "ends after": one.ended,
                **({} if one.best is None else {"best then": one.best}),
                "still the best": "yes" if one.is_best else "no",
                "computing saved": f"{one.saved:.0%}",
            }
            for one in self.rules
        ]

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def standing(data: StudyData) -> Standing:
    """How long the best has stood, and what rules that nobody has given would have done."""
    ended = sorted(
        (task for task in data.tasks if counts(task.record)),
        key=lambda task: (task.record.ended_at or task.record.created_at, task.record.trial),
    )
    course = Course(data.objectives)
    for task in ended:
        course.add(task)
    text = course.said(data.objectives[0].key) if ended else "no trial has ended yet"
    rules = [one for trials in TRIALS if (one := _would_end(data, ended, trials, course.trial)) is not None]
    return Standing(
        text=text,
        ended=course.ended,
        since=course.since,
        trial=course.trial,
        best=course.best,
        rules=tuple(rules),
    )


def _would_end(data: StudyData, ended: list[TaskData], trials: int, best: int) -> WouldEnd | None:
    """None where the rule would not have held."""
    course, used = Course(data.objectives), 0.0
    for task in ended:
        course.add(task)
        used += max(0.0, task.record.compute_s)
        if course.since >= trials:
            break
    else:
        return None
    whole = sum(max(0.0, task.record.compute_s) for task in ended)
    return WouldEnd(
        rule=f"no improvement in {trials} trials",
        ended=course.ended,
        best=course.best,
        is_best=course.trial == best,
        saved=1 - used / whole if whole > 0 else 0.0,
    )
