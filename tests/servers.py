"""What the real servers of the tests have in common."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import pytest


class Server(Protocol):
    """A server that tests start and stop."""

    def start(self) -> None:
        """Raises `RuntimeError` when it isn't installed or does not start."""

    def stop(self) -> None: ...


S = TypeVar("S", bound=Server)


def serving(server: S) -> Iterator[S]:
    """The body of a fixture: the server, running. Without it tests are skipped, and fail where ``CI=true``."""
    try:
        server.start()
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    yield server
    server.stop()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(process: subprocess.Popen[bytes], answers: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a server's first answer. False when it has ended, or says nothing in time."""
    deadline = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < deadline:
        if answers():
            return True
        time.sleep(0.05)
    return False
