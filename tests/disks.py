"""Disks that are full: small file systems of their own. They need root, as CI has it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """A file system of `size` at `folder`. Skips the test without root, and fails it where ``CI=true``."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no file system can be mounted: {mounted.stderr.decode()}")
        pytest.skip("a full disk needs root to be made")
    try:
        yield folder
    finally:
        # Lazily: what was killed may still have it open.
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Fill a disk to its last byte; returns the file that does, to be deleted."""
    path = folder / "filler"
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path
