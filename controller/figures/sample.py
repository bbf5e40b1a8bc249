"""Which of very many trials a figure shows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from controller.results.study_data import StudyData, TaskData
from worker.protocol.errors import BadInput


def by_value(data: StudyData, tasks: Sequence[TaskData], objective: int) -> list[TaskData]:
    """Tasks that have a value of an objective, the best first."""
    metric = data.objectives[objective]
    scored = [(metric.score(value), task) for task in tasks if (value := task.value(metric)) is not None]
    return [task for _, task in sorted(scored, key=lambda pair: pair[0])]


LARGEST_CHOICE = 1_000
"""Trials whose curves are drawn over each other at most."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Whose learning curves are drawn."""

    top: int | None = 20
    """So many of the best; None for all, sampled where there are very many."""
    trials: tuple[int, ...] = ()
    """Numbers of trials; these alone where there are some."""


def pick(data: StudyData, choice: Choice) -> list[str]:
    """Ids of the tasks whose learning curves are drawn.

    The best are those that `controller top` shows: those with results first, then those that run.
    """
    if choice.trials:
        wanted = set(choice.trials)
        return [task.record.id for task in data.tasks if task.record.trial in wanted]
    if choice.top is None:
        return [task.record.id for task in sampled(data, data.tasks, LARGEST_CHOICE)]
    ranked = [task for task in data.tasks if task.ranks]
    running = [task for task in data.tasks if not task.record.status.is_finished]
    best = [*by_value(data, ranked, 0), *by_value(data, running, 0)]
    return [task.record.id for task in best[: choice.top]]


def numbers_in(text: str) -> tuple[int, ...]:
    """The numbers in a text such as ``3, 5-9``, each once. Raises `BadInput`."""
    found: dict[int, None] = {}
    for part in text.replace(",", " ").split():
        match = re.fullmatch(r"(\d{1,9})(?:[-–](\d{1,9}))?", part)
        if match is None:
            raise BadInput(f"trials: {part!r:.40} is no number; write numbers and ranges, such as 3, 5-9")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first + len(found) >= LARGEST_CHOICE:
            raise BadInput(
                f"trials: {part!r}: at most {LARGEST_CHOICE} can be drawn, from the lower to the higher"
            )
        found.update(dict.fromkeys(range(first, last + 1)))
    return tuple(found)


def sampled(data: StudyData, tasks: Sequence[TaskData], most: int, objective: int = 0) -> list[TaskData]:
    """At most `most` of some tasks, in their order: a quarter are the best, the others are evenly spread."""
    if len(tasks) <= most:
        return list(tasks)
    kept = {task.record.id for task in by_value(data, tasks, objective)[: most // 4]}
    others = [task for task in tasks if task.record.id not in kept]
    step = math.ceil(len(others) / max(1, most - len(kept)))
    kept.update(task.record.id for task in others[::step])
    return [task for task in tasks if task.record.id in kept]
