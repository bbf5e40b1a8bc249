"""The files of an embedded Redis: where they are, how they are made, and who may read them."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from worker.embedded.redis_owner import CONFIG_FILE, SOCKET_FOLDER_FILE, SOCKET_NAME
from worker.protocol.errors import BadInput

SOCKET_PATH_LIMIT = 103
"""Bytes a unix socket's path may take: 103 on macOS, 107 on Linux."""

_LOG_LIMIT_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class StateFolder:
    """A state folder, mode 0700. Nothing is created before `create`; the caller holds the start lock."""

    path: Path
    """Absolute, without symbolic links."""

    @property
    def log_file(self) -> Path:
        return self.path / "redis.log"

    @property
    def config_file(self) -> Path:
        return self.path / CONFIG_FILE

    @property
    def data_dir(self) -> Path:
        return self.path / "redis"

    @property
    def password_file(self) -> Path:
        return self.path / "redis.password"

    @property
    def _socket_folder_file(self) -> Path:
        return self.path / SOCKET_FOLDER_FILE

    def create(self) -> None:
        """Make the folder, private and kept out of git.

        Raises:
            BadInput: it can't be made or written, or isn't a folder.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if stat.S_IMODE(self.path.stat().st_mode) != 0o700:
                self.path.chmod(0o700)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise BadInput(
                f"can't use {self.path} as the state folder: {error.strerror or error}; "
                "run in a folder that you may write to, or set REDIS_URL"
            ) from error

    def has_data(self) -> bool:
        """Whether an earlier run left data here."""
        return any(file.is_file() and file.stat().st_size > 0 for file in self.data_dir.rglob("*"))

    def has_data_of_version_7(self) -> bool:
        """Whether the data has Redis 7's layout, which an older server wouldn't see: it would start empty."""
        return (self.data_dir / "appendonlydir").is_dir()

    def password(self) -> str | None:
        """The server's password, or None before the first start."""
        try:
            return self.password_file.read_text().strip() or None
        except FileNotFoundError:
            return None

    def make_password(self) -> str:
        """The server's password, made on the first start and kept."""
        password = self.password()
        if password is None:
            password = secrets.token_urlsafe(32)
            _write_private(self.password_file, password.encode() + b"\n")
        return password

    def socket(self) -> Path:
        """Path of the server's socket."""
        own = self.path / SOCKET_NAME
        if len(os.fsencode(own)) <= SOCKET_PATH_LIMIT:
            return own
        try:
            return Path(os.fsdecode(self._socket_folder_file.read_bytes())) / SOCKET_NAME
        except FileNotFoundError:
            return own

    def make_socket_folder(self) -> None:
        """If the state folder's path is too long for a socket, make a private folder for it elsewhere.

        Raises:
            BadInput: the path of the folder for temporary files is too long as well.
        """
        if len(os.fsencode(self.path / SOCKET_NAME)) <= SOCKET_PATH_LIMIT:
            return
        if self._socket_folder_file.exists() and _is_private(self.socket().parent):
            return
        for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp")):
            if len(os.fsencode(parent)) + len("/optuna-rq-12345678/") + len(SOCKET_NAME) <= SOCKET_PATH_LIMIT:
                folder = tempfile.mkdtemp(prefix="optuna-rq-", dir=parent)  # 0700, the owner's
                _write_private(self._socket_folder_file, os.fsencode(folder))
                return
        raise BadInput(
            f"TMPDIR={tempfile.gettempdir()} is too long a path for a unix socket: set TMPDIR=/tmp"
        )

    def write_config(self, password: str) -> None:
        """Write the server's configuration. It holds the password, which never is an argument."""
        self.data_dir.mkdir(exist_ok=True, mode=0o700)
        lines = [
            b"port 0",
            b"unixsocket " + _quoted(self.socket()),
            b"unixsocketperm 700",
            b"requirepass " + password.encode(),
            b"dir " + _quoted(self.data_dir),
            b"logfile " + _quoted(self.log_file),
            b"daemonize no",
            b"appendonly yes",
            b"appendfsync everysec",
            b"aof-load-truncated yes",
            b'save ""',
            b"maxmemory-policy noeviction",
        ]
        _write_private(self.config_file, b"\n".join(lines) + b"\n")

    def trim_log(self) -> int:
        """Set a long log aside. Returns the log's size in bytes, where the next start's lines begin."""
        try:
            size = self.log_file.stat().st_size
        except FileNotFoundError:
            return 0
        if size > _LOG_LIMIT_BYTES:
            self.log_file.replace(self.log_file.with_name("redis.log.1"))
            return 0
        return size

    def log_tail(self, offset: int, lines: int = 8) -> list[str]:
        """The last `lines` lines that the log has after `offset` bytes, without the password."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(offset)
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        password = self.password()
        if password:
            text = text.replace(password, "***")
        return [line for line in text.splitlines() if line.strip()][-lines:]


def _is_private(folder: Path) -> bool:
    """Whether this is a folder (no symbolic link) that is ours alone: others write to /tmp, too."""
    try:
        info = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not stat.S_IMODE(info.st_mode) & 0o077
    )


def _quoted(path: Path) -> bytes:
    """A path as a string of Redis' configuration language."""
    escaped = os.fsencode(path).replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"'


def _write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600, completely or not at all."""
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")  # 0600
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    os.replace(temporary, path)
