"""Fixtures of all tests: real servers, and how commands are started."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests import forkserver, optuna_schema

optuna_schema.read_once()
# A shell that runs the tests in the background has them ignore Ctrl-C, and so all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.redisserver",
    "tests.s3server",
    "tests.mariadb",
    "tests.postgresql",
    "tests.gcsserver",
    "tests.dashboard",
]


@pytest.fixture(autouse=True)
def starts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Commands are forked from a process that has imported them, except for ``real_start`` tests."""
    forkserver.enabled = request.node.get_closest_marker("real_start") is None
    yield
    forkserver.enabled = True
