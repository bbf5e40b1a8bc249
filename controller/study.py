"""Optuna's study: its storage opened by URL, the study created or continued."""

from __future__ import annotations

import contextlib
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from worker.protocol.errors import BadInput
from worker.protocol.urls import redact

UID = "optuna-rq:uid"
"""User attribute of a study: what the ids of its tasks are derived from."""


_EXTRAS = {
    "mysql": "; use mysql+pymysql://… and pip install 'optuna-rq[mysql]'",
    "postgresql": "; use postgresql+psycopg2://… and pip install 'optuna-rq[postgresql]'",
}


def quiet_optuna() -> None:
    """Leave it to our own output to say what happens."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within, Optuna says only what it warns of; afterwards its settings are the program's own again."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def open_storage(url: str) -> BaseStorage:
    """Optuna's storage for ``sqlite:///…``, ``mysql+pymysql://…``, ``postgresql+psycopg2://…`` or
    ``journal:///PATH``.

    Raises:
        BadInput: it can't be opened; one line that says why, without its password.
    """
    shown = redact(url)
    if url.startswith("journal://"):
        path = Path(url.removeprefix("journal://"))
        with _refusals(shown):
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path)))
    arguments: dict[str, Any] = {}
    if url.startswith("sqlite://"):
        with _refusals(shown):
            database = sqlalchemy.make_url(url).database
            if not database or database == ":memory:":
                raise BadInput("it keeps nothing: name a file, sqlite:///PATH")
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        arguments = {"connect_args": {"timeout": 60}}
    elif "://" not in url:
        raise BadInput(f"storage {shown!r}: use sqlite:///PATH, journal:///PATH or a database's URL")
    else:
        arguments = {"pool_pre_ping": True}
    with _refusals(shown):
        storage = _create(url, arguments)
    if url.startswith("sqlite"):
        _speed_up(storage)
    return storage


def _create(url: str, arguments: dict[str, Any]) -> RDBStorage:
    """Open the database; two processes that create its tables at the same moment both get it."""
    tries = 10
    while True:
        try:
            return RDBStorage(url, engine_kwargs=arguments)
        except Exception as error:
            tries -= 1
            text = str(error).lower()
            if not tries or not ("unique" in text or "already exists" in text or "duplicate" in text):
                raise
            time.sleep(0.2)


def _speed_up(storage: RDBStorage) -> None:
    """SQLite: a write-ahead log, synced at checkpoints. A crash of the process loses nothing."""

    def pragmas(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    sqlalchemy.event.listen(storage.engine, "connect", pragmas)
    storage.engine.dispose()


@contextlib.contextmanager
def _refusals(shown: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        cause = error
        while isinstance(cause.__cause__ or cause.__context__, ImportError):
            cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
        hint = next((text for name, text in _EXTRAS.items() if shown.startswith(name)), "")
        raise BadInput(
            f"storage {shown}: its driver {cause.name or str(cause)!r} isn't installed{hint}"
        ) from error
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BadInput(f"storage {shown}: {lines[0] if lines else type(error).__name__}") from error


def open_study(
    storage: BaseStorage,
    name: str,
    directions: Sequence[optuna.study.StudyDirection],
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """Create the study, or continue the one of that name.

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
    return uuid.uuid5(uid, f"trial-{number}").hex
