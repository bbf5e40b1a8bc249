"""A folder as one .zip."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path


def zip_folder(folder: Path, target: Path) -> Path:
    """Write all that is in `folder` to `target`, names relative to it; returns `target`.

    Empty folders are kept and links followed, each folder once on the way down, so that a link to a folder
    above ends there. Devices and pipes are left out.

    Raises:
        OSError: something in it can't be read, or `target` can't be written.
        ValueError: the archive can't hold one of the names (not UTF-8).
    """
    # Level 1: what tasks save is mostly weights, which hardly get smaller and would take minutes.
    with zipfile.ZipFile(
        target, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False
    ) as archive:
        _add(archive, folder, "", target, frozenset())
    return target


def _add(archive: zipfile.ZipFile, folder: Path, inside: str, target: Path, above: frozenset[object]) -> None:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    entries = sorted(os.listdir(folder))
    if not entries and inside:
        archive.write(folder, inside)
    for name in entries:
        path, key = folder / name, inside + name
        if path.is_dir():
            _add(archive, path, f"{key}/", target, above | {identity})
        elif path.is_file() and not path.samefile(target):
            archive.write(path, key)
