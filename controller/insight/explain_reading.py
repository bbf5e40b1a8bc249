"""What a task's explanation is made of, read from the store, Optuna's storage and the study's log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from controller.insight.explain import Known, reasons_of
from controller.insight.explain_study import StudyAnswer, explain_study
from controller.insight.explain_waits import Slots
from controller.results.study_data import CHUNK, StudyData, read_study
from worker.protocol import Store, StudyRecord, TaskRecord
from worker.protocol.errors import BadInput, OptunaRQError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

AROUND = 1_000
"""Trials before and after one that are read, to know what its slots did."""
LOG = 2_000
"""Entries of the study's log that are read, the newest."""


def read_known(
    store: Store,
    record: TaskRecord,
    open_storage: Callable[[StudyRecord], BaseStorage],
    around: int = AROUND,
) -> Known:
    """All that is known of a task.

    Args:
        open_storage: Optuna's storage of a study; what it raises is told as what is not known.
        around: trials before and after it that are read, to know what its slots did.
    """
    name, unknown = record.study, []
    study = store.studies.find(name) if name and store.studies.has(name, record.id) else None
    trial, others = None, [record]
    if study is not None:
        if record.trial >= 0:
            try:
                trial = read_trial(open_storage(study), study.name, record.trial)
            except Exception as error:  # whatever a database says
                unknown.append(f"what was decided in Optuna's storage can't be read: {_said(error)}")
        others = _others(store, record, around, trial)
    return Known(
        record=record,
        slots=Slots(others, store.clock.now()),
        artifacts=store.artifacts.of_task(record.id),
        log=store.study_log.last(study.name, LOG) if study is not None else (),
        trial=trial,
        others=others,
        study=study,
        unknown=tuple(unknown),
    )


def read_trial(storage: BaseStorage, study: str, number: int) -> FrozenTrial:
    """One trial of a study. Raises `BadInput` when the storage has none."""
    try:
        study_id = storage.get_study_id_from_name(study)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    except KeyError:
        raise BadInput(f"it has no trial {number} of study {study!r} any more") from None
    return storage.get_trial(trial_id)


def known_of(data: StudyData, record: TaskRecord, trial: FrozenTrial | None) -> Known:
    """What a study's file tells of one of its tasks, whose artifacts stay where they are."""
    others = [task.record for task in data.tasks]
    return Known(
        record=record,
        slots=Slots(others, data.at),
        log=data.events,
        trial=trial,
        others=others,
        study=data.study,
    )


def read_reasons(trials: Iterable[FrozenTrial]) -> dict[int, dict[str, Mapping[str, Any]]]:
    """Trial → kind of decision → what it rested on, of those that say so."""
    found = {trial.number: reasons_of(trial.number, trial.system_attrs) for trial in trials}
    return {number: reasons for number, reasons in found.items() if reasons}


def read_answer(
    store: Store, name: str, open_storage: Callable[[StudyRecord], BaseStorage], data: StudyData | None = None
) -> StudyAnswer:
    """What bounded a study, and what was decided in it.

    Args:
        open_storage: as in `read_known`.
        data: the study, where it was read already.

    Raises:
        BadInput: there is no such study.
    """
    data = data or read_study(store, name)
    data = data.with_events(store.study_log.last(name, LOG))
    return explain_study(with_reasons(data, open_storage))


def with_reasons(data: StudyData, open_storage: Callable[[StudyRecord], BaseStorage]) -> StudyData:
    """A study with the reasons that its trials carry in Optuna's storage, or with why they can't be read.

    Args:
        open_storage: as in `read_known`.
    """
    try:
        storage = open_storage(data.study)
        study_id = storage.get_study_id_from_name(data.study.name)
        reasons = read_reasons(storage.get_all_trials(study_id, deepcopy=False))
    except Exception as error:  # whatever a database says: what the records tell is told without it
        return data.without_reasons(_said(error))
    return data.with_reasons(reasons)


def _others(store: Store, record: TaskRecord, around: int, trial: FrozenTrial | None) -> list[TaskRecord]:
    """The records of the trials around one, its own included, and of those that its sampler took for good."""
    near = store.studies.near(record.study, record.id, around)
    good = trial and reasons_of(trial.number, trial.system_attrs).get("asked", {}).get("good")
    if isinstance(good, list):
        numbers = [number for number in good if isinstance(number, int)]
        near = list(dict.fromkeys([*near, *store.studies.of_trials(record.study, numbers)]))
    found: list[TaskRecord] = []
    for start in range(0, len(near), CHUNK):
        found += [one for one in store.tasks.get_many(near[start : start + CHUNK]) if one is not None]
    return found


def _said(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return first if isinstance(error, OptunaRQError) and first else f"{type(error).__name__}: {first}"
