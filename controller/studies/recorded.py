"""A study as it was recorded, with its trials and their log: from the storage, or from a study's file."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from controller.insight.replay_record import Recorded
from controller.search.study import existing_study, quiet_optuna
from controller.session.fingerprint import recorded_parameters
from controller.studies.study_file import (
    check_file,
    checked_head,
    read_lines,
    study_from_json,
)
from controller.studies.study_file_trials import trial_from_json
from worker.optuna_internals import storage_of, study_id
from worker.protocol import Store, StudyRecord
from worker.protocol.errors import BadInput


def recorded_in(store: Store, name: str, url: str) -> Recorded:
    """A study from its storage. It may be running.

    Args:
        url: of the storage, with its password.

    Raises:
        BadInput: there is no such study, or it isn't in the storage.
    """
    quiet_optuna()
    record = store.studies.get(name)
    return recorded_of(record, existing_study(record, url))


def recorded_of(record: StudyRecord, study: optuna.Study) -> Recorded:
    """A study from its record and from Optuna."""
    return Recorded(
        record=record,
        directions=tuple(study.directions),
        trials=tuple(study.get_trials(deepcopy=False)),
        attributes=storage_of(study).get_study_system_attrs(study_id(study)),
        parameters=recorded_parameters(record),
    )


def recorded_in_file(path: Path) -> Recorded:
    """A study from a file of `controller export`; neither Redis nor a storage is needed.

    Raises:
        BadInput: the file is no such file, is damaged, cut short or of a newer version.
    """
    quiet_optuna()
    check_file(path)
    lines = read_lines(path)
    checked_head(path, next(lines, {}))
    record: StudyRecord | None = None
    about = None
    trials: list[FrozenTrial] = []
    for line in lines:
        if "study" in line:
            record = study_from_json(line["study"])
        elif "optuna" in line:
            about = line["optuna"]
        elif "trial" in line:
            trials.append(trial_from_json(line["trial"]))
    if record is None or about is None:
        raise BadInput(f"{path}: damaged: it holds no study; export it again")
    try:
        directions = tuple(StudyDirection[name] for name in about["directions"])
        attributes = dict(about["system_attrs"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: damaged: {error}; export it again") from error
    return Recorded(
        record=record,
        directions=directions,
        trials=tuple(trials),
        attributes=attributes,
        parameters=recorded_parameters(record),
    )
