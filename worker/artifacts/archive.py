"""A folder as one .zip, and back."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from worker.protocol.errors import ArtifactError
from worker.protocol.sizes import show_size


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


def unpack(archive: Path, folder: Path, limit: int) -> None:
    """Unpack plain files.

    Args:
        limit: bytes that may be written.

    Raises:
        ArtifactError: a name leads out of `folder`, it holds anything but files, or more than `limit`;
            what was written by then stays.
        OSError: `folder` can't be written.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = source.infolist()
            for member in members:
                _check_member(member)
            if sum(member.file_size for member in members) > limit:
                raise ArtifactError(f"it unpacks to more than the {show_size(limit)} it should have")
            folder.mkdir(parents=True)
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                # Not more than declared: the archive's reader ends there, and compares the checksum.
                with source.open(member) as reader, open(target, "xb") as writer:
                    shutil.copyfileobj(reader, writer)
                target.chmod((member.external_attr >> 16) & 0o755 | 0o600)
    except FileExistsError as error:
        raise ArtifactError(f"its archive has a name twice: {error.filename}") from error
    except (ArtifactError, OSError):
        raise
    except Exception as error:  # zlib's, lzma's and others, each its own
        raise ArtifactError(f"its archive can't be unpacked: {error}") from error


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = PurePosixPath(name).parts
    kind = (member.external_attr >> 28) & 0xF
    if not name or name.startswith("/") or "\\" in name or ".." in parts or member.is_dir():
        raise ArtifactError(f"its archive has a name that leads elsewhere: {name!r:.100}")
    if kind not in (0, 0x8):
        raise ArtifactError(f"its archive has something else than plain files: {name!r:.100}")
