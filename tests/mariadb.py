"""A real MariaDB server for the tests, from Debian's package, on the loopback interface."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import free_port, serving, wait_until

START_TIMEOUT_S = 60.0


class MariaDB:
    """One server in a folder of its own, with a user who has a password.

    Raises:
        RuntimeError: there is no MariaDB, or it does not start.
    """

    user, password = "tester", "s3cret-word"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def start(self) -> None:
        server, install = (
            shutil.which("mariadbd", path="/usr/sbin:/usr/bin"),
            shutil.which("mariadb-install-db"),
        )
        if server is None or install is None:
            raise RuntimeError("no MariaDB: apt install mariadb-server")
        data = self._folder / "data"
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        subprocess.run(
            [install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db",
             f"--datadir={data}", *as_root],
            check=True, capture_output=True,
        )  # fmt: skip
        self._socket = f"/tmp/orq-mariadb-{uuid.uuid4().hex[:8]}.sock"  # a socket's path must be short
        self._process = subprocess.Popen(
            [server, "--no-defaults", *as_root, f"--datadir={data}", f"--socket={self._socket}",
             f"--pid-file={self._folder}/pid", "--bind-address=127.0.0.1", f"--port={self.port}",
             "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"],  # no power cut to survive
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        user = f"CREATE USER IF NOT EXISTS '{self.user}'@'%' IDENTIFIED BY '{self.password}'"
        if not wait_until(self._process, lambda: self._sql(user), START_TIMEOUT_S):
            self.stop()
            raise RuntimeError("MariaDB did not start")

    def database(self) -> str:
        """Make a database; returns its URL for Optuna, with the password."""
        name = f"d{uuid.uuid4().hex[:10]}"
        assert self._sql(f"CREATE DATABASE {name}; GRANT ALL ON {name}.* TO '{self.user}'@'%'")
        return f"mysql+pymysql://{self.user}:{self.password}@127.0.0.1:{self.port}/{name}"

    def _sql(self, text: str) -> bool:
        done = subprocess.run(
            ["mariadb", "--no-defaults", "-uroot", f"--socket={self._socket}", "-e", text],
            capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(20)
            self._process = None


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """One MariaDB server for all tests."""
    yield from serving(MariaDB(tmp_path_factory.mktemp("mariadb")))
