"""What is written reads well, and names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.odd_words import ODD

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*/*.md")])
CODE = sorted(
    path for folder in ("controller", "worker", "examples") for path in (ROOT / folder).rglob("*.py")
)
ROOMS = {
    "sweep",
    "search",
    "results",
    "figures",
    "screen",
    "loop",
    "session",
    "studies",
    "api",
    "health",
    "commands",
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*PAGES, *CODE], ids=relative)
def test_no_odd_words(path: Path) -> None:
    assert [found[0] for found in ODD.finditer(path.read_text())] == []


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_map_names_files_that_exist(name: str) -> None:
    """Files of the controller are named from its rooms on, all others from the repository on."""
    page = (ROOT / name).read_text()
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|md|toml))`", page)
    assert named
    for path in named:
        base = ROOT / "controller" if path.split("/")[0] in ROOMS else ROOT
        assert (base / path).exists(), path
