"""Storages that are away: which errors say so, and calls that wait."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy.exc
from optuna.storages import InMemoryStorage, JournalStorage

from tests.disks import fill, small_disk
from worker.trials import storage_retry
from worker.trials.journal import JournalFile
from worker.trials.storage_retry import beneath, is_away, retry_while_away

MINIMIZE = [optuna.study.StudyDirection.MINIMIZE]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_retry, "PAUSE_S", 0.0)


def raised(error: Exception, cause: Exception | None) -> Exception:
    """`error` as it is once raised from `cause`."""
    try:
        raise error from cause
    except Exception as caught:
        return caught


LOCKED = sqlalchemy.exc.OperationalError("INSERT", {}, Exception("database is locked"))
WRONG = sqlalchemy.exc.DataError("INSERT", {}, Exception("value out of range"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LOCKED, True),
        (WRONG, False),
        (raised(optuna.exceptions.StorageInternalError("x"), LOCKED), True),
        (raised(optuna.exceptions.StorageInternalError("x"), WRONG), False),
        (OSError(errno.EIO, "input/output error"), True),
        (OSError(errno.ENOSPC, "no space left"), True),
        (OSError(errno.ENOENT, "no such file"), False),
        (ValueError("x"), False),
        (None, False),
    ],
)
def test_errors_that_waiting_may_mend(error: BaseException | None, expected: bool) -> None:
    assert is_away(error) is expected


class Faulty:
    """A method that fails as often as it is told, and then returns 7."""

    def __init__(self, error: Exception, failures: int) -> None:
        self.error, self.failures, self.calls = error, failures, 0

    def read(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return 7


def journal(folder: Path) -> JournalStorage:
    return JournalStorage(JournalFile(str(folder / "j")))


def test_a_call_waits_until_the_storage_is_back(tmp_path: Path) -> None:
    faulty = Faulty(LOCKED, 2)
    seen: list[str] = []
    undo = retry_while_away(
        journal(tmp_path), seen.append, lambda: seen.append("back"), also=[(faulty, "read")]
    )
    assert faulty.read() == 7
    assert seen == ["database is locked", "database is locked", "back"]
    assert faulty.read() == 7
    assert len(seen) == 3  # nothing to wait for this time
    undo()
    faulty.calls = 0
    with pytest.raises(sqlalchemy.exc.OperationalError):
        faulty.read()


def test_other_errors_are_raised_at_once(tmp_path: Path) -> None:
    faulty = Faulty(WRONG, 1)
    seen: list[str] = []
    retry_while_away(journal(tmp_path), seen.append, also=[(faulty, "read")])
    with pytest.raises(sqlalchemy.exc.DataError):
        faulty.read()
    assert (faulty.calls, seen) == (1, [])


def test_what_the_waiting_raises_ends_it(tmp_path: Path) -> None:
    faulty = Faulty(LOCKED, 99)

    def give_up(reason: str) -> None:
        raise TimeoutError(reason)

    retry_while_away(journal(tmp_path), give_up, also=[(faulty, "read")])
    with pytest.raises(TimeoutError, match="database is locked"):
        faulty.read()
    assert faulty.calls == 1


def test_a_journal_storage_waits_in_its_own_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = journal(tmp_path)
    faulty = Faulty(OSError(errno.EIO, "input/output error"), 1)
    monkeypatch.setattr(storage, "get_all_studies", lambda: [faulty.read()])
    seen: list[str] = []
    retry_while_away(storage, seen.append)
    found: list[Any] = list(storage.get_all_studies())
    assert found == [7]
    assert seen == ["[Errno 5] input/output error"]


def test_a_journal_on_a_full_disk_stays_whole(tmp_path: Path) -> None:
    """What could not be written leaves no part of a line, and is written once there is room."""
    with small_disk(tmp_path / "disk") as disk:
        storage = journal(disk)
        study = optuna.create_study(storage=storage)
        filler = fill(disk)
        seen: list[str] = []

        def waiting(reason: str) -> None:
            seen.append(reason)
            assert (disk / "j").read_bytes().endswith(b"\n")
            filler.unlink(missing_ok=True)

        retry_while_away(storage, waiting)
        study.set_user_attr("big", "x" * 20_000)
        assert seen == ["[Errno 28] No space left on device"]
        (found,) = journal(disk).get_all_studies()
        assert found.user_attrs["big"] == "x" * 20_000


def test_a_storage_in_memory_is_left_alone() -> None:
    storage = InMemoryStorage()
    faulty = Faulty(LOCKED, 1)
    undo = retry_while_away(storage, lambda reason: None, also=[(faulty, "read")])
    with pytest.raises(sqlalchemy.exc.OperationalError):
        faulty.read()
    undo()
    assert beneath(storage) is storage


def test_the_database_under_optunas_cache(tmp_path: Path) -> None:
    storage = optuna.storages.get_storage(f"sqlite:///{tmp_path}/o.db")
    inner = beneath(storage)
    assert isinstance(inner, optuna.storages.RDBStorage)
    assert inner is not storage
    assert beneath(inner) is inner
