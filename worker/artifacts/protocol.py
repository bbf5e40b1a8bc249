"""What every artifact store does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from worker.artifacts.checksum import NewHasher, new_sha256
from worker.artifacts.entry import Entry
from worker.artifacts.stored import StoredObject
from worker.protocol.errors import ArtifactError, Retryable
from worker.protocol.faults import fault_of


class ArtifactStoreUnavailable(ArtifactError, Retryable):
    """The store can't be reached, is overloaded or full; the same call may succeed later."""


class NoSuchObject(ArtifactError):
    """The store has no object under that key: its bytes are gone, or never came."""


def not_written(message: str, error: OSError) -> ArtifactError:
    """What to raise for a file that could not be written: the kind that may pass for a disk that is full."""
    return (ArtifactStoreUnavailable if fault_of(error) else ArtifactError)(message)


class ArtifactStore(Protocol):
    """Keeps files under keys such as ``study/task/id/model.npz``: names divided by single slashes.

    All methods raise `ArtifactError` with one line that says what failed and where; the kind that may
    pass is an `ArtifactStoreUnavailable`. No message holds credentials.
    """

    @property
    def url(self) -> str:
        """Names the store; `open_store` opens it again. No credentials."""
        ...

    def check(self) -> None:
        """Prove that the store can be written, within some 15 seconds. Raises `BadInput` when it can't."""
        ...

    def url_of(self, key: str) -> str:
        """Of one object."""
        ...

    def put_file(self, key: str, path: Path, mimetype: str | None) -> None:
        """Store a file, streaming. Whole or not at all; replaces what was there."""
        ...

    def get_file(self, key: str, path: Path, new_hasher: NewHasher = new_sha256) -> str | None:
        """Write an object's bytes to `path`, streaming.

        After an `ArtifactStoreUnavailable` the same call may go on where this one broke off; after another
        error, what `path` holds is undefined.

        Returns:
            The checksum that `new_hasher` works out of the file as it can be read back, hexadecimal, where
            that was done on the way.
        """
        ...

    def open_object(self, key: str) -> StoredObject:
        """An object whose bytes are read in parts. Raises `NoSuchObject` if there is none."""
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when it is not there."""
        ...

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The objects whose keys begin with `prefix` ("" for all), in no particular order."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Their keys."""
        ...

    def remove_leftovers(self, prefix: str, before: float) -> int:
        """Remove what writes have left that were cut short before a moment (seconds since the epoch).

        Returns:
            How many there were.
        """
        ...
