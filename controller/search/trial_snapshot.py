"""Copies of tasks in a study's trials, from which a lost Redis is restored.

Redis is the authority on executions, Optuna's storage on trials. Each trial keeps a copy of its ended
task's record: status, reason, what it computed and reported, where its artifacts are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna

from controller.search.parameters import Parameter
from controller.search.space import replay
from worker.protocol import Summary, TaskRecord
from worker.protocol.copies import TaskCopy
from worker.protocol.errors import RecordError

log = logging.getLogger(__name__)

SNAPSHOT = "optuna-rq:task"
"""Trial's system attribute with the copy."""
LONGEST_TEXT, LONGEST_NAME = 1500, 300
"""Characters of the record's texts that are kept: JSON may have twelve bytes for each."""
_LONGEST = {
    **dict.fromkeys(("name", "reason"), LONGEST_TEXT),
    **dict.fromkeys(("project", "parent", "worker"), LONGEST_NAME),
}
LONGEST = 48_000
"""Characters of one copy: the smallest text column among Optuna's databases holds 65,535 bytes."""


@dataclass(frozen=True, kw_only=True)
class TrialSnapshot:
    """A finished trial and the copy of its task."""

    number: int
    task_id: str
    parameters: dict[str, Any]
    """Name → the program's value."""
    text: str
    """As `take_snapshot` made it."""


def take_snapshot(
    record: TaskRecord,
    scalars: Mapping[str, Summary],
    artifacts: Mapping[str, str],
    wall_clock: float,
) -> str:
    """The copy of an ended task that its trial keeps, at most `LONGEST` characters.

    Args:
        artifacts: artifact name → its description as JSON text.
        wall_clock: minutes that the study has run so far.
    """
    record = _shortened(record)
    objective = {metric.key for metric in record.spec.metrics}
    for kept in (
        TaskCopy(record=record, scalars=scalars, artifacts=artifacts),
        TaskCopy(record=record, scalars={k: s for k, s in scalars.items() if k in objective}),
        TaskCopy(record=record),
    ):
        # The specification is rebuilt from the study's and the trial's parameters.
        data = kept.to_dict(leave_out=("spec", "error"))
        data["wall_clock"] = round(wall_clock, 3)
        text = json.dumps(data, separators=(",", ":"))
        if len(text) <= LONGEST:
            break
    return text


def _shortened(record: TaskRecord) -> TaskRecord:
    texts = {name: (getattr(record, name), most) for name, most in _LONGEST.items()}
    changes: dict[str, Any] = {name: text[:most] for name, (text, most) in texts.items() if len(text) > most}
    if record.stop and len(record.stop.reason) > LONGEST_NAME:
        changes["stop"] = replace(record.stop, reason=record.stop.reason[:LONGEST_NAME])
    return replace(record, **changes) if changes else record


def snapshots(
    study: optuna.Study,
    parameters: Sequence[Parameter],
    task_id: Callable[[int], str],
    known: Container[str],
) -> Iterator[TrialSnapshot]:
    """The told trials of a study that keep a copy of their task.

    Args:
        parameters: what is searched.
        task_id: gives the task of a trial.
        known: ids of tasks to leave out.
    """
    for trial in study.get_trials(deepcopy=False):
        text, task = trial.system_attrs.get(SNAPSHOT), task_id(trial.number)
        if text is None or not trial.state.is_finished() or task in known:
            continue
        found = replay(parameters, trial.params)
        chosen = found[0] if found is not None else dict(trial.params)
        yield TrialSnapshot(number=trial.number, task_id=task, parameters=chosen, text=text)


def restore_task(snapshot: TrialSnapshot, fresh: TaskRecord) -> tuple[TaskCopy, float] | None:
    """The task of a told trial, and the minutes that the study had run by then; None if it can't be read.

    Args:
        fresh: the record that the task would have were it created now.
    """
    try:
        data = json.loads(snapshot.text)
        data["record"]["spec"] = fresh.spec.encode()
        return TaskCopy.from_dict(data), float(data.get("wall_clock", 0.0))
    except (KeyError, TypeError, ValueError, RecordError) as error:
        log.warning("trial %d: its task can't be restored: %s", snapshot.number, error)
        return None
