"""Fixtures of all tests: real servers, and how commands are started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import forkserver, optuna_schema

optuna_schema.read_once()

pytest_plugins = [
    "tests.redisserver",
    "tests.s3server",
    "tests.mariadb",
    "tests.postgresql",
    "tests.gcsserver",
]


@pytest.fixture(autouse=True)
def starts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Commands are forked from a process that has imported them, except for ``real_start`` tests."""
    forkserver.enabled = request.node.get_closest_marker("real_start") is None
    yield
    forkserver.enabled = True
