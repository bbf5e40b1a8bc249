"""The surroundings of what ran: Python, packages, git's state, drivers; as one value for each machine.

A worker writes its own, so each text is bounded where it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.protocol.bounds import MAX_STAMP, bounded_float
from worker.protocol.errors import RecordError
from worker.protocol.printable import one_line

MAX_PACKAGES = 5000
"""Packages of one machine that are kept, in the order of their names."""
MAX_WORD = 200
"""Characters of one text that are kept."""
MAX_UNTRACKED = 50
"""Names of files that git doesn't know, of one folder."""
MAX_DOCUMENT = 1 << 19
"""Characters of one machine's surroundings as JSON; a longer text is refused."""


@dataclass(frozen=True, kw_only=True)
class GitState:
    """A folder's repository."""

    commit: str
    branch: str = ""
    """Empty where no branch is checked out."""
    dirty: bool = False
    """Files differ from the commit."""
    diff_sha256: str = ""
    """Of what differs; empty where nothing does, or it can't be said."""
    untracked: tuple[str, ...] = ()
    """Files and folders that git doesn't know, the first `MAX_UNTRACKED`."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "commit": self.commit,
            "branch": self.branch,
            "dirty": self.dirty,
            "diff_sha256": self.diff_sha256,
            "untracked": list(self.untracked),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> GitState:
        """Inverse of `as_dict`. Raises `KeyError`, `TypeError` or `AttributeError`."""
        return cls(
            commit=_word(data["commit"]),
            branch=_word(data.get("branch", "")),
            dirty=bool(data.get("dirty", False)),
            diff_sha256=_word(data.get("diff_sha256", "")),
            untracked=tuple(_word(name) for name in list(data.get("untracked", ()))[:MAX_UNTRACKED]),
        )


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a program finds on one machine. An empty text stands for what nobody knows."""

    at: float
    """When it was looked at, seconds since the epoch."""
    host: str = ""
    system: str = ""
    """The operating system and its kernel."""
    machine: str = ""
    """The processor's architecture."""
    python: str = ""
    """Implementation and version."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Name in small letters → version of each installed package."""
    cuda: str = ""
    """Version of the CUDA toolkit that the machine names."""
    driver: str = ""
    """Version of NVIDIA's driver."""
    git: GitState | None = None
    """Of the folder that programs start in; None outside a repository."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        texts = {name: getattr(self, name) for name in _TEXTS}
        git = self.git.as_dict() if self.git else None
        return {"at": self.at, **texts, "packages": dict(self.packages), "git": git}

    def encode(self) -> str:
        """As JSON."""
        return json.dumps(self.as_dict(), separators=(",", ":"))

    @classmethod
    def of(cls, data: Any) -> Surroundings:
        """Inverse of `as_dict`. Raises `RecordError`."""
        try:
            packages = {_word(name): _word(version) for name, version in data.get("packages", {}).items()}
            return cls(
                at=bounded_float(data["at"], 0.0, MAX_STAMP),
                packages=dict(sorted(packages.items())[:MAX_PACKAGES]),
                git=GitState.of(data["git"]) if data.get("git") else None,
                **{name: _word(data.get(name, "")) for name in _TEXTS},
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise RecordError(f"surroundings: {type(error).__name__}: {error}") from error

    @classmethod
    def decode(cls, text: str) -> Surroundings:
        """Inverse of `encode`. Raises `RecordError`."""
        if len(text) > MAX_DOCUMENT:
            raise RecordError(f"surroundings: too long: {len(text)} characters")
        try:
            return cls.of(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise RecordError(f"surroundings: {error}") from error

    def requirements(self) -> str:
        """The packages as ``pip install -r`` reads them. Those of other kinds stand there as comments."""
        lines = []
        for name, version in self.packages.items():
            plain, space, rest = version.partition(" ")
            lines.append(f"# {name}=={plain} {rest}" if space else f"{name}=={plain}")
        return "".join(f"{line}\n" for line in lines)


_TEXTS = ("host", "system", "machine", "python", "cuda", "driver")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing in which two surroundings differ."""

    what: str
    """``python``, ``package numpy``, ``git commit`` …"""
    before: str
    """Empty for what isn't there, or isn't known."""
    after: str

    def as_dict(self) -> dict[str, str]:
        return {"what": self.what, "before": self.before, "after": self.after}

    def __str__(self) -> str:
        return f"{self.what}: {self.before or 'none'} → {self.after or 'none'}"


def differences(
    before: Surroundings, after: Surroundings, *, code: bool = True, host: bool = True
) -> list[Difference]:
    """What differs between two surroundings, packages last.

    Args:
        code: compare git's state, too; not where a study brings its own code.
        host: compare the names of the machines, too.
    """
    return list(_differences(before, after, code=code, host=host))


def _differences(
    before: Surroundings, after: Surroundings, *, code: bool, host: bool
) -> Iterator[Difference]:
    for name in _TEXTS:
        if name != "host" or host:
            yield from _differs(name, getattr(before, name), getattr(after, name))
    if code:
        for name in ("commit", "branch", "changes"):
            yield from _differs(f"git {name}", _git(before.git, name), _git(after.git, name))
    for name in sorted({**before.packages, **after.packages}):
        yield from _differs(f"package {name}", before.packages.get(name, ""), after.packages.get(name, ""))


def _git(state: GitState | None, name: str) -> str:
    if state is None:
        return ""
    if name != "changes":
        return str(getattr(state, name))
    return (state.diff_sha256[:12] or "some") if state.dirty else "clean"


def _differs(what: str, before: str, after: str) -> Iterator[Difference]:
    if before != after:
        yield Difference(what=what, before=before, after=after)


def _word(value: Any) -> str:
    return one_line(str(value), MAX_WORD)
