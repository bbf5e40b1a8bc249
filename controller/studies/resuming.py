"""Continue an Optuna study, or start again from one of its trials: helios' functions, on every storage.

After `helios.plugins.optuna.utils`, whose names and arguments they have. Differences, deliberate: storages
other than SQLite are taken, other studies of the same database stay untouched, and a restored sampler is
checked.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import optuna
from optuna.study import StudyDirection

from controller.search.study import find_study, open_study
from controller.studies.sampler_checkpoints import prune_after, restore_sampler
from controller.studies.study_copies import backup_folder, backup_study, cut_back
from worker.protocol.errors import BadInput
from worker.trials.storage import file_of, open_storage

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger(__name__)


class StudyArgs(TypedDict, total=False):
    """The arguments of `optuna.create_study`."""

    storage: str | optuna.storages.BaseStorage | None
    sampler: optuna.samplers.BaseSampler | None
    pruner: optuna.pruners.BasePruner | None
    study_name: str | None
    direction: str | StudyDirection
    load_if_exists: bool
    directions: Sequence[str | StudyDirection] | None


def create_or_load_study(
    sampler_path: Path | str | None = None,
    backup_study: bool = False,
    backup_samplers: bool = False,
    **study_args: Unpack[StudyArgs],
) -> optuna.Study:
    """Begin a study, or continue one that has stopped.

    Failed trials are not tried again and interrupted ones not continued: the study takes the next
    new trial. To go on from an earlier one, see `create_study_starting_from_trial`.

    Args:
        sampler_path: folder of `checkpoint_sampler`; the last one is the sampler, if the study exists.
        backup_study: copy the study first, if it exists: to ``<name>_backup-#``, see
            `controller.studies.study_copies.backup_study`.
        backup_samplers: copy `sampler_path` first, to ``<folder>_backup-#``.
        study_args: for `optuna.create_study`; `storage` must be a URL, and `load_if_exists` true.

    Raises:
        BadInput: an argument is missing or can't be; a checkpoint is of another version. Nothing was changed.
    """
    name, url, storage = _checked("create_or_load_study", study_args)
    known = find_study(storage, name)
    sampler = _restored(sampler_path, None, study_args.get("sampler")) if known is not None else None
    if known is not None and backup_study:
        _backup(name, url, storage)
    if backup_samplers and sampler_path is not None:
        _backup_samplers(Path(sampler_path))
    return _open(name, storage, study_args, sampler)


def create_study_starting_from_trial(
    trial_id: int,
    backup_study: bool = True,
    backup_samplers: bool = True,
    sampler_path: Path | str | None = None,
    **study_args: Unpack[StudyArgs],
) -> optuna.Study:
    """Continue a study from one of its trials: those after it are discarded.

    Call it before trials are started. Trials are numbered from 0; those up to `trial_id`, itself included,
    are kept with all that belongs to them, and so are the study's attributes.

    Args:
        trial_id: number of the last trial that is kept.
        backup_study, backup_samplers: as in `create_or_load_study`, here by default.
        sampler_path: folder of `checkpoint_sampler`; the sampler of that trial is restored into the study,
            those of later ones are removed. None keeps `sampler` of `study_args`.
        study_args: as in `create_or_load_study`.

    Returns:
        The study with the trials up to `trial_id`.

    Raises:
        BadInput: there is no such study or trial, or as `create_or_load_study`. Nothing was changed.
    """
    name, url, storage = _checked("create_study_starting_from_trial", study_args)
    if isinstance(trial_id, bool) or not isinstance(trial_id, int) or trial_id < 0:
        raise BadInput(f"trial_id {trial_id!r}: the number of a trial, from 0")
    study = find_study(storage, name)
    if study is None:
        raise BadInput(f"create_study_starting_from_trial: there is no study {name!r} in this storage yet")
    numbers = [trial.number for trial in study.get_trials(deepcopy=False)]
    if trial_id not in numbers:
        there = f"its trials are 0 to {max(numbers)}" if numbers else "it has none"
        raise BadInput(f"study {name!r} has no trial {trial_id}; {there}")
    sampler = _restored(sampler_path, trial_id, study_args.get("sampler"))
    if backup_study:
        _backup(name, url, storage)
    if backup_samplers and sampler_path is not None:
        _backup_samplers(Path(sampler_path))
    cut_back(name, storage, trial_id)
    if sampler_path is not None:
        prune_after(sampler_path, trial_id)
    return _open(name, open_storage(url), study_args, sampler)


def _checked(function: str, study_args: StudyArgs) -> tuple[str, str, optuna.storages.BaseStorage]:
    """The study's name, its storage's URL, and the storage. Raises `BadInput`."""
    problems = []
    unknown = set(study_args) - set(StudyArgs.__annotations__)
    problems += [f"{function}: optuna.create_study takes no argument {name!r}" for name in sorted(unknown)]
    url = study_args.get("storage")
    if not isinstance(url, str):
        problems.append(f"{function}: storage must be a URL, such as sqlite:///study.db, not {url!r:.80}")
    elif url.startswith("sqlite") and (file_of(url) is None or str(file_of(url)) == ":memory:"):
        problems.append(f"{function}: storage {url!r} keeps nothing; name a file, sqlite:///PATH")
    name = study_args.get("study_name")
    if not isinstance(name, str) or not name:
        problems.append(f"{function}: study_name is missing: by it the study is found again")
    if study_args.get("load_if_exists") is not True:
        problems.append(f"{function}: load_if_exists must be True")
    wrong = [d for d in _given_directions(study_args) if _direction(d) is None]
    problems += [f"{function}: a direction is minimize or maximize, not {given!r:.80}" for given in wrong]
    if problems:
        raise BadInput(*problems)
    assert isinstance(url, str)
    assert isinstance(name, str)
    return name, url, open_storage(url)


def _given_directions(study_args: StudyArgs) -> Sequence[str | StudyDirection]:
    given = study_args.get("directions")
    return given if given is not None else (study_args.get("direction") or "minimize",)


def _direction(given: str | StudyDirection) -> StudyDirection | None:
    known = {"minimize": StudyDirection.MINIMIZE, "maximize": StudyDirection.MAXIMIZE}
    return given if isinstance(given, StudyDirection) else known.get(given)


def _restored(
    sampler_path: Path | str | None, trial_id: int | None, given: optuna.samplers.BaseSampler | None
) -> optuna.samplers.BaseSampler | None:
    """The sampler of a checkpoint; None without one. Raises `BadInput` when it is of another kind."""
    if sampler_path is None:
        return None
    sampler = restore_sampler(sampler_path, trial_id)
    if sampler is None:
        log.warning("no sampler is restored from %s: there is no checkpoint that can be read", sampler_path)
    elif given is not None and type(given) is not type(sampler):
        raise BadInput(
            f"the checkpoints in {sampler_path} are of a {type(sampler).__name__}, not of the "
            f"{type(given).__name__} that is given; name their folder, or leave the sampler out"
        )
    return sampler


def _backup(name: str, url: str, storage: optuna.storages.BaseStorage) -> None:
    log.warning("study %s was copied to %s", name, backup_study(name, url, storage))


def _backup_samplers(folder: Path) -> None:
    copy = backup_folder(folder)
    if copy is not None:
        log.warning("samplers of %s were copied to %s", folder, copy)


def _open(
    name: str,
    storage: optuna.storages.BaseStorage,
    study_args: StudyArgs,
    sampler: optuna.samplers.BaseSampler | None,
) -> optuna.Study:
    """Begin or continue the study. One that exists keeps its directions, as in Optuna."""
    known = find_study(storage, name)
    given = [found for d in _given_directions(study_args) if (found := _direction(d)) is not None]
    directions = known.directions if known is not None else given
    return open_study(
        storage, name, directions, sampler or study_args.get("sampler"), study_args.get("pruner")
    )
