"""A study's tasks in the order of an objective, by its ranking index: few records are read for it."""

from __future__ import annotations

import math

from controller.results.task_rows import TaskRows
from worker.protocol import ObjectiveMetric, Sign, Store, StudyRecord, keys

MOST_UNRANKED = 20_000
"""Tasks that the index lacks, failed ones among them, of which values are read to place them."""
CHUNK = 2_000
"""Of them in one round trip."""


def ordered_ids(
    store: Store, study: StudyRecord, rows: TaskRows, column: str, *, descends: bool
) -> list[str] | None:
    """Ids of all tasks by the values of a column; those without one are the last, by trial.

    Returns:
        None where the index doesn't say: the column is no objective or shows another value than it ranks by,
        or the index lacks too many tasks.
    """
    index = _objective(study, rows, column)
    if index is None:
        return None
    metric = study.metrics[index]
    with store.redis.pipeline(transaction=False) as pipe:
        pipe.zrange(keys.study_tasks(study.name), 0, -1)
        pipe.zrange(keys.rank(study.name, index=index), 0, -1, withscores=True)
        own, ranked = pipe.execute()
    # Workers write the index: what the study's own list lacks is left out.
    places = {task_id: number for number, task_id in enumerate(own)}
    values = {task_id: metric.score(float(score)) for task_id, score in ranked if task_id in places}
    unranked = [task_id for task_id in own if task_id not in values]
    if len(unranked) > MOST_UNRANKED:
        return None
    for start in range(0, len(unranked), CHUNK):
        part = unranked[start : start + CHUNK]
        for task_id, scalars in zip(part, store.reports.some_scalars(part, [metric.key]), strict=True):
            summary = scalars.get(metric.key)
            if summary is not None and math.isfinite(summary.last):
                values[task_id] = summary.last
    # As all rows are sorted: equal ones by trial, either way round.
    present = sorted(values, key=places.__getitem__)
    present.sort(key=values.__getitem__, reverse=descends)
    return present + [task_id for task_id in unranked if task_id not in values]


def _objective(study: StudyRecord, rows: TaskRows, column: str) -> int | None:
    """Number of the objective that a column shows; None for another column."""
    place = rows.columns().get(column)
    for index, metric in enumerate(study.metrics):
        if place is not None and rows.place_of(metric.key) == place and _ranks_by_last(metric):
            return index
    return None


def _ranks_by_last(metric: ObjectiveMetric) -> bool:
    """Whether the index has the last value of a task, as the table shows it."""
    return metric.sign in (Sign.MIN, Sign.MAX)
