"""How a task is run again: commands to copy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.results.parameters import as_written
from controller.results.toml import toml_line
from worker.protocol import StudyRecord, TaskRecord
from worker.protocol.command import fill
from worker.protocol.errors import BadInput
from worker.protocol.values import bare


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """One way."""

    title: str
    text: str
    """For a shell, or for a sweep file."""


def reruns(record: TaskRecord, study: StudyRecord | None) -> list[Rerun]:
    """The ways to run a task again with its parameters, as far as they are sure to work.

    Args:
        study: whose task it is; None for a task outside any.
    """
    found = [
        _as_a_program(record),
        _reproduced(record),
        _on_a_worker(record, study),
        _in_a_sweep(record, study),
    ]
    return [one for one in found if one is not None and one.text.replace("\n", "").isprintable()]


def command_line(record: TaskRecord, study: StudyRecord | None) -> str:
    """The one line for a shell that runs a task's configuration again.

    A command's own, where it is sure to be the same program: not where its study brings the code. Otherwise
    that of `controller reproduce`.
    """
    own = None if record.spec.code else _as_a_program(record)
    if own is not None and own.text.isprintable():
        return own.text
    return f"controller reproduce {record.id}"


def _as_a_program(record: TaskRecord) -> Rerun | None:
    """A command objective's own command line: its parameters stand in it. Others get theirs from the task."""
    spec = record.spec
    if spec.objective.get("kind") != "command":
        return None
    values: dict[str, Any] = {bare(name): value for name, value in spec.parameters.items()}
    values.update(task_id=record.id, trial=record.trial)
    try:
        argv = fill(spec.objective["argv"], values, conditional=[bare(name) for name in spec.optional])
        environment = [f"{name}={shlex.quote(text)}" for name, text in _environment(spec.objective).items()]
    except (BadInput, TypeError, ValueError, KeyError, AttributeError):
        return None
    return Rerun(title="By hand, in the folder of the code", text=" ".join([*environment, shlex.join(argv)]))


def _environment(objective: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(text) for name, text in dict(objective.get("env", {})).items()}


def _reproduced(record: TaskRecord) -> Rerun | None:
    """In the same code, with the same seed, compared with what it came to."""
    if not record.spec.objective or not record.status.is_finished:
        return None
    return Rerun(title="Again, compared with this run", text=f"controller reproduce {record.id}")


def _on_a_worker(record: TaskRecord, study: StudyRecord | None) -> Rerun | None:
    """By ClearML's calls: a copy of the task, outside its study, which doesn't count there.

    What was written for Optuna needs its trial; where jobs are signed, a study's task can't be copied.
    """
    objective = record.spec.objective
    if not objective or objective.get("kind") == "optuna" or (study is not None and study.signed):
        return None
    queue = json.dumps(record.spec.queue, ensure_ascii=False)
    code = f'from worker import Task; Task.enqueue(Task.clone("{record.id}"), queue_name={queue})'
    title = "On a worker, as a task of its own outside the study" if study else "On a worker, as a new task"
    return Rerun(title=title, text=f"python -c {shlex.quote(code)}")


def _in_a_sweep(record: TaskRecord, study: StudyRecord | None) -> Rerun | None:
    """The entry of a sweep file that has a study try these parameters first."""
    if study is None or "objective" not in study.sweep:
        return None
    lines = []
    for name, value in as_written(record, everything=False).items():
        line = toml_line(name, value)
        if line is None:
            return None
        lines.append(line)
    if not lines:
        return None
    return Rerun(title="First in another study, in its sweep file", text="\n".join(["[[try]]", *lines]))
