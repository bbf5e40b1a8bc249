"""Secrets: read from the environment or from files, refused in arguments, and who has to have one."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.commands.settings import resolve as resolve_controller
from worker.protocol.errors import BadInput
from worker.protocol.host import is_open
from worker.protocol.secrets import JOB_SECRET, MIN_LENGTH, SECRETS, job_secret, refuse_secret, secret
from worker.slot.settings import WorkerSettings
from worker.slot.settings import resolve as resolve_worker

LONG = "0123456789abcdef"


def refused(call: object, *arguments: object, **named: object) -> str:
    assert callable(call)
    with pytest.raises(BadInput) as caught:
        call(*arguments, **named)
    assert len(caught.value.problems) == 1
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("name", SECRETS)
def test_from_the_environment_or_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "word").write_text(f"  {LONG}\n\n")
    assert secret(name, {}) is None
    assert secret(name, {name: "", f"{name}_FILE": ""}) is None
    assert secret(name, {name: LONG}) == LONG
    assert secret(name, {f"{name}_FILE": str(tmp_path / "word")}) == LONG
    assert secret(name, {name: "", f"{name}_FILE": str(tmp_path / "word")}) == LONG


@pytest.mark.parametrize("name", SECRETS)
def test_files_that_can_not_be_used(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "word").write_text(LONG)
    variable = f"{name}_FILE"
    for file, why in (
        ("nothing", "can't be read: No such file or directory"),
        ("", "can't be read: Is a directory"),
        ("empty", "is empty"),
        ("binary", "can't be read: it isn't text"),
        ("word/x", "can't be read: Not a directory"),
    ):
        said = refused(secret, name, {variable: str(tmp_path / file)})
        assert said == f"{variable}: {tmp_path / file} {why}"
    said = refused(secret, name, {variable: str(tmp_path / "word"), name: "another one"})
    assert said == f"{name} and {variable} are both set; set one of them"


def test_a_job_secret_has_some_length(tmp_path: Path) -> None:
    assert job_secret({}) is None
    assert job_secret({JOB_SECRET: LONG}) == LONG
    (tmp_path / "word").write_text(LONG[:-1] + "\n\n\n\n")
    for environment in ({JOB_SECRET: LONG[:-1]}, {f"{JOB_SECRET}_FILE": str(tmp_path / "word")}):
        said = refused(job_secret, environment)
        assert said.startswith(
            f"{JOB_SECRET}: {MIN_LENGTH - 1} characters are too few, it takes {MIN_LENGTH}; "
        )
        assert LONG[:-1] not in said


SECRET_URLS = [
    "redis://:pa55word@host:6379/0",
    "redis://user:pa55word@host",
    "rediss://user:pa55word@host/0?ssl_ca_certs=/x",
    "redis://pa55word@host",
    "redis://host:6379/0?password=pa55word",
    "unix://:pa55word@/tmp/redis.sock",
    "postgresql://u:pa55word@host/db",
    "postgresql+psycopg2://u:pa55word@host:5432/db?sslmode=require",
    "mysql+pymysql://u:pa55word@host/db",
    "postgresql://host/db?user=u&password=pa55word",
]  # fmt: skip
PLAIN_URLS = [
    None,
    "redis://host:6379/0",
    "rediss://host:6379/0?ssl_ca_certs=/etc/ca.pem",
    "unix:///tmp/redis.sock",
    "sqlite:///optuna.db",
    "postgresql://u@host/db",
    "postgresql:///db?host=/var/run/postgresql",
]  # fmt: skip


@pytest.mark.parametrize("url", SECRET_URLS)
def test_no_secret_in_an_argument(url: str) -> None:
    said = refused(refuse_secret, "--redis", url, "REDIS_URL")
    assert "pa55word" not in said
    assert "seen by everybody on this machine; set REDIS_URL or REDIS_URL_FILE instead" in said


@pytest.mark.parametrize("url", PLAIN_URLS)
def test_an_argument_without_a_secret(url: str | None) -> None:
    refuse_secret("--redis", url, "REDIS_URL")


# Who may go without any


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0", "redis://127.0.0.1", "redis://127.0.0.2:1", "redis://[::1]:6379/0", "redis://",
        "unix:///tmp/redis.sock", "redis://:word@10.0.0.1", "redis://user:word@redis.example:6379/0",
        "redis://10.0.0.1?password=word", "rediss://:word@redis.example",
    ],
)  # fmt: skip
def test_a_redis_that_not_everybody_can_use(url: str) -> None:
    assert not is_open(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://10.0.0.1", "redis://redis.example:6379/0", "rediss://redis.example", "redis://[2001:db8::1]",
        "redis://0.0.0.0", "redis://localhost.example", "redis://user@10.0.0.1", "redis://user:@10.0.0.1",
        "redis://[::ffff:10.0.0.1]", "redis://127.1.example",
    ],
)  # fmt: skip
def test_a_redis_that_everybody_can_use(url: str) -> None:
    assert is_open(url)


def settings(
    tmp_path: Path, *, insecure: bool = False, redis_url: str | None = None, **env: str
) -> WorkerSettings:
    return resolve_worker(
        redis_url=redis_url, queues=("default",), slots=1, artifacts=None, burst=False, drain_s=1.0,
        name=None, insecure=insecure, folder=tmp_path, environment=env,
    )  # fmt: skip


def test_a_worker_wants_a_password_or_a_secret(tmp_path: Path) -> None:
    url = "redis://10.9.8.7:6379/0"
    said = refused(settings, tmp_path, REDIS_URL=url)
    assert said.startswith(f"Redis at {url} asks for no password, and jobs aren't signed: ")
    assert "set OPTUNA_RQ_SECRET" in said
    assert settings(tmp_path, REDIS_URL=url, OPTUNA_RQ_SECRET=LONG).job_secret == LONG
    assert settings(tmp_path, REDIS_URL="redis://:word@10.9.8.7:6379/0").job_secret is None
    assert settings(tmp_path, insecure=True, REDIS_URL=url).redis_url == url
    assert settings(tmp_path, redis_url="redis://127.0.0.1:6379/0").redis_url
    (tmp_path / "word").write_text(LONG)
    assert settings(tmp_path, REDIS_URL=url, OPTUNA_RQ_SECRET_FILE=str(tmp_path / "word")).job_secret == LONG


def test_settings_don_t_show_their_secrets(tmp_path: Path) -> None:
    found = settings(tmp_path, REDIS_URL="redis://:pa55word@h/0", OPTUNA_STORAGE="postgresql://u:pa55word@h/d", OPTUNA_RQ_SECRET=LONG)  # fmt: skip
    assert found.storage_url == "postgresql://u:pa55word@h/d"
    assert LONG not in repr(found)
    assert "pa55word" not in repr(found)
    head = resolve_controller(
        folder=tmp_path,
        environment={"REDIS_URL": "redis://:pa55word@h/0", "OPTUNA_STORAGE": "postgresql://u:pa55word@h/d"},
    )
    assert head.redis_url == "redis://:pa55word@h/0"
    assert "pa55word" not in repr(head)


def test_options_with_secrets_are_refused_by_both(tmp_path: Path) -> None:
    for url in SECRET_URLS[:6]:
        assert "--redis" in refused(settings, tmp_path, redis_url=url)
        assert "--redis" in refused(resolve_controller, redis_url=url, folder=tmp_path, environment={})
    for url in SECRET_URLS[6:]:
        said = refused(resolve_controller, storage_url=url, folder=tmp_path, environment={})
        assert "OPTUNA_STORAGE_FILE" in said
        assert "pa55word" not in said
