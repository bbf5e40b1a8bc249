"""Optuna's storage, opened by its URL: the same way on the head node and on compute nodes."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage

from worker.protocol.errors import BadInput, ServerAway
from worker.protocol.urls import redact
from worker.trials.journal import JournalFile
from worker.trials.storage_retry import is_away

_EXTRAS = {
    "mysql": "; use mysql+pymysql://… and pip install 'optuna-rq[mysql]'",
    "postgresql": "; use postgresql+psycopg2://… and pip install 'optuna-rq[postgresql]'",
}


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Inside the context, Optuna logs only warnings; afterwards the program's own settings are back."""
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
        BadInput: it can't be opened; one line says why, without the password.
        ServerAway: it can't be opened now, but may be later.
    """
    shown = redact(url)
    if url.startswith("journal://"):
        path = Path(url.removeprefix("journal://"))
        with _refusals(shown):
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFile(str(path)))
    arguments: dict[str, Any] = {}
    if url.startswith("sqlite://"):
        with _refusals(shown):
            database = sqlalchemy.make_url(url).database
            if not database or database == ":memory:":
                raise BadInput("it keeps nothing: name a file, sqlite:///PATH")
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        arguments = {"connect_args": {"timeout": 10}}
    elif "://" not in url:
        raise BadInput(f"storage {shown!r}: use sqlite:///PATH, journal:///PATH or a database's URL")
    else:
        with _refusals(shown):
            arguments = {"pool_pre_ping": True, "connect_args": _timeouts(url)}
    with _refusals(shown):
        storage = _create(url, arguments)
    if url.startswith("sqlite"):
        _speed_up(storage)
    return storage


def _timeouts(url: str) -> dict[str, int]:
    """Arguments that end a dead connection, in seconds, except for those set in the URL."""
    parsed = sqlalchemy.make_url(url)
    wanted = {
        "mysql+pymysql": {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60},
        "postgresql+psycopg2": {
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,  # in milliseconds
        },
    }
    drivers = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg2"}
    found = wanted.get(drivers.get(parsed.drivername, parsed.drivername), {})
    return {name: value for name, value in found.items() if name not in parsed.query}


def check_storage(url: str) -> None:
    """Prove that an existing storage can be read from here. Raises `BadInput`."""
    path = file_of(url)
    if path is not None and not path.exists():
        raise BadInput(f"storage {redact(url)}: no such file on this machine")  # opening it would create one
    storage = open_storage(url)
    with _refusals(redact(url)):
        storage.get_all_studies()


def file_of(url: str) -> Path | None:
    """The file that a storage's URL names, or None."""
    if url.startswith("journal://"):
        return Path(url.removeprefix("journal://"))
    if url.startswith("sqlite"):
        database = sqlalchemy.make_url(url).database
        return Path(database) if database else None
    return None


def _create(url: str, arguments: dict[str, Any]) -> RDBStorage:
    """Open the database. Retries if another process creates its tables at the same moment."""
    tries = 10
    while True:
        try:
            return RDBStorage(url, engine_kwargs=arguments)
        except Exception as error:
            tries -= 1
            text = f"{error} {error.__cause__}".lower()  # Optuna wraps what happens at a commit
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
            cause = cause.__cause__ or cause.__context__  # type: ignore[assignment] # an ImportError, as was just checked
        hint = next((text for name, text in _EXTRAS.items() if shown.startswith(name)), "")
        raise BadInput(
            f"storage {shown}: its driver {cause.name or str(cause)!r} isn't installed{hint}"
        ) from error
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        kind = ServerAway if is_away(error) else BadInput
        raise kind(f"storage {shown}: {lines[0] if lines else type(error).__name__}") from error
