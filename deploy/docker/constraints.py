"""Prints constraints.txt: the versions, in this environment, of all that optuna-rq and its extras need.

To renew it, in a clone whose tests have passed:
    .venv/bin/python deploy/docker/constraints.py > deploy/docker/constraints.txt
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXTRAS = ("dashboard", "gcs", "mysql", "postgresql")
"""Those that an image may be built with."""
UNPINNED = {"setuptools"}
"""Of these, what stands in an environment was chosen by who made it, for its Python."""
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def requirements() -> list[str]:
    """What pyproject.toml asks for; what is installed of optuna-rq itself may be older than that."""
    project: dict[str, Any] = tomllib.loads(PROJECT.read_text())["project"]
    return [
        *project["dependencies"],
        *(line for name in EXTRAS for line in project["optional-dependencies"][name]),
    ]


def closure(lines: list[str], extra: str = "", found: dict[str, str] | None = None) -> dict[str, str]:
    """Name → version of what requirements need, and those in turn. What isn't installed is left out."""
    found = {} if found is None else found
    for requirement in map(Requirement, lines):
        if requirement.marker and not requirement.marker.evaluate({**default_environment(), "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *sorted(requirement.extras)):
            key = f"{name}[{wanted}]" if wanted else name
            if key in found:
                continue
            try:
                installed = distribution(name)
            except PackageNotFoundError:
                break  # it is for another Python or platform
            found[key] = installed.version
            closure(installed.requires or [], wanted, found)
    return found


if __name__ == "__main__":
    print("# Versions of the image's packages: those that the tests ran with. Written by constraints.py.")
    for package, version in sorted(closure(requirements()).items()):
        if "[" not in package and package not in UNPINNED:
            print(f"{package}=={version}")
