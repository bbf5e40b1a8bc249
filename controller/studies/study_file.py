"""A whole study as one file: ``controller export`` and ``controller import``.

Compressed lines of JSON, nothing that is executed when it is read: a head with the format's version; the
study's record; Optuna's study with what its sampler keeps there; a line for each trial and each task; a foot
with their numbers, by which a file that was cut short is recognized. Artifacts stay where they are, the file
lists them.
"""

from __future__ import annotations

import gzip
import json
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from controller.loop.launcher import sign_records
from controller.search.study import UID, existing_study, find_study, quiet_optuna, task_id_of
from controller.session.lock import StudyLock
from controller.studies.study_copies import attributes_until
from controller.studies.study_file_confirm import ConfirmLines, confirm_lines
from controller.studies.study_file_log import log_entries, log_lines, write_log
from controller.studies.study_file_surroundings import surroundings_in, surroundings_lines
from controller.studies.study_file_trials import trial_from_json, trial_to_json
from worker import __version__
from worker.artifacts.atomic import replacing
from worker.optuna_internals import storage_of, study_id, validate
from worker.protocol import OPEN, Status, Store, StudyRecord, StudyState, TaskRecord
from worker.protocol.clock import iso
from worker.protocol.copies import CHUNK, TaskCopy, read_tasks, write_tasks
from worker.protocol.errors import BadInput, NewerRecord, RecordError
from worker.protocol.recorded_surroundings import RecordedSurroundings
from worker.protocol.study_log import LogEntry
from worker.protocol.urls import redact
from worker.trials.storage import open_storage

FORMAT = 1
_MARK = "optuna-rq study"
_IMPORTING = "optuna-rq:importing"
"""User attribute of a study while it is imported; the next import removes what a killed one wrote."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a file holds."""

    name: str
    trials: int
    tasks: int


# Export


