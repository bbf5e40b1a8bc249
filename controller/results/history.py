"""How the best value came about: over trials, and over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.results.study_data import StudyData


@dataclass(frozen=True, kw_only=True)
class Result:
    """The value of one trial, and the best until then."""

    trial: int
    task_id: str
    ended_at: float
    """Seconds since the epoch."""
    value: float
    best: float
    improves: bool


def by_trial(data: StudyData, objective: int = 0) -> list[Result]:
    """The results of a study by trial number, with the best of each objective for itself.

    Tasks that still run, failed, were cut short with their study or violate a constraint have none.
    """
    return _accumulated(data, objective, by_time=False)


def by_time(data: StudyData, objective: int = 0) -> list[Result]:
    """As `by_trial`, in the order in which the trials ended."""
    return _accumulated(data, objective, by_time=True)


def _accumulated(data: StudyData, objective: int, *, by_time: bool) -> list[Result]:
    metric = data.objectives[objective]
    rows: list[tuple[float, int, str, float]] = []
    for task in data.tasks:
        value = task.value(metric)
        if value is not None and task.ranks:
            record = task.record
            rows.append((record.ended_at or record.created_at, record.trial, record.id, value))
    if by_time:
        rows.sort()
    found: list[Result] = []
    for ended_at, trial, task_id, value in rows:
        improves = not found or metric.score(value) < metric.score(found[-1].best)
        found.append(
            Result(
                trial=trial,
                task_id=task_id,
                ended_at=ended_at,
                value=value,
                best=value if improves else found[-1].best,
                improves=improves,
            )
        )
    return found


def steps(results: Sequence[Result]) -> list[Result]:
    """Those results at which the best changes, and the last: all that a line of steps needs."""
    return [result for result in results if result.improves or result is results[-1]]
