"""Where Optuna's trials can be: the URL of an empty storage of each kind, on a real server where it needs one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mariadb import MariaDB
from tests.postgresql import PostgreSQL

KINDS = ("sqlite", "journal", "mysql", "postgresql")


def storage_url(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if kind == "postgresql":
        other: PostgreSQL = request.getfixturevalue("postgresql")
        return other.database()
    if kind == "mysql":
        server: MariaDB = request.getfixturevalue("mariadb")
        return server.database()
    return f"{kind}:///{folder}/study.{'db' if kind == 'sqlite' else 'log'}"