def export_study(store: Store, name: str, url: str, path: Path, *, overwrite: bool) -> Counts:
    """Write a study to a file, which is there whole or not at all. It may be running.

    Args:
        url: of the study's storage, with its password; the file has no passwords.

    Raises:
        BadInput: the file exists or can't be written, or the study isn't in its storage.
    """
    quiet_optuna()
    record = store.studies.get(name)
    study = existing_study(record, url)
    if path.exists() and not overwrite:
        raise BadInput(f"{path} exists; give --force to replace it")
    try:
        with (
            replacing(path, overwrite=overwrite) as partial,
            gzip.open(partial, "wt", encoding="utf-8", errors="surrogateescape") as file,
        ):
            trials = tasks = 0
            for line in _lines(store, record, study):
                file.write(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n")
                trials += "trial" in line
                tasks += "task" in line
            file.write(json.dumps({"end": {"trials": trials, "tasks": tasks}}) + "\n")
    except FileExistsError as error:
        raise BadInput(f"{path} exists; give --force to replace it") from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
    return Counts(name=name, trials=trials, tasks=tasks)


def _lines(store: Store, record: StudyRecord, study: optuna.Study) -> Iterator[dict[str, Any]]:
    yield {
        "head": _MARK,
        "format": FORMAT,
        "version": __version__,
        "name": record.name,
        "at": iso(store.clock.now()),
    }
    yield {
        "study": record.encode(),
        "artifacts": store.artifacts.of_study(record.name),
        "removed": sorted(store.artifacts.removed(record.name)),
    }
    for base in read_tasks(store, [record.base_task]) if record.base_task else ():
        yield {"base_task": base.to_dict()}
    storage = storage_of(study)
    yield {
        "optuna": {
            "directions": [direction.name for direction in study.directions],
            "user_attrs": study.user_attrs,
            "system_attrs": attributes_until(storage, study_id(study), None, same_ids=False),
        }
    }
    # Trials before tasks: one that ends in between is told when the import goes on, and not run again.
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        yield {"trial": trial_to_json(trial)}
    yield from log_lines(store, record.name)
    yield from confirm_lines(store, record.name)
    yield from surroundings_lines(store, record.name)
    for copy in read_tasks(store, store.studies.tasks(record.name)):
        if copy.record.trial < len(trials):
            yield {"task": copy.to_dict()}


# Import


def import_study(store: Store, path: Path, url: str, *, name: str | None) -> Counts:
    """Write a study from a file into Redis and Optuna's storage.

    Args:
        url: of the storage it comes into, with its password.
        name: another than it had; its tasks get other ids, too.

    Raises:
        BadInput: the file is no such file, is damaged, cut short or of a newer version, or a study of that
            name is here already. Nothing was written.
    """
    quiet_optuna()
    counts = check_file(path)
    target = name or counts.name
    if store.studies.find(target) is not None:
        raise BadInput(f"study {target!r} is in this Redis already; give the imported one another --name")
    lock = StudyLock(store, target)
    if not lock.acquire(wait=False, on_wait=lambda holder: None, stopped=lambda: False):
        raise BadInput(f"study {target!r}: a controller acts on it; give the imported one another --name")
    try:
        storage = open_storage(url)
        known = find_study(storage, target)
        if known is not None:
            if not known.user_attrs.get(_IMPORTING):
                raise BadInput(
                    f"study {target!r} is in Optuna's storage {redact(url)} already; give the imported one "
                    "another --name"
                )
            optuna.delete_study(study_name=target, storage=storage)
        try:
            _write(store, storage, url, path, target)
        except BaseException:
            with suppress(KeyError):
                optuna.delete_study(study_name=target, storage=storage)
            store.studies.delete(target)
            raise
    finally:
        lock.release()
    return replace(counts, name=target)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The file's lines. Raises `BadInput`, also after some of them."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape") as file:
            for number, text in enumerate(file, 1):
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise BadInput(f"{path}: line {number} is damaged")
                yield line
    except gzip.BadGzipFile as error:
        raise BadInput(f"{path}: not a file that `controller export` has written, or damaged") from error
    except EOFError as error:
        raise BadInput(f"{path}: cut short; export or copy it again") from error
    except (ValueError, RecursionError, zlib.error) as error:
        raise BadInput(f"{path}: damaged; export or copy it again") from error
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error


def check_file(path: Path) -> Counts:
    """Read all of the file once. Raises `BadInput`."""
    lines = read_lines(path)
    head = checked_head(path, next(lines, {}))
    trials = tasks = 0
    end = None
    try:
        for line in lines:
            log_entries(line)
            surroundings_in(line)
            ConfirmLines().take(line)
            if "study" in line:
                study_from_json(line["study"])
            elif "trial" in line:
                _check_trial(path, line["trial"], trials)
                trials += 1
            elif "task" in line or "base_task" in line:
                TaskCopy.from_dict(line.get("task") or line["base_task"])
                tasks += "task" in line
            elif "end" in line:
                end = line["end"]
    except NewerRecord as error:
        raise BadInput(f"{path}: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError, RecordError) as error:
        raise BadInput(f"{path}: damaged: {type(error).__name__}: {error}") from error
    if end is None:
        raise BadInput(f"{path}: cut short; export or copy it again")
    if end != {"trials": trials, "tasks": tasks}:
        raise BadInput(f"{path}: damaged: {trials} trials and {tasks} tasks of {end}")
    return Counts(name=str(head["name"]), trials=trials, tasks=tasks)


def checked_head(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    if head.get("head") != _MARK:
        raise BadInput(f"{path}: not a file that `controller export` has written")
    if not isinstance(head.get("format"), int) or head["format"] > FORMAT:
        raise BadInput(
            f"{path}: written by optuna-rq {head.get('version', '?')} in a newer format than this one "
            f"({__version__}) reads; upgrade it on this machine (pip install -U optuna-rq)"
        )
    return head


def _check_trial(path: Path, data: Mapping[str, Any], number: int) -> None:
    found = trial_from_json(data)
    validate(found)
    if found.number != number:
        raise BadInput(f"{path}: trial {number} is missing; export it again")


def study_from_json(data: Mapping[str, Any]) -> StudyRecord:
    return StudyRecord.decode({name: str(value) for name, value in data.items()})


class _Import:
    """Writes the lines of a file as the study `target`, one after the other.

    Args:
        url: of Optuna's storage.
    """

    def __init__(self, store: Store, storage: BaseStorage, url: str, target: str) -> None:
        self._store = store
        self._storage = storage
        self._url = url
        self._target = target
        self._record: StudyRecord | None = None
        self._study_id = -1
        self._uid: uuid.UUID | None = None
        self._artifacts: dict[str, str] = {}
        self._removed: list[str] = []
        self._tasks: list[TaskCopy] = []
        self._task_ids: dict[str, str] = {}
        self._log: list[LogEntry] = []
        self._confirm = ConfirmLines()
        self._surroundings = RecordedSurroundings()

    def take(self, line: dict[str, Any]) -> None:
        """Write what one line holds."""
        if "study" in line:
            self._record = study_from_json(line["study"])
            self._artifacts, self._removed = dict(line["artifacts"]), list(line["removed"])
        elif "optuna" in line:
            self._make_study(line["optuna"])
        elif "trial" in line:
            self._storage.create_new_trial(self._study_id, template_trial=trial_from_json(line["trial"]))
        elif "base_task" in line or "task" in line:
            self._tasks.append(TaskCopy.from_dict(line.get("task") or line["base_task"]))
            if len(self._tasks) >= CHUNK:
                self._flush_tasks()
        self._log += log_entries(line)
        self._surroundings = surroundings_in(line) or self._surroundings
        self._confirm.take(line)

    def _make_study(self, about: Mapping[str, Any]) -> None:
        assert self._record is not None
        directions = [optuna.study.StudyDirection[name] for name in about["directions"]]
        self._study_id = self._storage.create_new_study(directions, self._target)
        self._storage.set_study_user_attr(self._study_id, _IMPORTING, True)
        attributes = dict(about["user_attrs"])
        if self._record.name != self._target or UID not in attributes:
            attributes[UID] = uuid.uuid4().hex
        self._uid = uuid.UUID(str(attributes[UID]))
        for key, value in attributes.items():
            if key != _IMPORTING:
                self._storage.set_study_user_attr(self._study_id, key, value)
        for key, value in about["system_attrs"].items():
            self._storage.set_study_system_attr(self._study_id, key, value)

    def _flush_tasks(self) -> None:
        placed = list(_placed(self._tasks, self._target, self._uid))
        self._task_ids.update(
            zip((c.record.id for c in self._tasks), (c.record.id for c in placed), strict=True)
        )
        _write_tasks(self._store, placed)
        self._tasks.clear()

    def end(self) -> None:
        """Write the rest; from here on the study is there."""
        record, uid = self._record, self._uid
        assert record is not None
        assert uid is not None
        self._flush_tasks()
        for name, meta in self._artifacts.items():
            self._store.artifacts.add_to_study(self._target, name, meta)
        for identifier in self._removed:
            self._store.artifacts.note_removed(self._target, identifier)
        write_log(self._store, self._target, self._log, self._task_ids)
        self._store.surroundings.write(self._target, self._surroundings)
        self._confirm.write(self._store, self._target, self._task_ids)
        open_now = record.state in (StudyState.RUNNING, StudyState.PAUSED)
        self._storage.set_study_user_attr(self._study_id, _IMPORTING, False)
        self._store.studies.save(
            replace(
                record,
                name=self._target,
                storage=redact(self._url),
                copied_from=record.copied_from or (record.name if record.name != self._target else ""),
                controller="",
                base_task=task_id_of(uid, -1) if record.base_task else "",
                state=StudyState.INTERRUPTED if open_now else record.state,
                reason="imported" if open_now else record.reason,
            )
        )


def _write(store: Store, storage: BaseStorage, url: str, path: Path, target: str) -> None:
    found = _Import(store, storage, url, target)
    for line in read_lines(path):
        found.take(line)
    found.end()


def _write_tasks(store: Store, copies: Iterable[TaskCopy]) -> None:
    """Write tasks; those still to be run are signed by this import."""
    written = list(copies)
    write_tasks(store, written)
    sign_records(store, [copy.record for copy in written if copy.record.status in OPEN])


def _placed(copies: list[TaskCopy], study: str, uid: uuid.UUID | None) -> Iterator[TaskCopy]:
    """The tasks as they belong here: of this study, and those that were open ready to be run."""
    assert uid is not None
    for copy in copies:
        old = copy.record
        record = replace(old, id=task_id_of(uid, old.trial), study=study if old.study else "")
        if old.status in OPEN:
            yield replace(copy, record=_reopened(record), scalars={}, series=())
        else:
            yield replace(copy, record=record)


def _reopened(record: TaskRecord) -> TaskRecord:
    if record.study == "" or record.status is not Status.IN_PROGRESS:
        return replace(record, stop=None)
    return replace(record.again("its study was exported while it ran"), started_at=None)
