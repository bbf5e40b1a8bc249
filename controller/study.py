"""Optuna's study: its storage opened by URL, the study created or continued."""

from __future__ import annotations

import contextlib
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from worker.protocol.errors import BadInput
from worker.protocol.urls import redact

UID = "optuna-rq:uid"
"""User attribute of a study: what the ids of its tasks are derived from."""


def quiet_optuna() -> None:
    """Leave it to our own output to say what happens."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


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
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///").split("?")[0])
        with _refusals(shown):
            path.parent.mkdir(parents=True, exist_ok=True)
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
    import sqlalchemy

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
        driver = getattr(error, "name", None) or str(error)
        extras = "optuna-rq[mysql] or optuna-rq[postgresql]"
        raise BadInput(
            f"storage {shown}: its driver {driver!r} isn't installed; try pip install '{extras}'"
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
