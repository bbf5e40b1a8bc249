"""Hosts that are really apart: network namespaces on one bridge, whose links can be cut. Needs root and iproute2."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

import pytest


class Network:
    """Namespaces ``<name>-<host>`` with an address each; this process is at the bridge's own.

    Args:
        name: short, of the bridge and the beginning of all other names.
        hosts: their names, short.
    """

    def __init__(self, name: str, hosts: Sequence[str]) -> None:
        self._name = name
        self._hosts = tuple(hosts)
        self._net = f"10.231.{os.getpid() % 250}"

    def address(self, host: str) -> str:
        return f"{self._net}.{10 + self._hosts.index(host)}"

    def inside(self, host: str, *argv: str) -> list[str]:
        """The command line that runs `argv` on a host, as the process itself."""
        return [_ip(), "netns", "exec", f"{self._name}-{host}", *argv]

    def cut(self, host: str) -> None:
        """Packets of and to the host vanish; it is told nothing."""
        _run("link", "set", f"{self._name}{host}", "nomaster")

    def heal(self, host: str) -> None:
        _run("link", "set", f"{self._name}{host}", "master", self._name)

    def __enter__(self) -> Network:
        self._remove()
        _run("link", "add", self._name, "type", "bridge")
        _run("addr", "add", f"{self._net}.1/24", "dev", self._name)
        _run("link", "set", self._name, "up")
        for host in self._hosts:
            space, link = f"{self._name}-{host}", f"{self._name}{host}"
            _run("netns", "add", space)
            _run("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            _run("link", "set", link, "master", self._name, "up")
            _run("-n", space, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _run("-n", space, "link", "set", "eth0", "up")
            _run("-n", space, "link", "set", "lo", "up")
        return self

    def __exit__(self, *about: object) -> None:
        self._remove()

    def _remove(self) -> None:
        for host in self._hosts:
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("netns", "del", f"{self._name}-{host}")
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("link", "del", f"{self._name}{host}")
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("link", "del", self._name)


def network(name: str, hosts: Sequence[str]) -> Iterator[Network]:
    """The body of a fixture. Without root tests are skipped, and fail where ``CI=true``."""
    missing = ""
    if os.geteuid() != 0:
        missing = "network namespaces need root"
    elif not shutil.which("ip"):
        missing = "no ip: apt install iproute2"
    if missing:
        if os.environ.get("CI") == "true":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    with Network(name, hosts) as made:
        yield made


def _ip() -> str:
    found = shutil.which("ip")
    assert found
    return found


def _run(*arguments: str) -> None:
    subprocess.run([_ip(), *arguments], check=True, capture_output=True)
