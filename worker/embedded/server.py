"""The embedded Redis, as its users start and stop it."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import threading
import time
from enum import Enum
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.embedded import redis_owner
from worker.embedded.finder import find_redis_server
from worker.embedded.state import StateFolder
from worker.protocol.errors import RedisUnavailable

CLOSE_TIMEOUT_S = 3.0
"""Longest wait of ``close(wait=True)``, in seconds."""


class _State(Enum):
    ABSENT = "no server answers, or it is on its way out"
    LOADING = "the server reads its data"
    READY = "the server answers"


class EmbeddedRedis:
    """A redis-server under a state folder, shared by every process of this machine that asks for it.

    The server listens on a unix socket only, asks for a password, and writes each change to an
    append-only file (at most the last second is lost with the machine, nothing with the process). It
    belongs to an owner process, not to its users: it outlives each of them and ends, gracefully, when the
    last one has closed it or died. One object may be used by several threads.

    Args:
        state_dir: the state folder; created by the first `ensure`.
        start_timeout_s: longest start, in seconds, without the time for loading the data.
    """

    def __init__(self, state_dir: Path, *, start_timeout_s: float = 30.0) -> None:
        self._folder = StateFolder(path=Path(state_dir).resolve())
        self._start_timeout_s = start_timeout_s
        self._guard = threading.Lock()
        self._users_lock: int | None = None

    @staticmethod
    def exists(state_dir: Path) -> bool:
        """Whether an earlier run left data in this state folder. Creates and starts nothing."""
        return StateFolder(path=Path(state_dir).resolve()).has_data()

    @property
    def state_dir(self) -> Path:
        """The state folder, absolute, without symbolic links."""
        return self._folder.path

    @property
    def lock_fd(self) -> int | None:
        """The descriptor that keeps the server alive; None while this object isn't a user.

        A child process that inherits it (``subprocess.Popen(..., pass_fds=[lock_fd])``) keeps the server
        alive until it ends, even after this process.
        """
        return self._users_lock

    def ensure(self) -> str:
        """Start the server unless it runs, and count as its user until `close`.

        Calling it again is cheap, and brings back a server that was lost, with its data.

        Returns:
            Its URL, ``unix:///path/redis.sock?password=...``. It holds the password: `redact` it to print it.

        Raises:
            BadInput: there is no redis-server, or the state folder can't be used.
            RedisUnavailable: the server doesn't start; the message ends with its log's last lines.
        """
        with self._guard:
            if self._users_lock is None:
                self._folder.create()
                self._users_lock = self._locked(redis_owner.USERS_LOCK, fcntl.LOCK_SH)
            try:
                # Only now: while we hold the lock, the owner can't end the server.
                if self._state() is not _State.READY:
                    self._start()
            except BaseException:
                self._release()
                raise
            return self._url()

    def close(self, wait: bool = False) -> None:
        """Stop being a user; the server ends if there is no other. May be called twice.

        Args:
            wait: if this was the last user, return once the server has ended (after at most 3 s).
        """
        with self._guard:
            if self._users_lock is None:
                return
            self._release()
            if wait:
                self._wait_until_gone()

    def __enter__(self) -> EmbeddedRedis:
        self.ensure()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _url(self) -> str:
        return f"unix://{quote(str(self._folder.socket()))}?password={self._folder.password()}"

    def _state(self) -> _State:
        if self._folder.password() is None or not _is_held(self._folder.path / redis_owner.OWNER_LOCK):
            # A server without its owner may still answer, but not for long.
            return _State.ABSENT
        return self._ping()

    def _ping(self) -> _State:
        with self._client() as client:
            try:
                client.ping()
            except redis.BusyLoadingError:
                return _State.LOADING
            except (redis.RedisError, OSError):
                return _State.ABSENT
            return _State.READY

    def _client(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self._folder.socket()),
            password=self._folder.password(),
            socket_timeout=2.0,
            retry=Retry(NoBackoff(), 0),
        )

    def _start(self) -> None:
        # A long wait: the lock's holder may be waiting for a server that loads its data.
        start_lock = self._locked("start.lock", fcntl.LOCK_EX, timeout_s=10 * self._start_timeout_s)
        try:
            while self._state() is _State.LOADING:  # its starter is gone; the server isn't
                time.sleep(0.05)
            if self._state() is _State.READY:
                return
            self._end_orphan()
            if self._folder.has_data_of_version_7():
                server = find_redis_server((7, 0), why=f"Redis 7 or newer wrote {self._folder.data_dir}")
            else:
                server = find_redis_server()
            self._folder.make_socket_folder()
            self._folder.write_config(self._folder.make_password())
            log_offset = self._folder.trim_log()
            alive = self._spawn_owner(server)
            try:
                self._wait_until_ready(alive, log_offset)
            finally:
                os.close(alive)
        finally:
            os.close(start_lock)

    def _end_orphan(self) -> None:
        """End a server whose owner was killed. Linux ends it by itself; elsewhere it would run for ever."""
        if self._folder.password() is None or not _is_held(self._folder.path / redis_owner.SERVER_LOCK):
            return
        with self._client() as client:
            try:
                client.shutdown(nosave=True)  # keeps the append-only file; there is no snapshot to save
            except (redis.RedisError, OSError):
                return

    def _spawn_owner(self, server: Path) -> int:
        """Start the owner. Returns the reading end of a pipe that reaches its end when the owner does."""
        alive, owners_end = os.pipe()
        try:
            log = os.open(self._folder.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                subprocess.run(
                    # Isolated and without site: quick, small, and no module of the user's is loaded.
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        redis_owner.__file__,
                        self.state_dir,
                        server,
                        str(owners_end),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[owners_end],
                    start_new_session=True,
                    check=False,
                )
            finally:
                os.close(log)
        except BaseException:
            os.close(alive)
            raise
        finally:
            os.close(owners_end)
        return alive

    def _wait_until_ready(self, alive: int, log_offset: int) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            state = self._state()
            if state is _State.READY:
                return
            if state is _State.LOADING:
                deadline = time.monotonic() + self._start_timeout_s
            if select.select([alive], [], [], 0.01)[0]:
                break  # the owner has ended
        tail = self._folder.log_tail(log_offset)
        raise RedisUnavailable(
            "\n  ".join(
                [
                    f"the embedded Redis did not start; its log is {self._folder.log_file}"
                    f"{' and ends with:' if tail else ''}",
                    *tail,
                ]
            ),
            input_is_wrong=False,
        )

    def _locked(self, name: str, operation: int, timeout_s: float | None = None) -> int:
        path = self._folder.path / name
        fd = redis_owner.open_lock(path)
        try:
            if redis_owner.acquire(fd, operation, timeout_s or self._start_timeout_s):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        raise RedisUnavailable(
            f"the embedded Redis in {self._folder.path} neither comes up nor goes away ({name} is taken): "
            f"see {self._folder.log_file}, and end the redis-server of that folder",
            input_is_wrong=False,
        )

    def _release(self) -> None:
        if self._users_lock is not None:
            # Closed, not unlocked: a child that inherited the descriptor still holds the lock.
            os.close(self._users_lock)
            self._users_lock = None

    def _wait_until_gone(self) -> None:
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        users = redis_owner.open_lock(self._folder.path / redis_owner.USERS_LOCK)
        try:
            while time.monotonic() < deadline:
                if not _is_held(self._folder.path / redis_owner.SERVER_LOCK):
                    return
                if not _try(users, fcntl.LOCK_EX) and _try(users, fcntl.LOCK_SH):
                    return  # shared by others
                fcntl.flock(users, fcntl.LOCK_UN)
                time.sleep(0.02)
        finally:
            os.close(users)


def _try(fd: int, operation: int) -> bool:
    return redis_owner.acquire(fd, operation, timeout_s=0)


def _is_held(path: Path) -> bool:
    """Whether some process holds this lock exclusively."""
    if not path.exists():
        return False
    fd = redis_owner.open_lock(path)
    try:
        return not _try(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)
