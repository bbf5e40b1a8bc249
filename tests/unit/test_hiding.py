"""What is kept of a diff holds no secrets, and is bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.insight.hiding import MAX_DIFF, is_secret_file, kept_diff, without_secrets

SECRET = "hunter2-Tr0ub4dor"


@pytest.mark.parametrize(
    "line",
    [
        f'+password = "{SECRET}"',
        f"+password: {SECRET}",
        f"+PASSWORD={SECRET}",
        f"+  'api_key': '{SECRET}',",
        f'+os.environ["WANDB_API_KEY"] = "{SECRET}"',
        f'+os.environ.setdefault("HF_TOKEN", "{SECRET}")',
        f'+token: str = "{SECRET}"',
        f"+client.login(token='{SECRET}')",
        f"+url = 'redis://:{SECRET}@head:6379/0'",
        f'+engine = create_engine("postgresql://me:{SECRET}@db/optuna")',
        f"+https://bucket.example/x?X-Amz-Signature={SECRET}",
        f'+headers = {{"Authorization": "Bearer {SECRET}"}}',
        f"+curl -H 'X: Bearer {SECRET}'",
        f"+./train --api-key {SECRET}",
        f"+AWS_SECRET_ACCESS_KEY={SECRET}",
        f'+secret = b"{SECRET}"',
        "+password = 12345678901",
    ],
)
def test_secrets_are_hidden(line: str) -> None:
    shown = without_secrets(line)
    assert SECRET not in shown
    assert "12345678901" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "word",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "hf_abcdefghijklmnopqrst",
        "sk-abcdefghijklmnopqrstuv",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ],
)
def test_known_formats_are_hidden_wherever_they_stand(word: str) -> None:
    assert word not in without_secrets(f"+x({word})")


@pytest.mark.parametrize(
    "line",
    [
        "+lr = 0.01",
        "+max_tokens = 512",
        "+tokens = tokenizer(text)",
        "+token = None",
        '+password = ""',
        "+url = 'https://example.com/data.csv'",
        "+    return self.token",
    ],
)
def test_code_stays(line: str) -> None:
    assert without_secrets(line) == line


def test_what_the_environment_holds_is_hidden_wherever_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://:from-a-file@head/0\n")
    environment = {"MY_TOKEN": "abc-def-ghi", "REDIS_URL_FILE": str(file), "HOME": "/home/me"}
    kept = kept_diff("+print('abc-def-ghi', 'from-a-file', '/home/me')", environment)
    assert kept.text == "+print('***', '***', '/home/me')"
    assert kept.hidden == 1


def test_files_that_hold_secrets_are_left_out() -> None:
    diff = (
        "diff --git a/conf/.env b/conf/.env\n--- a/conf/.env\n+++ b/conf/.env\n+X=1\n"
        "diff --git a/a.py b/a.py\n+y = 2\n"
    )
    kept = kept_diff(diff, {})
    assert kept.text == (
        "diff --git a/conf/.env b/conf/.env\n(***: such a file may hold secrets)\ndiff --git a/a.py b/a.py\n+y = 2"
    )
    assert [is_secret_file(path) for path in ("k/id_rsa", ".aws/config", "a/server.pem", "secrets.toml")] == [
        True
    ] * 4
    assert [is_secret_file(path) for path in ("train.py", "secrets.py", "envs/base.yaml")] == [False] * 3


def test_private_keys_are_hidden_to_their_end() -> None:
    lines = [
        "+k = '''-----BEGIN RSA PRIVATE KEY-----",
        "+MIIEabc",
        "+-----END RSA PRIVATE KEY-----'''",
        "+x = 1",
    ]
    assert kept_diff("\n".join(lines), {}).text.splitlines() == ["+***", "+***", "+***", "+x = 1"]


def test_a_diff_is_bounded_at_the_end_of_a_line() -> None:
    kept = kept_diff("\n".join(f"+x = {number:08d}" for number in range(10_000)), {})
    assert len(kept.text) <= MAX_DIFF
    assert kept.text.splitlines()[-1].startswith("+x = ")
    assert len(kept.text.splitlines()[-1]) == 13
    assert kept.left_out > 0
