"""Storages that can't be opened: one line that says what to write, and the right exit code."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from worker.protocol.errors import BadInput, ServerAway
from worker.runner.check import check_storage as check_from_worker
from worker.trials.storage import check_url, file_of, open_storage

FORMS = "use sqlite:///PATH, journal:///PATH, mysql+pymysql://USER@HOST/DATABASE"

MALFORMED = [
    ("sqlite:/x.db", "write sqlite:///x.db for a file in this folder, sqlite:////x.db for one by its full path"),
    ("sqlite:x.db", "write sqlite:///x.db"),
    ("sqlite3:x.db", "write sqlite:///x.db"),
    ("sqlite3:///x.db", "write sqlite://… instead of sqlite3://…"),
    ("sqlite://x.db", "a path comes after three slashes: sqlite:///x.db"),
    ("sqlite://", "name a file, sqlite:///PATH"),
    ("sqlite:///", "name a file, sqlite:///PATH"),
    ("sqlite:///:memory:", "name a file, sqlite:///PATH"),
    ("journal:/x.log", "write journal:///x.log"),
    ("journal://", "it names no file"),
    ("journal:///", "it names no file"),
    ("postgres://h/d", "write postgresql+psycopg2://… instead of postgres://…"),
    ("mariadb://h/d", "write mysql+pymysql://… instead of mariadb://…"),
    ("mysql+pymysql://host", "it names no database"),
    ("mysql+pymysql://u:hidden-word@host:abc/d", "not a database's URL"),
    ("mysql+pymysql://u:hidden-word@host:99999/d", "there is no port 99999"),
    ("postgresql+psycopg2://host:0/d", "there is no port 0"),
    ("postgresql+nothing://u:hidden-word@host/d", "there is no kind of database 'postgresql+nothing'"),
    ("foo://x/y", "there is no kind of database 'foo'"),
    ("redis://head:6379/0", FORMS),
    ("https://head/x", FORMS),
    ("://", "not a database's URL"),
    ("nonsense", FORMS),
    ("x.db", "write sqlite:///x.db"),
    ("/data/x.db", "write sqlite:////data/x.db"),
    ("/data/x.log", "write journal:///data/x.log"),
    ("", FORMS),
    (":", FORMS),
]  # fmt: skip


@pytest.mark.parametrize(("url", "message"), MALFORMED)
def test_a_malformed_url_is_one_line(url: str, message: str) -> None:
    for call in (check_url, open_storage):
        with pytest.raises(BadInput) as refused:
            call(url)
        assert message in str(refused.value)
        assert refused.value.exit_code == 2
        assert "\n" not in str(refused.value)
        assert "hidden-word" not in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite:/x.db", "sqlite:x.db", "sqlite3:///x.db", "foo://x", "nonsense"])
def test_a_malformed_url_has_no_file(url: str) -> None:
    """`controller start` asks for it before anything else."""
    with pytest.raises(BadInput, match="storage"):
        file_of(url)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database\n" * 100)
    (tmp_path / "locked").mkdir(mode=0o500)
    return tmp_path


@pytest.mark.parametrize("kind", ["sqlite:///", "journal://"])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder", "folder is a folder; name a file in it"),
        ("text/x.db", "text can't be written: File exists"),
        ("text/x/y.db", "text can't be written|text/x can't be written"),
        ("locked/x.db", "locked can't be written: Permission denied"),
    ],
)
def test_a_place_that_can_hold_no_file(kind: str, place: str, message: str, places: Path) -> None:
    if place.startswith("locked") and os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    with pytest.raises(BadInput) as refused:
        open_storage(f"{kind}{places / place}")
    assert any(text in str(refused.value) for text in message.split("|"))
    assert refused.value.exit_code == 2


def test_a_file_that_is_no_database(places: Path) -> None:
    with pytest.raises(BadInput, match="file is not a database; name another file") as refused:
        open_storage(f"sqlite:///{places / 'text'}")
    assert not isinstance(refused.value, ServerAway)


def test_a_locked_database_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*arguments: object, **options: object) -> None:
        raise OperationalError("select", {}, sqlite3.OperationalError("database is locked"))

    monkeypatch.setattr("worker.trials.storage.RDBStorage", create)
    with pytest.raises(ServerAway, match="database is locked") as away:
        open_storage(f"sqlite:///{tmp_path / 'x.db'}")
    assert away.value.exit_code == 1


@pytest.mark.parametrize("driver", ["mysql+pymysql", "postgresql+psycopg2"])
@pytest.mark.parametrize(
    ("where", "message", "exit_code"),
    [
        ("127.0.0.1:1", "efused", 1),
        ("no-such-host.invalid", "no such host; correct its name", 2),
    ],
)
def test_a_database_server_that_is_not_there(driver: str, where: str, message: str, exit_code: int) -> None:
    pytest.importorskip(driver.partition("+")[2])
    with pytest.raises(ServerAway, match=message) as away:
        open_storage(f"{driver}://u:hidden-word@{where}/d")
    assert away.value.exit_code == exit_code
    assert "hidden-word" not in str(away.value)


@pytest.mark.parametrize(
    ("url", "kind", "exit_code"),
    [
        ("foo://x/y", BadInput, 2),
        ("mysql+pymysql://127.0.0.1:1/d", ServerAway, 1),
        ("mysql+pymysql://no-such-host.invalid/d", ServerAway, 2),
    ],
)
def test_a_worker_tells_them_apart_likewise(url: str, kind: type[BadInput], exit_code: int) -> None:
    pytest.importorskip("pymysql")
    with pytest.raises(kind) as refused:
        check_from_worker(url)
    assert (type(refused.value), refused.value.exit_code) == (kind, exit_code)
