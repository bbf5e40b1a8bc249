"""A real redis-server for the tests, on a free port of the loopback interface.

`OPTUNA_RQ_TEST_REDIS_SERVER` names the binary to run; without it, the one that the embedded Redis would
take. Without any, tests that need one are skipped, and fail where ``CI=true``. The one from a wheel speaks
no TLS: for that, the first on PATH that does is taken.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import free_port
from worker.embedded.finder import find_redis_server, server_version
from worker.protocol.errors import BadInput

START_TIMEOUT_S = 30.0


class RedisServer:
    """A redis-server of its own: started on entering, stopped and its data removed on leaving.

    Args:
        password: asked for by the server; None for none.
        appendonly: keep the data in an append-only file, so that it survives `kill` and `start`.
        config: more lines for the configuration file, such as ``"maxclients 50"``.
        directory: the server's folder; a temporary one by default.
        tls: folder with its ``cert.pem`` and ``key.pem``: it speaks TLS, and nothing else. Clients of
            `client` don't verify it.

    Raises:
        BadInput: (on entering) there is no redis-server, or none that speaks TLS.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        password: str | None = None,
        appendonly: bool = False,
        config: Sequence[str] = (),
        directory: Path | None = None,
        tls: Path | None = None,
    ) -> None:
        self._tls = tls
        self.password = password
        self.port = 0
        """The port: chosen on the first start, kept from then on."""
        self._appendonly = appendonly
        self._config = tuple(config)
        self._cleanup = contextlib.ExitStack()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> Path:
        """Configuration, log and data."""
        if self._directory is None:
            self._directory = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="redis-")))
        return self._directory

    @property
    def pid(self) -> int:
        """The process id. The server has to run."""
        assert self._process is not None, "the server isn't running"
        return self._process.pid

    def url(self, db: int = 0, *, user: str = "", password: str | None = None) -> str:
        """The URL of a database, with the password: the server's, or that of a user."""
        password = password or self.password
        user_info = f"{user}:{quote(password, safe='')}@" if password else ""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}://{user_info}{self.host}:{self.port}/{db}"

    def client(self, db: int = 0) -> redis.Redis:
        """A client that never retries, so that a test sees each failure."""
        url = self.url(db) + ("?ssl_cert_reqs=none" if self._tls else "")
        return redis.Redis.from_url(url, socket_timeout=10.0, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Start the server, again after `kill` or `stop` on the same port and data, and wait for its PONG."""
        assert self._process is None, "the server is running"
        first = self.port == 0
        for last_try in (False, False, True):
            if first:
                self.port = free_port(self.host)
            with (self.directory / "output.log").open("ab") as output:
                self._process = subprocess.Popen(
                    [server_binary(tls=self._tls is not None), self._write_config()],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            if self._answers():
                return
            self.kill()
            if last_try or not first:  # the free port may have been taken by another process meanwhile
                break
        log = (self.directory / "output.log").read_text(errors="replace")
        raise AssertionError(f"redis-server did not start on port {self.port}:\n{log[-2000:]}")

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._end("kill")

    def stop(self) -> None:
        """End it with SIGTERM: it writes everything down first. Nothing happens if it isn't running."""
        self._end("terminate")

    def __enter__(self) -> RedisServer:
        try:
            self.start()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._cleanup.close()

    def _end(self, how: str) -> None:
        if self._process is not None:
            getattr(self._process, how)()
            self._process.wait(START_TIMEOUT_S)
            self._process = None

    def _write_config(self) -> Path:
        lines = [
            f"bind {self.host}",
            *([f"port {self.port}"] if self._tls is None else self._tls_lines(self._tls)),
            f'dir "{self.directory}"',
            "daemonize no",
            'save ""',
            f"appendonly {'yes' if self._appendonly else 'no'}",
            *([f'requirepass "{self.password}"'] if self.password else []),
            *self._config,
        ]
        path = self.directory / "redis.conf"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
        return path

    def _tls_lines(self, folder: Path) -> list[str]:
        return [
            "port 0",
            f"tls-port {self.port}",
            f'tls-cert-file "{folder}/cert.pem"',
            f'tls-key-file "{folder}/key.pem"',
            f'tls-ca-cert-file "{folder}/cert.pem"',
            "tls-auth-clients no",
        ]

    def _answers(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        with self.client() as client:
            while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
                try:
                    # The pid, because another server may answer on this port.
                    return bool(client.info("server")["process_id"] == self._process.pid)
                except (redis.ConnectionError, redis.TimeoutError):
                    time.sleep(0.01)
        return False


def server_binary(*, tls: bool = False) -> Path:
    """The redis-server to run. Raises `BadInput` when there is none, or none that speaks TLS."""
    named = os.environ.get("OPTUNA_RQ_TEST_REDIS_SERVER")
    if named and server_version(Path(named)) is None:
        raise BadInput(f"OPTUNA_RQ_TEST_REDIS_SERVER={named} is no redis-server that runs here")
    if not tls:
        return Path(named) if named else find_redis_server()
    folders = [str(Path(named).parent)] if named else []
    for folder in [*folders, *os.environ.get("PATH", "").split(os.pathsep), "/usr/bin"]:
        found = shutil.which("redis-server", path=folder)
        if found and _speaks_tls(found):
            return Path(found)
    raise BadInput("no redis-server that speaks TLS on PATH: apt install redis-server")


def _speaks_tls(binary: str) -> bool:
    # It refuses the level of logging if it knows what stands before, and else that.
    done = subprocess.run(
        [binary, "--tls-port", "0", "--loglevel", "none-such"], capture_output=True, text=True, check=False
    )
    return "tls-port" not in done.stdout + done.stderr


def need_server(*, tls: bool = False) -> None:
    """Skip the test, or fail it where ``CI=true``, when there is no redis-server to run."""
    try:
        server_binary(tls=tls)
    except BadInput as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One redis-server for all tests that don't need one of their own. Don't kill this one."""
    need_server()
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty database of the shared server."""
    with redis_server.client() as client:
        client.flushall()
        client.script_flush()
    return redis_server.url()
