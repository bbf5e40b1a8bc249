"""Optuna's study, created or continued."""

from __future__ import annotations

import hashlib
import uuid
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.storages import BaseStorage

from controller.sweep.values import same
from worker.protocol import StudyRecord
from worker.protocol.errors import BadInput
from worker.trials.storage import open_existing

UID = "optuna-rq:uid"
"""User attribute of a study: what the ids of its tasks are derived from."""


def quiet_optuna() -> None:
    """Leave it to our own output to say what happens."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_study(
    storage: BaseStorage,
    name: str,
    directions: Sequence[optuna.study.StudyDirection],
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """Create the study, or continue the one of that name: for sweep files, programs and helios' functions.

    Args:
        sampler, pruner: None for Optuna's own.

    Raises:
        BadInput: a study of that name optimizes in other directions.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=list(directions),
        sampler=sampler,
        pruner=pruner,
        load_if_exists=True,
    )
    if list(study.directions) != list(directions):
        raise BadInput(
            f"study {name!r} in Optuna's storage optimizes {_words(study.directions)}, "
            f"not {_words(directions)}; "
            "give this one another name"
        )
    return study


def name_objectives(study: optuna.Study, names: Sequence[str]) -> None:
    """Have plots and tables call several objectives by their names, unless they have names already.

    A single objective stays unnamed: Optuna's tables have it as ``value``, which programs rely on.
    """
    if len(names) > 1 and study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(names))


def find_study(storage: BaseStorage, name: str) -> optuna.Study | None:
    """The study of that name; None where the storage has none."""
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None


def existing_study(record: StudyRecord, url: str) -> optuna.Study:
    """The study of a record in its storage.

    Args:
        url: of the storage, with its password.

    Raises:
        BadInput: the storage can't be used, or the study isn't there.
    """
    study = find_study(open_existing(url), record.name)
    if study is None:
        raise BadInput(f"study {record.name!r} is not in {record.storage} any more")
    return study


def refuse_other_trials(study: optuna.Study, space: Mapping[str, BaseDistribution]) -> None:
    """Trials that were made elsewhere, or whose records were deleted, must have this search space, too.

    Raises:
        BadInput: a parameter of theirs is of another kind, or has other choices.
    """
    checked = set()
    for trial in study.get_trials(deepcopy=False):
        for name, old in trial.distributions.items():
            if name not in space or (name, old) in checked:
                continue
            checked.add((name, old))
            try:
                check_distribution_compatibility(old, space[name])
            except ValueError:
                raise BadInput(
                    f"study {study.study_name!r} in Optuna's storage has trials with another parameter "
                    f"{name!r} ({old}); give this one another study.name"
                ) from None


def given_before(study: optuna.Study, params: Mapping[str, Any]) -> bool:
    """Whether a trial was given exactly these parameters, or had them; Optuna itself skips what is near."""
    for trial in study.get_trials(deepcopy=False):
        if same(trial.system_attrs.get("fixed_params", trial.params), params):
            return True
    return False


def _words(directions: Sequence[optuna.study.StudyDirection]) -> str:
    return ", ".join(direction.name.lower() for direction in directions)


def study_uid(study: optuna.Study) -> uuid.UUID:
    """The id that the study's task ids are derived from; made once."""
    known = study.user_attrs.get(UID)
    if known is None:
        known = uuid.uuid4().hex
        study.set_user_attr(UID, known)
    return uuid.UUID(str(known))


def task_id_of(uid: uuid.UUID, number: int) -> str:
    """The task of trial `number`: derived, so that a crash can't separate the two."""
    # `uuid.uuid5`, whose objects take longer to make than the hash.
    digest = bytearray(hashlib.sha1(uid.bytes + b"trial-%d" % number, usedforsecurity=False).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    return digest.hex()
