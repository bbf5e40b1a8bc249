"""Files below a folder, without following symbolic links: who can write there can't lead out of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
_COPY_BYTES = 1 << 20


class LinkInTheWay(OSError):
    """A part of the path is a symbolic link."""

    def __init__(self, path: Path) -> None:
        super().__init__("a symbolic link below the store's folder is not followed")
        self.strerror = "a symbolic link below the store's folder is not followed"
        self.filename = os.fspath(path)


@contextlib.contextmanager
def opened_folder(base: Path, parts: Sequence[str]) -> Iterator[int]:
    """A descriptor of the folder ``base/parts…``, good for functions that take ``dir_fd``.

    Args:
        base: may be reached by links.
        parts: names of folders below it.

    Raises:
        LinkInTheWay: one of the parts is a link.
        OSError: there is no such folder, or it can't be opened.
    """
    descriptor = os.open(base, _FOLDER)
    try:
        for depth, part in enumerate(parts, 1):
            try:
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError:
                if _is_link(part, descriptor):
                    raise LinkInTheWay(base.joinpath(*parts[:depth])) from None
                raise
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def refuse_links(base: Path, parts: Sequence[str]) -> None:
    """Raise `LinkInTheWay` if one of `parts` is a link. The folder need not exist."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened_folder(base, parts):
        pass


def is_file(base: Path, parts: Sequence[str]) -> bool:
    """Whether ``base/parts…`` is a file, and no link to one. Raises `LinkInTheWay`, `OSError`."""
    try:
        with opened_folder(base, parts[:-1]) as folder:
            return stat.S_ISREG(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def remove_file(base: Path, parts: Sequence[str]) -> None:
    """Remove the file ``base/parts…`` (of a link, the link alone), and the folders that this leaves empty.

    Raises:
        LinkInTheWay, OSError: it can't be removed; that it is not there is no error.
    """
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        opened_folder(base, parts[:-1]) as folder,
    ):
        os.unlink(parts[-1], dir_fd=folder)
    for depth in range(len(parts) - 2, -1, -1):
        try:
            with opened_folder(base, parts[:depth]) as folder:
                os.rmdir(parts[depth], dir_fd=folder)
        except OSError:
            break


def open_file(base: Path, parts: Sequence[str]) -> int | None:
    """A descriptor to read the file ``base/parts…`` by; None if there is no such file.

    Raises:
        LinkInTheWay, OSError: it can't be reached or opened.
    """
    if not is_file(base, parts):
        return None
    with opened_folder(base, parts[:-1]) as folder:
        # A pipe that has come in its place would otherwise be waited for.
        descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def copy_file(base: Path, parts: Sequence[str], target: Path) -> bool:
    """Copy the file ``base/parts…`` to `target`; False if there is no such file.

    Raises:
        LinkInTheWay, OSError: it can't be reached or copied.
    """
    descriptor = open_file(base, parts)
    if descriptor is None:
        return False
    with open(descriptor, "rb") as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, _COPY_BYTES)
    return True


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False
