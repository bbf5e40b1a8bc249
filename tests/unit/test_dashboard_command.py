"""`controller dashboard`: who is let in, by which name, and what it refuses before it listens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller.commands.dashboard_command import dashboard
from controller.dashboard import hosts as dashboard_hosts
from controller.dashboard import server
from controller.dashboard.hosts import accepted_hosts, bare_host
from controller.dashboard.optuna_artifacts import StudiesArtifacts
from worker.protocol.errors import BadInput

TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command would have served: (site, rules, options) each time."""
    found: list[Any] = []

    def serve(site: Any, rules: Any, listening: Any, **options: Any) -> None:
        listening.close()
        options["ready"]()
        found.append((site, rules, options))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "serve", serve)
    for name in ("REDIS_URL", "OPTUNA_RQ_TOKEN", "OPTUNA_RQ_READ_TOKEN", "OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "trials.journal").touch()
    monkeypatch.setenv("OPTUNA_STORAGE", f"journal://{tmp_path}/trials.journal")
    return found


def call(*arguments: str) -> Any:
    return CliRunner().invoke(dashboard, ["--port", "0", *arguments])


def test_on_this_machine_the_address_has_a_random_token(served: list[Any]) -> None:
    first, second = call(), call("--allow-actions")
    assert first.exit_code == second.exit_code == 0, first.output
    tokens = [rules.tokens for _, rules, _ in served]
    assert len({tokens[0].full, tokens[0].read, tokens[1].full, tokens[1].read}) == 4
    assert all(len(token.full) >= 32 for token in tokens)
    assert f"/?token={tokens[0].full}" in first.stdout
    assert "to look only" not in first.stdout, "the first token only looks as well"
    assert f"?token={tokens[1].read}" in second.stdout


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.2"])
def test_other_machines_need_a_token_that_somebody_has_named(
    host: str, served: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = call("--host", host)
    assert isinstance(refused.exception, BadInput)
    assert f"--host {host} lets other machines in" in str(refused.exception)
    assert served == []
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    done = call("--host", host, "--token-file", "token")
    assert done.exit_code == 0, done.output
    assert TOKEN not in done.output, "it is not for logs"
    assert served[-1][1].tokens.full == TOKEN
    monkeypatch.setenv("OPTUNA_RQ_TOKEN", TOKEN + "2")
    monkeypatch.setenv("OPTUNA_RQ_READ_TOKEN_FILE", "token")
    assert call("--host", host).exit_code == 0
    assert (served[-1][1].tokens.full, served[-1][1].tokens.read) == (TOKEN + "2", TOKEN)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"short", "at least 16 letters"),
        (b"", "at least 16 letters"),
        (b"sixteen letters,\nand a second line", "on one line"),
        ("sechzehn Zeichen ü".encode(), "at least 16 letters"),
        (b"\xff" * 20, "isn't text"),
    ],
)
def test_bad_tokens(content: bytes, said: str, served: list[Any], tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    refused = call("--token-file", "token")
    assert isinstance(refused.exception, BadInput)
    assert said in str(refused.exception)
    assert "--token-file" in str(refused.exception)


def test_a_second_token_needs_a_first_and_differs(served: list[Any], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    assert "needs one that opens all" in str(call("--read-token-file", "token").exception)
    both = call("--read-token-file", "token", "--token-file", "token")
    assert "are the same" in str(both.exception)
    assert call("--read-token-file", "none").exit_code == 2


@pytest.mark.parametrize(
    ("given", "taken"),
    [("", ""), ("/", ""), ("hpo", "/hpo"), ("/a/b/", "/a/b")],
)
def test_prefixes(given: str, taken: str, served: list[Any]) -> None:
    done = call("--prefix", given)
    assert done.exit_code == 0, done.output
    assert served[0][2]["prefix"] == taken
    assert f"{taken}/?token=" in done.stdout


@pytest.mark.parametrize("given", ["a b", "/a?b", "/a//b", "/../a", "/ü", "http://x/"])
def test_what_is_no_prefix(given: str, served: list[Any]) -> None:
    assert "is no path" in str(call("--prefix", given).exception)


def test_a_missing_package_is_named(served: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in ("starlette", "plotly") else 1
    )
    said = str(call().exception)
    assert said == "dashboard: plotly, starlette can't be imported: pip install 'optuna-rq[dashboard]'"


def test_its_help_says_who_sees_what() -> None:
    text = " ".join(CliRunner().invoke(dashboard, ["--help"]).output.split())
    assert "anybody who has that sees everything" in text


OWN = ["node7", "node7.lab.example", "node7.local", "10.1.2.3", "fd00::7"]


def refusal(listening: str, host: str | None, *named: str) -> bool:
    """Whether a server that listens somewhere refuses a value of ``Host``."""
    return bare_host(host or "") not in accepted_hosts(listening, named)


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


def test_a_host_that_is_named(served: list[Any]) -> None:
    for listening in ("127.0.0.1", "0.0.0.0"):
        assert not refusal(listening, "HPO.example.com:443", "hpo.example.com", "203.0.113.7")
        assert not refusal(listening, "203.0.113.7", "hpo.example.com", "203.0.113.7")
        assert refusal(listening, "hpo.example.com")
    assert call("--allow-host", "a.example", "--allow-host", "b").exit_code == 0
    assert {"a.example", "b", "localhost"} <= served[0][1].hosts


@pytest.mark.parametrize(
    "identifier", ["t/x", "../t/x", "a/../../b", "/etc/passwd", "notes.txt", "", "..", "0" * 36]
)
def test_an_id_does_not_reach_into_another_study(identifier: str, tmp_path: Path) -> None:
    found = StudiesArtifacts(None, lambda name: f"file://{tmp_path}")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "x").write_text("theirs")
    (tmp_path / "notes.txt").write_text("at the store's root")
    from optuna.artifacts.exceptions import ArtifactNotFound

    for call in (found.open_reader, found.remove):
        with pytest.raises(ArtifactNotFound):
            call(identifier)
    assert (tmp_path / "t" / "x").exists()


def test_it_starts_without_what_few_ask_for() -> None:
    """Optuna's own dashboard brings scikit-learn along; figures are drawn when they are looked at."""
    script = (
        "import sys, controller.dashboard.server, controller.dashboard.app as app; list(app.page_modules()); "
        "print([name for name in ('optuna_dashboard', 'sklearn', 'plotly') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
