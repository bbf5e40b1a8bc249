"""`controller dashboard` says who can see what it serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller.commands import dashboard as server
from controller.commands.dashboard_command import dashboard


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1", ""),
        ("localhost", ""),
        ("0.0.0.0", "controller: anybody who reaches 0.0.0.0:8080 can see all studies: no password\n"),
    ],
)
def test_an_address_that_others_reach_is_warned_of(
    host: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[dict[str, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "serve", lambda settings, **options: served.append(options))
    monkeypatch.delenv("REDIS_URL", raising=False)
    done = CliRunner().invoke(dashboard, ["--host", host])
    assert done.exit_code == 0, done.output
    assert done.stderr == said
    assert served[0]["host"] == host


def test_its_help_says_so_too() -> None:
    text = " ".join(CliRunner().invoke(dashboard, ["--help"]).output.split())
    assert "Anybody who reaches its port sees everything, as it asks for no password." in text
