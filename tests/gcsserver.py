"""A server that speaks Google Cloud Storage's protocol, in a process of its own, for the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import free_port, listens, serving, wait_until

START_TIMEOUT_S = 30.0


class GCSServer:
    """Buckets in memory. Takes any credentials, as emulators do; `STORAGE_EMULATOR_HOST` leads to it."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self, name: str) -> None:
        body = f'{{"name": "{name}"}}'.encode()
        request = urllib.request.Request(
            f"{self.endpoint}/storage/v1/b?project=test", body, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()

    def start(self) -> None:
        binary = shutil.which("gcp-storage-emulator", path=str(Path(sys.executable).parent))
        if binary is None:
            raise RuntimeError("no gcp-storage-emulator: pip install gcp-storage-emulator")
        self._process = subprocess.Popen(
            [binary, "start", "--host", "127.0.0.1", "--port", str(self.port), "--in-memory", "-q"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if not wait_until(self._process, lambda: listens(self.port), START_TIMEOUT_S):
            self.stop()
            raise RuntimeError("gcp-storage-emulator did not start")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GCSServer]:
    """One server for all tests."""
    yield from serving(GCSServer())
