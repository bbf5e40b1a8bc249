"""Optuna's schema revisions, read once per process: each database that Optuna opens reads all of them again."""

from __future__ import annotations

import functools
from typing import Any


def read_once() -> None:
    """From now on, this process and those forked from it share the revisions of the first database."""
    from optuna.storages._rdb.storage import _VersionManager

    read = _VersionManager._create_alembic_script

    @functools.cache
    def script() -> Any:
        any_database = _VersionManager.__new__(_VersionManager)
        any_database.url = "sqlite://"
        return read(any_database)

    script().get_current_head()
    _VersionManager._create_alembic_script = lambda _: script()  # type: ignore[method-assign,assignment] # for the tests only
