"""Optuna's storage, opened by its URL: the same way on the head node and on compute nodes."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
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
_FORMS = (
    "use sqlite:///PATH, journal:///PATH, mysql+pymysql://USER@HOST/DATABASE or "
    "postgresql+psycopg2://USER@HOST/DATABASE"
)
_MEANT = {
    "postgres": "postgresql+psycopg2",
    "psql": "postgresql+psycopg2",
    "pg": "postgresql+psycopg2",
    "sqlite3": "sqlite",
    "mariadb": "mysql+pymysql",
    "file": "sqlite",
    "redis": "",
    "rediss": "",
    "http": "",
    "https": "",
}
"""Scheme that people write → the one that they mean; empty where there is none."""

_POOL = "optuna-rq"
"""Name of our connection pools in the loggers of SQLAlchemy."""


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
    check_url(url)
    path = file_of(url)
    if path is not None:
        _check_file(path, shown)
    if url.startswith("journal://"):
        with _refusals(shown):
            return JournalStorage(JournalFile(str(path)))
    arguments: dict[str, Any] = {"connect_args": {"timeout": 10}}
    if path is None:
        with _refusals(shown):
            arguments = {
                "pool_pre_ping": True,
                "pool_logging_name": _POOL,
                "connect_args": _timeouts(url),
            }
            _quiet_pool()
    with _refusals(shown):
        storage = _create(url, arguments)
    if path is not None:
        _speed_up(storage)
    return storage


def check_url(url: str) -> None:
    """Prove that a storage's URL can be understood; touches nothing. Raises `BadInput`."""
    shown = redact(url)
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise BadInput(f"storage {shown!r}: {_for_short(url)}")
    if scheme in _MEANT:
        meant = _MEANT[scheme]
        hint = f"write {meant}://… instead of {scheme}://…" if meant else _FORMS
        raise BadInput(f"storage {shown}: {hint}")
    if scheme == "journal":
        if not rest.strip("/"):
            raise BadInput(f"storage {shown}: it names no file; write journal:///PATH")
        return
    try:
        parsed = sqlalchemy.make_url(url)
        parsed.get_dialect()
    except sqlalchemy.exc.NoSuchModuleError as error:
        raise BadInput(f"storage {shown}: there is no kind of database {scheme!r}; {_FORMS}") from error
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise BadInput(
            f"storage {shown}: not a database's URL; {_FORMS} (and percent-encode what is special "
            "in a password)"
        ) from error
    except ImportError:
        return  # `open_storage` says what to install
    lacks = _lacks(parsed, rest)
    if lacks:
        raise BadInput(f"storage {shown}: {lacks}")


def _for_short(url: str) -> str:
    """What to write instead of a URL without ``://``."""
    kind, colon, rest = url.partition(":")
    path = rest.lstrip("/")
    if colon and path and kind in ("sqlite", "sqlite3"):
        return f"write sqlite:///{path} for a file in this folder, sqlite:////{path} for one by its full path"
    if colon and path and kind == "journal":
        return f"write journal:///{path}"
    if not colon and ("/" in url or "." in url):
        return f"write {'journal://' if url.endswith('.log') else 'sqlite:///'}{url}"
    return _FORMS


def _lacks(parsed: sqlalchemy.URL, rest: str) -> str:
    """What is missing in a database's URL, or is impossible; empty if nothing is."""
    if parsed.get_backend_name() == "sqlite":
        if parsed.host:
            return f"a path comes after three slashes: sqlite:///{rest}"
        if not parsed.database or parsed.database == ":memory:":
            return "it keeps nothing: name a file, sqlite:///PATH"
    elif parsed.port is not None and not 0 < parsed.port < 65536:
        return f"there is no port {parsed.port}; they go from 1 to 65535"
    elif not parsed.database:
        return f"it names no database; {_FORMS}"
    return ""


def _check_file(path: Path, shown: str) -> None:
    """Have a place for a storage's file. Raises `BadInput` where there can't be one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise BadInput(f"storage {shown}: {path} is a folder; name a file in it")
        if not path.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    except OSError as error:
        raise BadInput(
            f"storage {shown}: {error.filename or path} can't be written: {error.strerror or error}; "
            "name a file in a folder of yours"
        ) from error


def _quiet_pool() -> None:
    """Keep the pool from logging a traceback for each connection that broke.

    The caller who used the connection gets its error, and tries again.
    """
    pool = sqlalchemy.pool.QueuePool
    logging.getLogger(f"{pool.__module__}.{pool.__name__}.{_POOL}").setLevel(logging.CRITICAL)


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


def open_existing(url: str) -> BaseStorage:
    """As `open_storage`, for a storage that is there and can be read from here: nothing is created.

    Raises:
        BadInput: it is not there, or can't be read.
    """
    path = file_of(url)
    if path is not None and not path.exists():
        raise BadInput(f"storage {redact(url)}: no such file on this machine")  # opening it would create one
    storage = open_storage(url)
    with _refusals(redact(url)):
        storage.get_all_studies()
    return storage


def check_storage(url: str) -> None:
    """Prove that an existing storage can be read from here. Raises `BadInput`."""
    open_existing(url)


def file_of(url: str) -> Path | None:
    """The file that a storage's URL names, or None. Raises `BadInput` for a URL that can't be understood."""
    if url.startswith("journal://"):
        return Path(url.removeprefix("journal://"))
    check_url(url)
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
    except BadInput:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        text = lines[0] if lines else type(error).__name__
        raise _refusal(error, text, f"storage {shown}: {_explained(text)}") from error


_NO_SUCH_HOST = (
    "name or service not known",
    "nodename nor servname",
    "could not translate host name",
    "no address associated with hostname",
    "unknown mysql server host",
    "unknown server host",
)
_WRONG = ("access denied", "password authentication failed", "no password supplied", "unknown database")
"""What databases say of a user, a password or a name that is wrong."""


def _refusal(error: Exception, text: str, message: str) -> BadInput:
    """The error to raise: whether the storage may come, or its URL or file has to be changed.

    Args:
        text: what its driver says.
    """
    lowered = text.lower()
    if any(part in lowered for part in _NO_SUCH_HOST):
        # A name may come as well, where services are about to start; the input is still to be looked at.
        return ServerAway(message, input_is_wrong=True)
    hopeless = (*_WRONG, "unable to open database file", "readonly database", "not a database")
    if any(part in lowered for part in hopeless) or "does not exist" in lowered:
        return BadInput(message)
    return ServerAway(message) if is_away(error) else BadInput(message)


def _explained(text: str) -> str:
    """What a driver says, with what to do about it where that is known."""
    text = re.sub(r"^\(\S*(?:Error|Exception)\) ", "", text)
    lowered = text.lower()
    if any(part in lowered for part in _NO_SUCH_HOST):
        return "no such host; correct its name in the URL (and percent-encode what is special in a password)"
    if "refused" in lowered or "can't connect" in lowered:
        return f"{text}; is the database running, and are host and port right?"
    if any(part in lowered for part in _WRONG):
        return f"{text}; correct user, password and database in OPTUNA_STORAGE"
    if "not a database" in lowered or "unable to open" in lowered or "readonly" in lowered:
        return f"{text}; name another file"
    return text
