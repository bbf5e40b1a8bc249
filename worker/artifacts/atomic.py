"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

_PARTIAL = re.compile(r"\.part-[0-9a-f]{32}")

_TRIES = 100
"""Each is lost only to another process's delete at just that moment."""


def is_partial(name: str) -> bool:
    """Whether a file of this name is one that `replacing` has not finished."""
    return _PARTIAL.fullmatch(name) is not None


@contextlib.contextmanager
def replacing(target: Path, *, overwrite: bool = True, durable: bool = True) -> Iterator[Path]:
    """Give an empty file beside `target` to write to; it takes the target's place when the block ends.

    When the block raises, nothing is left behind: neither the file nor folders that were made for it.

    Args:
        durable: have it on the disk before it takes its place, so that a power failure leaves it whole, too.
            A copy of what is elsewhere can do without.

    Raises:
        FileExistsError: `overwrite` is false and the target exists (by then).
        OSError: the folder can't be written.
    """
    missing = [folder for folder in target.parents if not folder.exists()]
    partial = _create_beside(target)
    try:
        yield partial
        if durable:
            # Opened again: the writer may have put another file in its place.
            with open(partial, "rb") as written:
                os.fsync(written.fileno())
        if overwrite:
            os.replace(partial, target)
        else:
            _move_exclusively(partial, target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        with contextlib.suppress(OSError):
            for folder in missing:
                folder.rmdir()
        raise


def _create_beside(target: Path) -> Path:
    partial = target.parent / f".part-{uuid.uuid4().hex}"
    for _ in range(_TRIES):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Not by tempfile: its files are for their owner only, and these are shared, as the umask says.
            os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return partial
        except (FileNotFoundError, FileExistsError):
            # A delete elsewhere removes folders that are empty, such as this one: before the file was in
            # it (not found), or between mkdir's "exists" and its look at what exists (exists).
            if target.parent.exists() and not target.parent.is_dir():
                break
    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent))


def _move_exclusively(partial: Path, target: Path) -> None:
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the best that is left
        if target.exists():
            raise FileExistsError(f"{target} exists") from None
        os.replace(partial, target)
    else:
        partial.unlink()
