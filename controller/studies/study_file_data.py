"""A study's file as what figures and reports are made of, without Redis and without Optuna's storage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from controller.insight.explain import reasons_of
from controller.results.curves import Curve, curves_of
from controller.results.study_data import MOST_EVENTS, StudyData, TaskData
from controller.studies.study_file import (
    check_file,
    checked_head,
    read_lines,
    study_from_json,
)
from controller.studies.study_file_confirm import ConfirmLines
from controller.studies.study_file_log import log_entries
from controller.studies.study_file_surroundings import surroundings_in
from controller.studies.study_file_trials import trial_from_json
from worker.protocol import StudyRecord
from worker.protocol.copies import TaskCopy
from worker.protocol.errors import BadInput
from worker.protocol.recorded_surroundings import RecordedSurroundings
from worker.protocol.study_log import LogEntry


def read_study_file(path: Path) -> StudyData:
    """The study in a file of `controller export`, with the learning curves of all its tasks.

    Raises:
        BadInput: the file is no such file, is damaged, cut short or of a newer version.
    """
    check_file(path)
    lines = read_lines(path)
    head = checked_head(path, next(lines, {}))
    study: StudyRecord | None = None
    tasks: list[TaskData] = []
    curves: dict[str, Mapping[str, Curve]] = {}
    events: list[LogEntry] = []
    reasons: dict[int, Mapping[str, Mapping[str, Any]]] = {}
    surroundings, confirm = RecordedSurroundings(), ConfirmLines()
    for line in lines:
        if "study" in line:
            study = study_from_json(line["study"])
        elif "task" in line:
            copy = TaskCopy.from_dict(line["task"])
            tasks.append(TaskData(record=copy.record, scalars=copy.scalars))
            found = curves_of(copy.record.id, copy.series)
            if found:
                curves[copy.record.id] = found
        elif "trial" in line:
            number = int(line["trial"]["number"])
            reasons[number] = reasons_of(number, line["trial"]["system_attrs"])
        elif "log" in line:
            events += log_entries(line)
        surroundings = surroundings_in(line) or surroundings
        confirm.take(line)
    if study is None:
        raise BadInput(f"{path}: damaged: it holds no study; export it again")
    tasks.sort(key=lambda task: task.record.trial)
    return StudyData(
        study=study,
        tasks=tuple(tasks),
        at=_moment(path, head.get("at")),
        curves=curves,
        events=tuple(events[-MOST_EVENTS:]),
        reasons={number: found for number, found in reasons.items() if found},
        surroundings=surroundings,
        confirm_plan=confirm.plan,
        confirming=confirm.tasks(),
    )


def read_trials(path: Path) -> list[FrozenTrial]:
    """The trials in a file of `controller export`, as Optuna had them, by number.

    Raises:
        BadInput: as `read_study_file`.
    """
    check_file(path)
    return [trial_from_json(line["trial"]) for line in read_lines(path) if "trial" in line]


def _moment(path: Path, text: object) -> float:
    """When a file was written, seconds since the epoch."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError as error:
        raise BadInput(f"{path}: damaged: {text!r:.40} is no time; export it again") from error
