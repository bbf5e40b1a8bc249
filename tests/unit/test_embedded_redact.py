"""No secret of a URL is printed, and everything else is, character by character."""

from __future__ import annotations

import pytest

from worker.protocol.urls import redact


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("redis://:pw@host:6379/0", "redis://:***@host:6379/0"),
        ("rediss://user:pw@host", "rediss://user:***@host"),
        ("redis://pw@host/1", "redis://***@host/1"),
        ("redis://user:pw@[::1]:6379/0", "redis://user:***@[::1]:6379/0"),
        ("redis://host?password=pw&db=1", "redis://host?password=***&db=1"),
        ("unix:///a/b@c.sock?password=pw&db=0", "unix:///a/b@c.sock?password=***&db=0"),
        ("mysql+pymysql://u:pw@host:3306/db?charset=utf8", "mysql+pymysql://u:***@host:3306/db?charset=utf8"),
        ("postgresql://host/db?user=u&Password=pw", "postgresql://host/db?user=u&Password=***"),
        ("s3://AK:SK@bucket/path@v1", "s3://AK:***@bucket/path@v1"),
        (
            "https://host/x?X-Amz-Signature=pw&X-Amz-Credential=pw&versionId=3",
            "https://host/x?X-Amz-Signature=***&X-Amz-Credential=***&versionId=3",
        ),
        ("https://host/x?access_token=pw#part", "https://host/x?access_token=***#part"),
        ("https://host/x?secret%5Fkey=pw", "https://host/x?secret%5Fkey=***"),
    ],
)
def test_secrets_are_hidden(url: str, printed: str) -> None:
    assert redact(url) == printed


@pytest.mark.parametrize("password", ["p/w", "p?w", "p#w", "p@w", "p@w/x", "p:w", "12/34", "/", "%40pw"])
@pytest.mark.parametrize("user", ["", "user"])
def test_badly_quoted_passwords_are_hidden(user: str, password: str) -> None:
    assert redact(f"redis://{user}:{password}@host/0").replace("user", "") == "redis://:***@host/0"


def test_password_where_the_port_belongs_is_hidden() -> None:
    assert redact("redis://host:pw") == "redis://host:***"


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:6379/0?client_name=a@b",
        "redis://[::1]:6379/0",
        "redis://:6379/0",
        "sqlite:///a:b@c.db",
        "file:///x:y@z",
        "s3://bucket/path@v1",
        "postgresql://user@host/db",
        "postgresql://user:@host/db?keyboard=1&sslmode=require",
        "examples.digits:train",
        "",
    ],
)
def test_urls_without_a_secret_stay_as_they_are(url: str) -> None:
    assert redact(url) == url
