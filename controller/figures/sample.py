"""Which of very many trials a figure shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from controller.results.study_data import StudyData, TaskData


def by_value(data: StudyData, tasks: Sequence[TaskData], objective: int) -> list[TaskData]:
    """Tasks that have a value of an objective, the best first."""
    metric = data.objectives[objective]
    scored = [(metric.score(value), task) for task in tasks if (value := task.value(metric)) is not None]
    return [task for _, task in sorted(scored, key=lambda pair: pair[0])]


def sampled(data: StudyData, tasks: Sequence[TaskData], most: int, objective: int = 0) -> list[TaskData]:
    """At most `most` of some tasks, in their order: a quarter are the best, the others are evenly spread."""
    if len(tasks) <= most:
        return list(tasks)
    kept = {task.record.id for task in by_value(data, tasks, objective)[: most // 4]}
    others = [task for task in tasks if task.record.id not in kept]
    step = math.ceil(len(others) / max(1, most - len(kept)))
    kept.update(task.record.id for task in others[::step])
    return [task for task in tasks if task.record.id in kept]
