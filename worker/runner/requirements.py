"""What a folder's requirements.txt asks for and this machine doesn't have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

FILE = "requirements.txt"
MAX_SHOWN = 10
MAX_SIZE = 1 << 20
"""Of one file, in bytes: a larger one is no list of requirements."""
_OTHER_FILE = re.compile(r"(?:-r|--requirement[\s=])\s*(.+)")


def also_missing(folder: Path) -> str:
    """To be added to a failure for want of a module; empty where nothing (else) is known to be missing."""
    found = missing(folder)
    if not found:
        return ""
    more = f" and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
    return f"; of its {FILE}, this machine lacks: {', '.join(found[:MAX_SHOWN])}{more}"


def missing(folder: Path) -> list[str]:
    """The requirements of `folder` that aren't installed here, or in another version, as a user reads them.

    What can't be told from the file alone is skipped: options, URLs, folders, extras' own requirements, and
    lines that are none.
    """
    found = {}
    for requirement in _requirements(folder / FILE, frozenset()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        try:
            version = metadata.version(requirement.name)
            if requirement.specifier.contains(version, prereleases=True):
                continue
            found[wanted] = f"{wanted} ({version} is installed)"
        except metadata.PackageNotFoundError:
            found[wanted] = wanted
        except (InvalidVersion, ValueError, TypeError):  # installed, its metadata damaged
            continue
    return list(found.values())


def _requirements(path: Path, above: frozenset[Path]) -> Iterator[Requirement]:
    try:
        path = path.resolve()
        if path in above or path.stat().st_size > MAX_SIZE:
            return
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return
    for line in text.replace("\\\n", " ").splitlines():
        line = f" {line}".split(" #")[0].strip()
        other = _OTHER_FILE.fullmatch(line)
        if other:
            yield from _requirements(path.parent / other[1], above | {path})
        elif line and not line.startswith("-"):
            try:
                yield Requirement(line.split(" --")[0])
            except InvalidRequirement:
                continue
