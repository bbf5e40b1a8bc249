"""Backing studies up and cutting them back, on every storage of Optuna's.

In a database, trials are removed in one transaction; everything else of the database stays as it is. A
journal can't forget: there the study is written again under its name, by way of a complete copy, so that a
crash in the middle loses nothing and the next call goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage

from worker.optuna_internals import database_models, database_session, study_id, trial_id
from worker.protocol.errors import BadInput
from worker.trials.storage import file_of

_PARENTS = re.compile(r"\w+:parent:\d+")
_QMC_PLACE = re.compile(r"qmc:[0-9a-f]{64}")

_COPY = "optuna-rq:copy_of"
"""User attribute of a complete copy: the name of the study that it replaces."""


def backup_study(name: str, url: str, storage: BaseStorage) -> str:
    """Copy a study, so that it can be used later on.

    Returns:
        What the backup is called: of a database in a file (SQLite, journal), the copied file,
        ``<name>_backup-#``; of a server's database, a study ``<name>_backup-#`` in it. ``#`` is the first
        number from 0 that is free.

    Raises:
        BadInput: it can't be written.
    """
    path = file_of(url)
    try:
        if path is None:
            known = set(optuna.get_all_study_names(storage))
            target = next(
                f"{name}_backup-{n}" for n in range(len(known) + 1) if f"{name}_backup-{n}" not in known
            )
            _copy(name, target, storage)
            return target
        with _free(path, path.suffix) as free:
            if url.startswith("sqlite"):
                # By SQLite itself: what its log holds belongs to the copy.
                with (
                    contextlib.closing(sqlite3.connect(path)) as source,
                    contextlib.closing(sqlite3.connect(free)) as copy,
                ):
                    source.backup(copy)
            else:
                shutil.copyfile(path, free)
            return str(free)
    except OSError as error:
        raise BadInput(f"backup of {path}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise BadInput(f"backup of {path}: {error}") from error


def backup_folder(folder: Path) -> Path | None:
    """Copy a folder to ``<name>_backup-#`` beside it; returns the copy, None where there is no folder."""
    if not folder.is_dir():
        return None
    try:
        number = 0
        while True:
            target = folder.with_name(f"{folder.name}_backup-{number}")
            try:
                shutil.copytree(folder, target)
                return target
            except FileExistsError:
                number += 1
    except OSError as error:
        raise BadInput(f"backup of {folder}: {error.strerror or error}") from error


@contextlib.contextmanager
def _free(path: Path, suffix: str) -> Iterator[Path]:
    """An empty file ``<stem>_backup-#<suffix>`` that was not there before; gone again if the block raises."""
    stem = path.name.removesuffix(suffix) if suffix else path.name
    number = 0
    while True:
        target = path.with_name(f"{stem}_backup-{number}{suffix}")
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            break
        except FileExistsError:
            number += 1
    try:
        yield target
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def cut_back(name: str, storage: BaseStorage, last: int) -> int:
    """Remove the trials of a study after number `last`; returns how many went.

    Its attributes, the trials up to there with all that belongs to them, and other studies stay as they are.

    Raises:
        BadInput: there is no such study, or it has no trial of that number.
    """
    inner = getattr(storage, "_backend", storage)  # Optuna's cache over a database
    if not isinstance(inner, RDBStorage):
        _finish_interrupted(name, storage)
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError as error:
        raise BadInput(f"no study {name!r} in Optuna's storage") from error
    numbers = [trial.number for trial in storage.get_all_trials(study_id, deepcopy=False)]
    if not numbers or last > max(numbers) or last < 0:
        there = f"its trials are 0 to {max(numbers)}" if numbers else "it has no trials"
        raise BadInput(f"study {name!r} has no trial {last}; {there}")
    doomed = sum(number > last for number in numbers)
    if doomed and isinstance(inner, RDBStorage):
        _delete_rows(inner, study_id, last)
    elif doomed:
        _rewrite(name, storage, last)
    return doomed


def _delete_rows(storage: RDBStorage, study_id: int, last: int) -> None:
    models = database_models()
    attribute = models.StudySystemAttributeModel
    kept = attributes_until(storage, study_id, last, same_ids=True)
    with database_session(storage) as session:
        trials = session.query(models.TrialModel).filter(
            models.TrialModel.study_id == study_id, models.TrialModel.number > last
        )
        for trial in trials.all():
            session.delete(trial)  # with its parameters, values and attributes, as the models say
        rows: list[Any] = session.query(attribute).filter(attribute.study_id == study_id).all()
        for row in rows:
            if row.key not in kept:
                session.delete(row)
            elif json.loads(row.value_json) != kept[row.key]:
                row.value_json = json.dumps(kept[row.key])


def attributes_until(
    storage: BaseStorage, study_id: int, last: int | None, *, same_ids: bool
) -> dict[str, Any]:
    """A study's system attributes as they were when trial `last` was its last.

    Samplers keep notes among them: NSGA's the parents of each generation, by the ids of their trials, and QMC
    how far it is in its sequence.

    Args:
        same_ids: trials keep their ids.
    """
    found: dict[str, Any] = dict(storage.get_study_system_attrs(study_id))
    trials = storage.get_all_trials(study_id, deepcopy=False)
    doomed = [trial for trial in trials if last is not None and trial.number > last]
    gone = {trial_id(trial) for trial in doomed}
    suggested = sum(bool(trial.params) and "fixed_params" not in trial.system_attrs for trial in doomed)
    for key, value in list(found.items()):
        if _PARENTS.fullmatch(key) and (not same_ids or not gone.isdisjoint(value)):
            del found[key]  # the sampler finds them from the trials
        elif _QMC_PLACE.fullmatch(key):
            found[key] = int(value) - suggested
            if found[key] < 0:
                del found[key]
    return found


def _rewrite(name: str, storage: BaseStorage, last: int) -> None:
    copy = f"{name}.rewind-{uuid.uuid4().hex[:8]}"
    _copy(name, copy, storage, last)
    # From here on the copy stands for the study: it is complete.
    optuna.load_study(study_name=copy, storage=storage).set_user_attr(_COPY, name)
    _finish_interrupted(name, storage)


def _finish_interrupted(name: str, storage: BaseStorage) -> None:
    """Put a complete copy in the study's place, if one was left; remove those that are not complete."""
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if not summary.study_name.startswith(f"{name}.rewind-"):
            continue
        if summary.user_attrs.get(_COPY) == name:
            if name in optuna.get_all_study_names(storage):
                optuna.delete_study(study_name=name, storage=storage)
            _copy(summary.study_name, name, storage)
        optuna.delete_study(study_name=summary.study_name, storage=storage)


def _copy(source: str, target: str, storage: BaseStorage, last: int | None = None) -> None:
    """Copy a study within its storage, its trials up to number `last`."""
    old = optuna.load_study(study_name=source, storage=storage)
    new = optuna.create_study(study_name=target, storage=storage, directions=list(old.directions))
    for key, value in attributes_until(storage, study_id(old), last, same_ids=False).items():
        storage.set_study_system_attr(study_id(new), key, value)
    for key, value in old.user_attrs.items():
        if key != _COPY:
            new.set_user_attr(key, value)
    for trial in old.get_trials(deepcopy=False):
        if last is None or trial.number <= last:
            # Not by `add_trial`, which refuses to take what a storage holds as it is.
            storage.create_new_trial(study_id(new), template_trial=trial)
