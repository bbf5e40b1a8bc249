"""Studies of any size, written as if they had run: for pages, tables and measurements."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import optuna

from worker.protocol import Status, Store, StudyRecord, StudyState, TaskRecord
from worker.protocol.batch import Batch, Point
from worker.protocol.copies import TaskCopy, write_tasks
from worker.protocol.metrics import ObjectiveMetric, Sign, Summary
from worker.protocol.record import TaskSpec
from worker.protocol.status import Reason
from worker.trials.storage import open_storage

HOSTILE = (
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "javascript:alert(1)", '"onload="x',
    "{{ 7 * 7 }}", "=1+1", "\x1b[31mred\x1b[0m", "a\u202eb", "x" * 5000, "新しい", "../../etc/passwd", "%3Cb%3E",
)  # fmt: skip
"""What a program may write where a page shows it."""

BEGAN = 1_800_000_000.0
"""When a made study began, in seconds since the epoch."""
METRIC = ObjectiveMetric(title="loss", series="validation", sign=Sign.MIN)
PARAMETERS: dict[str, dict[str, Any]] = {
    "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
    "layers": {"type": "int", "low": 1, "high": 8},
    "optimizer": {"choices": ["sgd", "adam"]},
}
"""A made study's search space, as in a sweep file."""
_ENDS = (
    [(Status.COMPLETED, None, "")] * 7
    + [(Status.STOPPED, Reason.PRUNED, "worse than the median")] * 2
    + [(Status.FAILED, Reason.OBJECTIVE_ERROR, "ValueError: no such file")]
)  # fmt: skip


def make_study(
    store: Store, name: str, trials: int, *, points: int = 0, hostile: bool = False, storage: str = ""
) -> list[str]:
    """Write a completed study; the same for the same arguments.

    Args:
        points: reports of each task.
        hostile: whether reasons, errors, logs and the choice of a parameter hold `HOSTILE` texts.
        storage: URL of an Optuna storage that its trials are written to as well.

    Returns:
        The ids of its tasks, by trial.
    """
    copies = [_task(name, number, points, hostile) for number in range(trials)]
    store.studies.save(
        StudyRecord(
            name=name,
            created_at=BEGAN,
            ended_at=BEGAN + 10 * trials,
            metrics=(METRIC,),
            storage=storage,
            sweep={"study": {"name": name}, "parameters": PARAMETERS},
            state=StudyState.COMPLETED,
            reason=HOSTILE[0] if hostile else f"iteration budget used up: {trials} of {trials}",
            budget={"jobs": {"used": trials, "limit": trials}},
        )
    )
    write_tasks(store, copies)
    if storage:
        _trials(storage, name, copies)
    return [copy.record.id for copy in copies]


def _task(study: str, number: int, points: int, hostile: bool) -> TaskCopy:
    draw = random.Random(number)
    values: dict[str, Any] = {
        "lr": 10 ** draw.uniform(-5, -1),
        "layers": draw.randint(1, 8),
        "optimizer": draw.choice(("sgd", "adam")),
    }
    odd = HOSTILE[number % len(HOSTILE)] if hostile else ""
    if hostile:
        values["optimizer"] = odd
    status, reason_class, reason = _ENDS[number % len(_ENDS)]
    began = BEGAN + 10 * number
    reported = [
        Point(
            title=METRIC.title,
            series=METRIC.series,
            value=draw.random() / (1 + step) + values["lr"],
            iteration=step,
            at=began + step * 9 / max(1, points),
        )
        for step in range(points or 1)
    ]
    summary = Summary.of(METRIC.title, METRIC.series)
    for point in reported:
        summary = summary.add(point.value, point.iteration)
    failed = status is Status.FAILED
    record = TaskRecord(
        id=f"{draw.getrandbits(128):032x}",
        name=f"{study}: trial {number}",
        study=study,
        trial=number,
        spec=TaskSpec(
            objective={"kind": "function", "function": "train:train"},
            parameters={f"General/{name}": value for name, value in values.items()},
            searched=tuple(f"General/{name}" for name in values),
            metrics=(METRIC,),
        ),
        status=status,
        created_at=began,
        queued_at=began,
        started_at=began + 0.1,
        ended_at=began + 9.1,
        compute_s=9.0,
        worker=f"node{number % 4}/{number % 2}",
        reason_class=reason_class,
        reason=odd or reason,
        error=f"Traceback (most recent call last):\n{odd or reason}" if failed else "",
        iterations=points,
        last_iteration=points - 1,
    )
    batches = [
        Batch(seq=seq + 1, points=reported[start : start + 100], summaries={}).encode()
        for seq, start in enumerate(range(0, points, 100))
    ]
    log = f"{odd}\nepoch 1\n".encode() if points or hostile else b""
    return TaskCopy(record=record, scalars={summary.key: summary}, series=batches, log=log)


def _trials(storage: str, name: str, copies: list[TaskCopy]) -> None:
    """Write the tasks' trials to Optuna's storage."""
    study = optuna.create_study(storage=open_storage(storage), study_name=name)
    study.add_trials(list(_frozen(copies)))


def _frozen(copies: list[TaskCopy]) -> Iterator[optuna.trial.FrozenTrial]:
    states = {
        Status.COMPLETED: optuna.trial.TrialState.COMPLETE,
        Status.STOPPED: optuna.trial.TrialState.PRUNED,
        Status.FAILED: optuna.trial.TrialState.FAIL,
    }
    texts = {str(copy.record.spec.parameters["General/optimizer"]) for copy in copies}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        "lr": optuna.distributions.FloatDistribution(1e-5, 0.1, log=True),
        "layers": optuna.distributions.IntDistribution(1, 8),
        "optimizer": optuna.distributions.CategoricalDistribution(sorted(texts)),
    }
    for copy in copies:
        state = states[copy.record.status]
        value = copy.scalars[METRIC.key].last
        yield optuna.trial.create_trial(
            state=state,
            value=None if state is optuna.trial.TrialState.FAIL else value,
            params={key.removeprefix("General/"): v for key, v in copy.record.spec.parameters.items()},
            distributions=distributions,
            intermediate_values={0: value},
        )
