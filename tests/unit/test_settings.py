"""Where everything is: options, then environment, then defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy

from controller.commands.settings import open_redis, resolve
from worker.artifacts import open_store
from worker.protocol.errors import BadInput, RedisUnavailable

NAMED = {"REDIS_URL": "redis://env/1", "OPTUNA_STORAGE": "journal:///env.log", "ARTIFACT_STORE": "s3://env/x"}


def test_options_come_before_the_environment() -> None:
    found = resolve("redis://option/0", "sqlite:///option.db", "file:///option", environment=NAMED)
    assert (found.redis_url, found.storage_url, found.artifacts_url) == (
        "redis://option/0",
        "sqlite:///option.db",
        "file:///option",
    )
    assert not found.embedded


def test_the_environment_comes_before_the_defaults() -> None:
    found = resolve(environment=NAMED)
    assert [found.redis_url, found.storage_url, found.artifacts_url] == list(NAMED.values())


@pytest.mark.parametrize("environment", [{}, dict.fromkeys(NAMED, "")])
def test_defaults_lie_in_the_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    found = resolve(folder=tmp_path, environment=environment)
    assert found.embedded
    assert found.redis_url is None
    assert found.storage_url == f"sqlite:///{tmp_path}/.optuna-rq/optuna.db"
    assert found.artifacts_url == f"file://{tmp_path}/.optuna-rq/artifacts"
    assert found.state_folder == tmp_path / ".optuna-rq"


def test_the_folder_is_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve(environment={}).folder == tmp_path


@pytest.mark.parametrize("name", ["a b", "100%", "a%20b", "what?", "#1", "{x}", "user@host:1", "[f]", "ü☃"])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    """Defaults are URLs: whoever reads them must find the very folder."""
    folder = tmp_path / name
    old = sqlalchemy.__version__.startswith("2.0")  # the newest for Python 3.10
    if old and any(letter in name for letter in "?{}"):
        with pytest.raises(BadInput, match="set OPTUNA_STORAGE"):
            resolve(folder=folder, environment={})
        return
    found = resolve(folder=folder, environment={})
    assert sqlalchemy.make_url(found.storage_url).database == str(folder / ".optuna-rq/optuna.db")
    assert found.storage_url.format() == found.storage_url  # Optuna fills in {SCHEMA_VERSION}
    open_store(found.artifacts_url).check()
    assert (folder / ".optuna-rq/artifacts").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_questions_start_no_redis(tmp_path: Path) -> None:
    settings = resolve(folder=tmp_path, environment={})
    with (
        pytest.raises(BadInput, match="set REDIS_URL, or call this where"),
        open_redis(settings, create=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_named_redis_is_checked(tmp_path: Path) -> None:
    environment = {"REDIS_URL": "redis://:secret@127.0.0.1:1/0"}
    settings = resolve(folder=tmp_path, environment=environment)
    with pytest.raises(RedisUnavailable) as caught, open_redis(settings, create=True):
        pass
    assert "127.0.0.1:1/0: connection refused" in str(caught.value)
    assert "secret" not in str(caught.value)
