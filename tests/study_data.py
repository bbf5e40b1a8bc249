"""Studies made up for tests of figures and pages: as values, or in a store."""

from __future__ import annotations

import math
from typing import Any

from controller.results.curves import Curve, curves_of
from controller.results.study_data import StudyData, TaskData
from worker.protocol import (
    Batch,
    ObjectiveMetric,
    Point,
    Reason,
    Sign,
    Status,
    StudyRecord,
    Summary,
    TaskRecord,
    TaskSpec,
)  # fmt: skip
from worker.protocol.copies import TaskCopy

LOSS = ObjectiveMetric(title="loss", series="", sign=Sign.MIN)
SIZE = ObjectiveMetric(title="size", series="", sign=Sign.MAX)
START = 1_700_000_000.0


def made_up(
    trials: int,
    points: int = 5,
    *,
    metrics: tuple[ObjectiveMetric, ...] = (LOSS,),
    name: str = "s",
    slots: int = 4,
    **parameters: Any,
) -> tuple[StudyRecord, list[TaskCopy]]:
    """A study, and its tasks: every fifth pruned halfway, every eleventh failed, the last one running.

    Args:
        parameters: of every task, beside ``lr``, ``layers`` and ``optimizer``.
    """
    study = StudyRecord(name=name, created_at=START, metrics=metrics, sweep={"study": {"name": name}})
    return study, [
        _task(number, trials, points, metrics, name, slots, parameters) for number in range(trials)
    ]


def _task(
    number: int,
    trials: int,
    points: int,
    metrics: tuple[ObjectiveMetric, ...],
    name: str,
    slots: int,
    more: dict[str, Any],
) -> TaskCopy:
    status, reason = Status.COMPLETED, None
    if number == trials - 1:
        status = Status.IN_PROGRESS
    elif number % 11 == 10:
        status, reason = Status.FAILED, Reason.OBJECTIVE_ERROR
    elif number % 5 == 4:
        status, reason = Status.STOPPED, Reason.PRUNED
    reported = max(1, points // 2) if reason is Reason.PRUNED else points
    lr = 10 ** -(1 + (number * 37 % 100) / 25)
    depth = 1 + number % 6
    summaries: dict[str, Summary] = {}
    batches = []
    began = START + number // slots * 60.0
    for iteration in range(reported):
        values = [
            (1.0 + abs(math.log10(lr) + 3) + 0.1 * depth) * (0.2 + 1 / (1 + iteration)) + 0.01 * (number % 7),
            10.0 * depth - 5 * math.log10(lr) + number % 3,
        ]
        at = began + iteration * 50.0 / points
        reports = [
            Point(title=m.title, series=m.series, value=v, iteration=iteration, at=at)
            for m, v in zip(metrics, values, strict=False)
        ]
        for point in reports:
            known = summaries.get(point.key, Summary.of(point.title, point.series))
            summaries[point.key] = known.add(point.value, iteration)
        batches.append(Batch(seq=iteration + 1, points=reports, summaries={}).encode())
    record = TaskRecord(
        id=f"{number:032x}",
        name=f"trial {number}",
        study=name,
        trial=number,
        spec=TaskSpec(
            parameters={"lr": lr, "layers": depth, "optimizer": ("sgd", "adam")[number % 2], **more},
            searched=("lr", "layers", "optimizer", *more),
            metrics=metrics,
        ),
        status=status,
        created_at=began,
        queued_at=began,
        started_at=began,
        ended_at=began + 55.0 if status.is_finished else None,
        worker=f"node{number % slots // 2}/{number % 2}",
        reason_class=reason,
        reason="cut" if reason else "",
        iterations=reported,
        last_iteration=reported - 1,
    )
    return TaskCopy(record=record, scalars=summaries, series=batches)


def study_data(trials: int, points: int = 5, **options: Any) -> StudyData:
    """As `made_up`, read."""
    study, copies = made_up(trials, points, **options)
    curves: dict[str, dict[str, Curve]] = {
        copy.record.id: curves_of(copy.record.id, copy.series) for copy in copies
    }
    tasks = tuple(TaskData(record=copy.record, scalars=copy.scalars) for copy in copies)
    return StudyData(study=study, tasks=tasks, at=START + 3600.0 * 10, curves=curves)
