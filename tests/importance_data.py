"""Studies whose answer is known: what matters in them, and what doesn't."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.results.study_data import StudyData, TaskData
from controller.studies.study_file_data import read_study_file
from worker.protocol import ObjectiveMetric, Reason, Sign, Status, StudyRecord, Summary, TaskRecord, TaskSpec

LOSS = ObjectiveMetric(title="loss", series="", sign=Sign.MIN)
SIZE = ObjectiveMetric(title="size", series="", sign=Sign.MAX)
RECORDED = Path(__file__).parents[1] / "benchmarks/studies"
Row = Mapping[str, Any]


def unit(low: float = 0.0, high: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, **more}


def study_of(
    parameters: Mapping[str, Mapping[str, Any]],
    rows: Sequence[Row],
    value: Callable[[Row], float],
    *,
    failed: Callable[[Row], str] = lambda row: "",
    reason: Reason = Reason.OBJECTIVE_ERROR,
    pruned: Callable[[Row], bool] = lambda row: False,
    second: Callable[[Row], float] | None = None,
    objective: bool = True,
) -> StudyData:
    """A study over some rows of parameters.

    Args:
        parameters: as a sweep file has them.
        value: the loss.
        failed: why a trial failed; empty for one that didn't.
        second: another objective, which is maximized.
        objective: whether a sweep file began it.
    """
    metrics = (LOSS, SIZE) if second else (LOSS,)
    sweep: dict[str, Any] = {
        "study": {"name": "s", "metric": {"name": "loss", "goal": "minimize"}},
        "parameters": {name: dict(table) for name, table in parameters.items()},
        "budget": {"max_trials": len(rows)},
    }
    if objective:
        sweep["objective"] = {"function": "obj:train"}
    tasks = []
    for number, row in enumerate(rows):
        why, cut = failed(row), pruned(row)
        status = Status.FAILED if why else Status.STOPPED if cut else Status.COMPLETED
        record = TaskRecord(
            id=f"{number:032x}",
            name=f"trial {number}",
            study="s",
            trial=number,
            spec=TaskSpec(parameters=dict(row), searched=tuple(row), metrics=metrics),
            status=status,
            created_at=1.7e9 + number,
            started_at=1.7e9 + number,
            ended_at=1.7e9 + number + 1,
            reason_class=reason if why else Reason.PRUNED if cut else None,
            reason=why,
        )
        scalars = {}
        if not why:
            values = [value(row), second(row)] if second else [value(row)]
            for metric, one in zip(metrics, values, strict=True):
                scalars[metric.key] = Summary.of(metric.title, metric.series).add(one, 0)
        tasks.append(TaskData(record=record, scalars=scalars))
    study = StudyRecord(name="s", created_at=1.7e9, metrics=metrics, sweep=sweep)
    return StudyData(study=study, tasks=tuple(tasks), at=1.8e9)


def uniform(trials: int, seed: int = 1, **ranges: tuple[float, float]) -> list[dict[str, Any]]:
    """Rows of independent uniform numbers."""
    draw = random.Random(seed)
    return [{name: draw.uniform(*ends) for name, ends in ranges.items()} for _ in range(trials)]


def recorded(name: str) -> StudyData:
    """A study of `benchmarks/studies`."""
    return read_study_file(RECORDED / f"{name}.study.gz")
