"""Artifact stores: somewhere that keeps bytes under keys, named by a URL."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from worker.artifacts.adopted import AdoptedStore, adopt
from worker.artifacts.folder import FileStore
from worker.artifacts.protocol import ArtifactStore
from worker.protocol.errors import BadInput
from worker.protocol.urls import redact

ACCEPTED = "use file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


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
        adopted: ArtifactStore = adopt(url)
        if not isinstance(adopted, AdoptedStore):
            _given[adopted.url] = adopted
        return adopted
    return _given.get(url) or _named(url)


def _named(url: str) -> ArtifactStore:
    """The store that a text names. Raises `BadInput`."""
    shown = f"artifact store {redact(url)}"
    if not url.strip() or any(ord(letter) < 32 for letter in url):
        raise BadInput(f"artifact store {url!r}: names nothing; {ACCEPTED}")
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _folder(url, shown)
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
            from worker.artifacts.s3 import S3Store  # noqa: PLC0415 - boto3 takes long to import

            return S3Store(place, prefix)
        case "gs":
            return _google(shown, place, _checked_place(shown, "gs", place, inside))
    raise BadInput(f"{shown}: {ACCEPTED}")


def _folder(path: str, shown: str) -> FileStore:
    """The folder of a plain path. Raises `BadInput`."""
    slip = re.match(r"(file|s3|gs):", path, re.IGNORECASE)
    if slip:
        # As a path it would quietly become a folder called "s3:".
        raise BadInput(f"artifact store: {slip[0]} needs two slashes more; {ACCEPTED}")
    try:
        return FileStore(Path(path).expanduser().absolute())
    except RuntimeError as error:
        raise BadInput(f"{shown}: there is no such user's home folder") from error


def _google(shown: str, bucket: str, prefix: str) -> ArtifactStore:
    """A bucket of Google's. Raises `BadInput` where its client is not installed."""
    try:
        from worker.artifacts.gcs import GCSStore  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BadInput(
            f"{shown}: google-cloud-storage isn't installed: pip install 'optuna-rq[gcs]'"
        ) from error
    return GCSStore(bucket, prefix)


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
