"""Which task is which repeat: ids and seeds follow from the task that is confirmed, so nothing runs twice."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from controller.insight.confirm_rounds import Repeat
from controller.results.study_data import TaskData
from worker.protocol import ObjectiveMetric, Reason, Status, TaskRecord
from worker.protocol.confirmations import ConfirmPlan
from worker.protocol.seeds import derived_seed

MOST_TRIES = 20
"""Of one repeat: another is made where the one before was cut short."""


def repeat_id(source: str, repeat: int, tried: int = 0) -> str:
    """Id of the task that is a repeat of task `source`; of another try after one that was cut short."""
    text = f"{source}/confirm/{repeat}/{tried}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def repeat_seed(source: str, repeat: int) -> int:
    """Its seed: one that no other task of the study has, but by chance."""
    return derived_seed(source, "confirm", repeat)


def is_cut_short(record: TaskRecord) -> bool:
    """Whether it was stopped with all others, and says nothing of its parameters."""
    return record.reason_class in (Reason.STUDY_STOPPED, Reason.COMPUTE_BUDGET)


def sorted_out(plan: ConfirmPlan, tasks: Iterable[TaskData]) -> list[dict[int, list[TaskData]]]:
    """For each configuration: number of the repeat → its tries, the first one first."""
    by_id = {task.record.id: task for task in tasks}
    found: list[dict[int, list[TaskData]]] = []
    for source in plan.of:
        of_source: dict[int, list[TaskData]] = {}
        for repeat in range(plan.seeds):
            tries = []
            for tried in range(MOST_TRIES):
                task = by_id.get(repeat_id(source, repeat, tried))
                if task is None:
                    break
                tries.append(task)
            if tries:
                of_source[repeat] = tries
        found.append(of_source)
    return found


def ended_repeats(
    found: Sequence[Mapping[int, Sequence[TaskData]]], metrics: Sequence[ObjectiveMetric]
) -> list[dict[int, Repeat]]:
    """Of what `sorted_out` gives, how those repeats have ended that have."""
    return [
        {
            repeat: Repeat(scores=_scores(tries[-1], metrics))
            for repeat, tries in of_source.items()
            if tries[-1].record.status.is_finished and not is_cut_short(tries[-1].record)
        }
        for of_source in found
    ]


def _scores(task: TaskData, metrics: Sequence[ObjectiveMetric]) -> tuple[float, ...] | None:
    """Its values as scores, greater is better; None where it has failed or violates a constraint."""
    if task.record.status is Status.FAILED or task.record.reason_class is Reason.USER or not task.is_feasible:
        return None
    values = [task.value(metric) for metric in metrics]
    scores = tuple(
        -metric.score(value) for metric, value in zip(metrics, values, strict=True) if value is not None
    )
    return scores if len(scores) == len(metrics) and all(map(math.isfinite, scores)) else None
