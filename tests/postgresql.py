"""A real PostgreSQL server for the tests, from Debian's package, on the loopback interface."""

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


class PostgreSQL:
    """One server in a folder of its own, with a user who has a password.

    Raises:
        RuntimeError: there is no PostgreSQL, or it does not start.
    """

    user, password = "tester", "s3cret-word"

    def __init__(self) -> None:
        # Not in a test's folder: as root, another user has to reach it.
        self._folder = Path(f"/tmp/orq-postgresql-{uuid.uuid4().hex[:8]}")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def start(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not found:
            raise RuntimeError("no PostgreSQL: apt install postgresql")
        programs = found[-1]
        self._folder.mkdir(mode=0o700)
        # It refuses to run as root; the package has a user for it.
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if as_user:
            shutil.chown(self._folder, "postgres")
        word, data = self._folder / "word", self._folder / "data"
        word.write_text(self.password)
        word.chmod(0o644)  # within a folder of that user's own
        subprocess.run(
            [*as_user, str(programs / "initdb"), "-D", str(data), "-U", self.user, f"--pwfile={word}",
             "--auth=scram-sha-256", "--no-sync"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        self._process = subprocess.Popen(
            [*as_user, str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(self.port),
             "-k", "", "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        if not wait_until(self._process, lambda: self._sql("SELECT 1"), START_TIMEOUT_S):
            self.stop()
            raise RuntimeError("PostgreSQL did not start")

    def database(self) -> str:
        """Make a database; returns its URL for Optuna, with the password."""
        name = f"d{uuid.uuid4().hex[:10]}"
        assert self._sql(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg2://{self.user}:{self.password}@127.0.0.1:{self.port}/{name}"

    def _sql(self, text: str) -> bool:
        done = subprocess.run(
            ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", "postgres", "-c", text],
            env={**os.environ, "PGPASSWORD": self.password},
            capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode == 0

    def stop(self) -> None:
        if self._process:
            # Not to the server's supervisor alone, which runuser is: to all of them.
            subprocess.run(["pkill", "-KILL", "-f", str(self._folder)], check=False)
            self._process.kill()
            self._process.wait(20)
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """One PostgreSQL server for all tests."""
    yield from serving(PostgreSQL())
