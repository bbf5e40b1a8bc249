"""Optuna storages that are locked or away for a while: calls are retried until they are back."""

from __future__ import annotations

import errno
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage

from worker.optuna_internals import STORAGE_CALLS, backend_of
from worker.trials.journal import JournalFile

PAUSE_S = 0.5
"""Pause between two tries, in seconds."""


def retry_while_away(
    storage: BaseStorage,
    waiting: Callable[[str], None],
    back: Callable[[], None] = lambda: None,
    *,
    also: Sequence[tuple[Any, str]] = (),
) -> Callable[[], None]:
    """Make every call of a database or journal storage wait while it is locked or away.

    Each call is one transaction: a failed one has done nothing, and may be repeated.

    Args:
        storage: patched in place; storages of other kinds are left alone.
        waiting: called with the reason before each pause; what it raises ends the waiting.
        back: called when a call that waited has succeeded.
        also: further methods to patch, as (object, name), each a transaction of that storage.

    Returns:
        A function that takes all of this back.
    """
    inner = beneath(storage)
    if not isinstance(inner, (RDBStorage, JournalStorage)):
        return lambda: None
    public = [name for name in vars(BaseStorage) if not name.startswith("_")]
    changed = [(inner, name) for name in (*public, *STORAGE_CALLS) if callable(getattr(inner, name, None))]
    changed += also
    for owner, name in changed:
        setattr(owner, name, _retrying(getattr(owner, name), waiting, back))
    journal = backend_of(inner)
    if isinstance(journal, JournalFile):
        journal.retrying = lambda write: _retrying(write, waiting, back)()

    def undo() -> None:
        for owner, name in changed:
            vars(owner).pop(name, None)
        if isinstance(journal, JournalFile):
            journal.retrying = lambda write: write()

    return undo


def beneath(storage: BaseStorage) -> BaseStorage:
    """The database or journal under Optuna's cache or the controller's; other storages as they are."""
    if isinstance(storage, (RDBStorage, JournalStorage)):
        return storage
    inner = backend_of(storage)
    return inner if isinstance(inner, (RDBStorage, JournalStorage)) else storage


def _retrying(
    call: Callable[..., Any],
    waiting: Callable[[str], None],
    back: Callable[[], None],
) -> Callable[..., Any]:
    @functools.wraps(call)
    def patient(*args: Any, **kwargs: Any) -> Any:
        waited = False
        while True:
            try:
                result = call(*args, **kwargs)
            except Exception as error:
                if not is_away(error):
                    raise
                waited = True
                waiting(_reason(error))
                time.sleep(PAUSE_S)
                continue
            if waited:
                back()
            return result

    return patient


def _cause(error: BaseException) -> BaseException:
    """The driver's own error inside those of SQLAlchemy and Optuna."""
    while True:
        inner = getattr(error, "orig", None) or error.__cause__
        if inner is None:
            return error
        error = inner


def is_away(error: BaseException | None) -> bool:
    """Whether `error` says that the storage can't be used now, but may be later."""
    away = (
        sqlalchemy.exc.OperationalError,
        sqlalchemy.exc.InterfaceError,
        sqlalchemy.exc.TimeoutError,
        # A connection that broke in the middle of a transaction, or during its rollback.
        sqlalchemy.exc.InternalError,
        sqlalchemy.exc.PendingRollbackError,
        sqlalchemy.exc.ResourceClosedError,
    )
    if isinstance(error, away) or getattr(error, "connection_invalidated", False):
        return True
    if isinstance(error, optuna.exceptions.StorageInternalError):
        # Optuna also wraps mistakes, such as a value out of a column's range.
        return isinstance(error.__cause__, away) or isinstance(error.__context__, away)
    return isinstance(error, OSError) and error.errno != errno.ENOENT


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(_cause(error)).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
