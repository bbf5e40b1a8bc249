"""Looks at this machine's surroundings: packages, Python, git, drivers. Takes a tenth of a second or so.

Nothing is imported or started for it but git, which neither locks the repository nor runs the programs that
a repository may name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import socket
import subprocess
from importlib.metadata import Distribution, distributions
from pathlib import Path

from worker.protocol.surroundings import MAX_PACKAGES, MAX_UNTRACKED, GitState, Surroundings

GIT_S = 5.0
"""Longest wait for one answer of git's, in seconds."""
MAX_DIFF = 4 << 20
"""Bytes of a diff that are read."""
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "--no-optional-locks")
_DRIVER = Path("/proc/driver/nvidia/version")
_CUDA = Path("/usr/local/cuda/version.json")


def look(folder: Path, now: float) -> Surroundings:
    """This machine's surroundings.

    Args:
        folder: that programs start in.
        now: seconds since the epoch.
    """
    return look_with_diff(folder, now)[0]


def look_with_diff(folder: Path, now: float) -> tuple[Surroundings, str]:
    """As `look`, with what differs from git's commit; that may hold secrets."""
    state, diff = git_state(folder)
    found = Surroundings(
        at=now,
        host=socket.gethostname(),
        system=platform.platform(terse=True),
        machine=platform.machine(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=packages(),
        cuda=_cuda(),
        driver=_driver(),
        git=state,
    )
    return found, _text(diff)


def packages() -> dict[str, str]:
    """Name in small letters → version of each package that this Python would import, by name.

    One that comes from a repository has the commit behind its version, one that lies in a folder of its own
    ``(editable)``.
    """
    found: dict[str, str] = {}
    for distribution in distributions():
        name, version = _named(distribution)
        if name and len(found) < MAX_PACKAGES:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version + _origin(distribution))
    return dict(sorted(found.items()))


def _named(distribution: Distribution) -> tuple[str, str]:
    # Its properties would parse the whole of its description, twice.
    with contextlib.suppress(OSError, UnicodeError):
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        head = text.partition("\n\n")[0]
        name, version = (re.search(rf"^{field}: *(\S+)", head, re.M) for field in ("Name", "Version"))
        if name and version:
            return name[1], version[1]
    return "", ""


def _origin(distribution: Distribution) -> str:
    # Only the commit: the URL may have a password in it.
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        text = distribution.read_text("direct_url.json")
        about = json.loads(text) if text else {}
        if about.get("vcs_info"):
            return f" (commit {str(about['vcs_info'].get('commit_id', 'unknown'))[:40]})"
        if about.get("dir_info", {}).get("editable"):
            return " (editable)"
    return ""


def _driver() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"Module\D*?([0-9]+\.[0-9.]+)", _DRIVER.read_text(errors="replace"))
        return found[1] if found else ""
    return ""


def _cuda() -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(_CUDA.read_text())["cuda"]["version"])
    return os.environ.get("CUDA_VERSION", "")


def git_state(folder: Path) -> tuple[GitState | None, bytes]:
    """The repository that a folder lies in, and what differs from its commit, at most `MAX_DIFF` bytes of it.

    None and nothing without a repository, without git, or where git takes longer than `GIT_S`.
    """
    head = _ask(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return None, b""
    status = _ask(folder, "status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames") or b""
    branch = _ask(folder, "symbolic-ref", "--quiet", "--short", "HEAD") or b""
    entries = [_text(entry) for entry in status.split(b"\0") if entry]
    untracked = sorted(entry[3:] for entry in entries if entry.startswith("?? "))
    dirty = any(not entry.startswith("??") for entry in entries)
    diff = _diff(folder) if dirty else b""
    return GitState(
        commit=_text(head).strip(),
        branch=_text(branch).strip(),
        dirty=dirty,
        diff_sha256=hashlib.sha256(diff).hexdigest() if diff else "",
        untracked=tuple(untracked[:MAX_UNTRACKED]),
    ), diff


def _diff(folder: Path) -> bytes:
    return _ask(folder, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD") or b""


def _ask(folder: Path, *arguments: str) -> bytes | None:
    """What git answers, at most `MAX_DIFF` bytes; None when it doesn't."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [*_GIT, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout[:MAX_DIFF]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
