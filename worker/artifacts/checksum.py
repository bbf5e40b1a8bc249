"""Checksums of stored bytes.

SHA-256 stands in an artifact's description for people and other programs. BLAKE3, which is as hard to forge
and some ten times as fast, stands beside it, and is what a download is compared with.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from blake3 import blake3

from worker.protocol.errors import ArtifactError

if TYPE_CHECKING:
    from worker.artifacts.meta import ArtifactMeta


class Hasher(Protocol):
    """What works out a checksum from bytes in their order."""

    def update(self, data: bytes, /) -> Any: ...

    def hexdigest(self) -> str: ...


NewHasher = Callable[[], Hasher]


def new_sha256() -> Hasher:
    return hashlib.sha256()


def new_blake3() -> Hasher:
    return blake3()


def compared_by(meta: ArtifactMeta) -> tuple[str, NewHasher, str]:
    """What an artifact is compared with: the checksum's name, how to work it out, what it must be."""
    if meta.blake3 is not None:
        return "BLAKE3", new_blake3, meta.blake3
    return "SHA-256", new_sha256, meta.sha256  # of an earlier version, or of Optuna's


def checksums(
    path: Path, name: str, *hashers: NewHasher, stop: threading.Event | None = None
) -> tuple[int, list[str]]:
    """Size of a file in bytes, and its checksums, from reading it once.

    Args:
        stop: when it is set, nobody wants to know any more.

    Raises:
        ArtifactError: it can't be read; names the artifact `name`.
    """
    working, size = [new() for new in hashers], 0
    try:
        with open(path, "rb") as file:
            while (chunk := file.read(1 << 20)) and not (stop and stop.is_set()):
                for hasher in working:
                    hasher.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise ArtifactError(f"artifact {name!r}: {path} can't be read: {error.strerror or error}") from error
    return size, [hasher.hexdigest() for hasher in working]


@contextmanager
def checksums_meanwhile(
    path: Path, name: str, *hashers: NewHasher
) -> Iterator[Future[tuple[int, list[str]]]]:
    """Within, `checksums` works in a thread of its own."""
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="optuna-rq-checksum") as pool:
        try:
            yield pool.submit(lambda: checksums(path, name, *hashers, stop=stop))
        finally:
            stop.set()
