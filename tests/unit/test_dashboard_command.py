"""`controller dashboard` says who can see what it serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller.commands import dashboard as server
from controller.commands.dashboard import Guard, StudiesArtifacts
from controller.commands.dashboard_command import dashboard
from controller.dashboard import hosts as dashboard_hosts
from controller.dashboard.hosts import accepted_hosts


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


OWN = ["node7", "node7.lab.example", "node7.local", "10.1.2.3", "fd00::7"]


def refusal(listening: str, host: str | None, *named: str, method: str = "GET") -> bool:
    guard = Guard(
        lambda environ, respond: [b"shown"],
        StudiesArtifacts(None, "", {}),
        accepted_hosts(listening, named),
        allow_changes=False,
    )
    environ = {"REQUEST_METHOD": method, "PATH_INFO": "/dashboard"}
    if host is not None:
        environ["HTTP_HOST"] = host
    answer = b"".join(guard(environ, lambda status, headers: None))
    assert answer == b"shown" or b"this dashboard is not" in answer
    return answer != b"shown"


@pytest.fixture
def node7(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_hosts.socket, "gethostname", lambda: "node7")
    monkeypatch.setattr(dashboard_hosts.socket, "getfqdn", lambda: "node7.lab.example")
    monkeypatch.setattr(dashboard_hosts, "_addresses", lambda: {"10.1.2.3", "fd00::7"})


@pytest.mark.usefixtures("node7")
@pytest.mark.parametrize("listening", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::", "10.1.2.3", "node7"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "node7.evil.example", "localhost.evil.example",
     "xnode7", "8.8.8.8", "[fd00::8]:8080", "", None, "127.0.0.1@evil.example", "evil.example/127.0.0.1", "0.0.0.1",
     "\x1b[2J", "[::1", "::1:x", "localhost:8080:8080", "localhost evil"],
)  # fmt: skip
def test_foreign_hosts_are_refused_on_every_address(listening: str, host: str | None) -> None:
    assert refusal(listening, host)


@pytest.mark.usefixtures("node7")
@pytest.mark.parametrize("listening", ["0.0.0.0", "::", "10.1.2.3", "node7"])
@pytest.mark.parametrize("port", ["", ":8080"])
@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "[0:0::1]", "NODE7", "node7.", *OWN[:4], "[fd00::7]"]
)
def test_own_names_and_addresses_are_taken(listening: str, host: str, port: str) -> None:
    assert not refusal(listening, host + port)


@pytest.mark.usefixtures("node7")
@pytest.mark.parametrize("host", ["node7", "10.1.2.3", "node7.lab.example"])
def test_on_the_loopback_only_its_own_names_are_taken(host: str) -> None:
    assert refusal("127.0.0.1", host)
    assert not refusal("127.0.0.1", "localhost:1234")


def test_a_host_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for listening in ("127.0.0.1", "0.0.0.0"):
        assert not refusal(listening, "HPO.example.com:443", "hpo.example.com", "203.0.113.7")
        assert not refusal(listening, "203.0.113.7", "hpo.example.com", "203.0.113.7")
        assert refusal(listening, "hpo.example.com")
    served: list[dict[str, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "serve", lambda settings, **options: served.append(options))
    monkeypatch.delenv("REDIS_URL", raising=False)
    CliRunner().invoke(dashboard, ["--allow-host", "a.example", "--allow-host", "b"], catch_exceptions=False)
    assert served[0]["allow_hosts"] == ("a.example", "b")


@pytest.mark.parametrize(
    "identifier", ["t/x", "../t/x", "a/../../b", "/etc/passwd", "notes.txt", "", "..", "0" * 36]
)
def test_an_id_does_not_reach_into_another_study(identifier: str, tmp_path: Path) -> None:
    found = StudiesArtifacts(None, f"file://{tmp_path}", {})
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "x").write_text("theirs")
    (tmp_path / "notes.txt").write_text("at the store's root")
    from optuna.artifacts.exceptions import ArtifactNotFound

    for call in (found.open_reader, found.remove):
        with pytest.raises(ArtifactNotFound):
            call(identifier)
    assert (tmp_path / "t" / "x").exists()
