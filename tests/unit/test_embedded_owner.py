"""The process that owns the embedded Redis: its locks, and what it leaves behind."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from worker.embedded import redis_owner
from worker.embedded.redis_owner import acquire, open_lock


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "some.lock"


def test_the_lock_keeps_the_name_that_earlier_versions_hold() -> None:
    assert redis_owner.OWNER_LOCK == "keeper.lock"


def test_a_lock_file_is_private_and_closed_on_exec(lock: Path) -> None:
    fd = open_lock(lock)
    try:
        assert lock.stat().st_mode & 0o777 == 0o600
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_a_lock_is_shared_or_exclusive(lock: Path) -> None:
    first, second = open_lock(lock), open_lock(lock)
    try:
        assert acquire(first, fcntl.LOCK_SH, 0)
        assert acquire(second, fcntl.LOCK_SH, 0)
        assert not acquire(second, fcntl.LOCK_EX, 0)
        os.close(first)
        first = open_lock(lock)
        assert acquire(second, fcntl.LOCK_EX, 0)
        assert not acquire(first, fcntl.LOCK_SH, 0)
    finally:
        os.close(first)
        os.close(second)


def test_a_lock_is_waited_for(lock: Path) -> None:
    holder, waiter = open_lock(lock), open_lock(lock)
    assert acquire(holder, fcntl.LOCK_EX, 0)
    started = time.monotonic()
    assert not acquire(waiter, fcntl.LOCK_EX, 0.05)
    assert time.monotonic() - started >= 0.05
    timer = threading.Timer(0.05, os.close, [holder])
    timer.start()
    assert acquire(waiter, fcntl.LOCK_EX, 10.0)
    timer.join()
    os.close(waiter)


@pytest.mark.parametrize(
    ("is_alive", "expected"), [(True, [signal.SIGTERM, signal.SIGKILL]), (False, [signal.SIGTERM])]
)
def test_the_server_is_ended_after_its_last_user(
    lock: Path, monkeypatch: pytest.MonkeyPatch, is_alive: bool, expected: list[signal.Signals]
) -> None:
    sent: list[int] = []

    def kill(pid: int, signum: int) -> None:
        assert pid == 12345
        sent.append(signum)
        if not is_alive:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(redis_owner, "STOP_TIMEOUT_S", 0.0)
    user, owner = open_lock(lock), open_lock(lock)
    assert acquire(user, fcntl.LOCK_SH, 0)
    waiting = threading.Thread(target=redis_owner._end_after_last_user, args=(owner, 12345), daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    assert sent == []
    os.close(user)
    waiting.join(10)
    assert sent == expected
    os.close(owner)


def test_the_socket_goes_with_its_private_folder(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / redis_owner.SOCKET_NAME).touch()
    (tmp_path / redis_owner.SOCKET_NAME).touch()
    (tmp_path / redis_owner.SOCKET_FOLDER_FILE).write_text(str(folder))
    redis_owner._remove_socket(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    redis_owner._remove_socket(str(tmp_path))  # nothing there: no error
