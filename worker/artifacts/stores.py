"""Artifact stores: somewhere that keeps bytes under keys, named by a URL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from worker.artifacts.checksum import NewHasher, new_sha256
from worker.artifacts.entry import Entry
from worker.artifacts.folder import FileStore
from worker.protocol.errors import ArtifactError, BadInput, Retryable
from worker.protocol.urls import redact

ACCEPTED = "use file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


class ArtifactStoreUnavailable(ArtifactError, Retryable):
    """The store can't be reached or is overloaded; the same call may succeed later."""


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


_given: dict[str, ArtifactStore] = {}
"""URL → the store of that place which was made of an object."""


def open_store(url: Any) -> ArtifactStore:
    """The store that `url` names: ``file:///PATH`` (or a plain path), ``s3://BUCKET/PREFIX``,
    ``gs://BUCKET/PREFIX``; or one of Optuna's artifact stores, see `worker.artifacts.adopted`.

    Nothing is reached yet, see `ArtifactStore.check`. A place that was once given as an object is opened by
    its URL with that object's client from then on, in this process.

    Raises:
        BadInput: it is none of these, or holds credentials, which belong in the environment.
    """
    if isinstance(url, os.PathLike):
        url = os.fspath(url)
    if not isinstance(url, str):
        from worker.artifacts.adopted import AdoptedStore, adopt

        adopted: ArtifactStore = adopt(url)
        if not isinstance(adopted, AdoptedStore):
            _given[adopted.url] = adopted
        return adopted
    if url in _given:
        return _given[url]
    shown = f"artifact store {redact(url)}"
    if not url.strip() or any(ord(letter) < 32 for letter in url):
        raise BadInput(f"artifact store {url!r}: names nothing; {ACCEPTED}")
    scheme, separator, rest = url.partition("://")
    if not separator:
        slip = re.match(r"(file|s3|gs):", url, re.IGNORECASE)
        if slip:
            # As a path it would quietly become a folder called "s3:".
            raise BadInput(f"artifact store: {slip[0]} needs two slashes more; {ACCEPTED}")
        try:
            return FileStore(Path(url).expanduser().absolute())
        except RuntimeError as error:
            raise BadInput(f"{shown}: there is no such user's home folder") from error
    place, slash, inside = rest.partition("/")
    if "@" in place or ":" in place:  # the latter: a secret with a slash in it, or a key without a bucket
        raise BadInput(
            f"{shown}: leave credentials out of the URL (and ports: see AWS_ENDPOINT_URL_S3); set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    match scheme.lower():
        case "file":
            if place not in ("", "localhost") or not slash:
                raise BadInput(f"{shown}: write three slashes: file:///PATH")
            return FileStore(Path("/" + os.fsdecode(unquote_to_bytes(inside)).lstrip("/")))
        case "s3":
            prefix = _checked_place(shown, "s3", place, inside)
            from worker.artifacts.s3 import S3Store  # boto3 takes a while to import

            return S3Store(place, prefix)
        case "gs":
            prefix = _checked_place(shown, "gs", place, inside)
            try:
                from worker.artifacts.gcs import GCSStore
            except ImportError as error:
                raise BadInput(
                    f"{shown}: google-cloud-storage isn't installed: pip install 'optuna-rq[gcs]'"
                ) from error
            return GCSStore(place, prefix)
    raise BadInput(f"{shown}: {ACCEPTED}")


def _checked_place(shown: str, scheme: str, bucket: str, prefix: str) -> str:
    """The prefix, if it and the bucket's name can be. Raises `BadInput`."""
    if not bucket:
        raise BadInput(f"{shown}: no bucket; write {scheme}://BUCKET/PREFIX")
    if not _BUCKET.fullmatch(bucket):
        raise BadInput(f"{shown}: {bucket!r} can't be a bucket's name; write {scheme}://BUCKET/PREFIX")
    if "?" in prefix:
        where = "AWS_REGION, AWS_ENDPOINT_URL_S3" if scheme == "s3" else "STORAGE_EMULATOR_HOST"
        raise BadInput(f"{shown}: no options in the URL; set {where} and the like instead")
    prefix = prefix.strip("/")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise BadInput(f"{shown}: {prefix!r} can't be a prefix: leave out empty names, . and ..")
    return prefix
