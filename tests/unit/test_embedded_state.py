"""The files of the embedded Redis, without a server."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from worker.embedded.state import SOCKET_PATH_LIMIT, StateFolder
from worker.protocol.errors import BadInput


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_private_and_ignored_by_git(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state"
    path.mkdir(parents=True, mode=0o755)
    StateFolder(path=path).create()
    assert mode(path) == 0o700
    assert (path / ".gitignore").read_text() == "*\n"


def test_a_file_in_its_place_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(BadInput, match=r"can't use .*/state as the state folder: .*REDIS_URL"):
        StateFolder(path=tmp_path / "state").create()


def test_the_password_is_made_once_and_private(tmp_path: Path) -> None:
    folder = StateFolder(path=tmp_path)
    assert folder.password() is None
    password = folder.make_password()
    assert len(password) >= 32
    assert folder.make_password() == password == folder.password()
    assert mode(folder.password_file) == 0o600
    assert StateFolder(path=tmp_path / "other").password() is None


def test_the_configuration_is_private_and_quotes_paths(tmp_path: Path) -> None:
    path = tmp_path / 'a "b" \\c'
    path.mkdir()
    folder = StateFolder(path=path)
    folder.write_config("pw")
    assert mode(folder.config_file) == 0o600
    text = folder.config_file.read_text()
    assert f'dir "{tmp_path}/a \\"b\\" \\\\c/redis"\n' in text
    for line in (
        "port 0",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("extra", [0, 1])
def test_a_long_path_puts_the_socket_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    missing = SOCKET_PATH_LIMIT + extra - len(str(tmp_path / "x" / "redis.sock"))
    assert missing > 0, "pytest's own folder is too long for this test"
    path = tmp_path / ("x" + "y" * missing)
    path.mkdir()
    folder = StateFolder(path=path)
    folder.make_socket_folder()
    socket = folder.socket()
    try:
        assert (socket.parent == path) == (extra == 0)
        assert len(str(socket)) <= SOCKET_PATH_LIMIT
        folder.make_socket_folder()
        assert StateFolder(path=path).socket() == socket, "remembered"
        if extra:
            assert mode(socket.parent) == 0o700
            socket.parent.chmod(0o755)
            folder.make_socket_folder()
            assert folder.socket() != socket, "a folder open to others is not used"
    finally:
        for used in {socket.parent, folder.socket().parent} - {path}:
            used.rmdir()


def test_the_logs_tail_hides_the_password(tmp_path: Path) -> None:
    folder = StateFolder(path=tmp_path)
    password = folder.make_password()
    folder.log_file.write_text("earlier\n")
    offset = folder.trim_log()
    with folder.log_file.open("a") as log:
        log.write(f"1\n2\n\nrequirepass {password}\n")
    assert folder.log_tail(offset, lines=2) == ["2", "requirepass ***"]
    assert folder.log_tail(offset) == ["1", "2", "requirepass ***"]
