"""A bucket of Google Cloud Storage, through Google's client (extra ``optuna-rq[gcs]``).

Credentials come by Google's usual means: ``gcloud auth application-default login``,
``GOOGLE_APPLICATION_CREDENTIALS``, or the service account of the machine. ``STORAGE_EMULATOR_HOST`` names
another server that speaks the protocol.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from google.api_core import exceptions as refused
from google.auth import exceptions as auth
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from worker.artifacts.bucket import ProcessClient, ResumableDownloads
from worker.artifacts.checksum import NewHasher, new_sha256
from worker.artifacts.entry import Entry
from worker.artifacts.names import checked_key
from worker.artifacts.protocol import ArtifactStoreUnavailable, NoSuchObject
from worker.artifacts.ranges import Download
from worker.artifacts.stored import StoredObject
from worker.protocol.errors import ArtifactError, BadInput, ServerAway

CHUNK = 8 << 20
"""Bytes of one request of an upload or download; they are in memory."""
_PATIENT: dict[str, Any] = {"timeout": 60.0, "retry": DEFAULT_RETRY.with_timeout(15.0)}
"""Longest waits for an answer, and for one that is no error, in seconds; callers wait longer."""
_QUICK: dict[str, Any] = {"timeout": 5.0, "retry": None}
"""For `check`, whose answer a user waits for."""

_MAY_PASS = (
    refused.TooManyRequests,
    refused.ServerError,
    refused.RetryError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    auth.TransportError,
    ConnectionError,
)
_ERRORS = (
    refused.GoogleAPIError,
    auth.GoogleAuthError,
    requests.RequestException,
    ConnectionError,
    ValueError,
)


class GCSStore:
    """A prefix of a bucket. Safe to use from several threads, and after a fork.

    Args:
        client: to use in this process; by default one of its own.
    """

    def __init__(self, bucket: str, prefix: str, client: Any = None) -> None:
        self._name = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._clients = ProcessClient(client, storage.Client)
        self._downloads = ResumableDownloads(lambda error: isinstance(error, _MAY_PASS))

    @property
    def url(self) -> str:
        return f"gs://{self._name}/{self._prefix}".rstrip("/")

    def url_of(self, key: str) -> str:
        return f"gs://{self._name}/{self._key(key)}"

    def check(self) -> None:
        key = self._key(f".probe-{uuid.uuid4().hex}")
        try:
            with self._refusals(key):
                blob = self._bucket().blob(key)
                blob.upload_from_string(b"optuna-rq", **_QUICK)
                blob.delete(**_QUICK)
        except ArtifactError as error:
            kind = ServerAway if isinstance(error, ArtifactStoreUnavailable) else BadInput
            raise kind(str(error)) from error

    def put_file(self, key: str, path: Path, mimetype: str | None) -> None:
        with self._refusals(key):
            blob = self._bucket().blob(self._key(key), chunk_size=CHUNK)
            blob.upload_from_filename(os.fspath(path), content_type=mimetype, **_PATIENT)

    def get_file(self, key: str, path: Path, new_hasher: NewHasher = new_sha256) -> str:
        with self._refusals(key):
            return self._downloads.get(key, path, lambda: self._download(self._key(key), path), new_hasher)

    def _download(self, full: str, path: Path) -> Download:
        size, read = self._opened(full)
        return Download(size, read, path)

    def open_object(self, key: str) -> StoredObject:
        with self._refusals(key):
            size, read = self._opened(self._key(key))
        return StoredObject(
            name=f"artifact store {self.url}: {key!r}",
            size=size,
            reader=read,
            refusals=lambda: self._reading(key),
        )

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        with self._refusals(key):
            try:
                yield
            except refused.NotFound:
                raise self._missing(key) from None

    def _opened(self, full: str) -> tuple[int, Callable[[int, int], Any]]:
        """The size of an object, and what reads a range of it as it is now."""
        found = self._bucket().get_blob(full, **_PATIENT)
        if found is None:
            raise self._missing(full)
        # Of this generation only: what replaces it must not be mixed in.
        blob = self._bucket().blob(full, generation=found.generation)
        return int(found.size), lambda first, last: _Piece(blob, first, last)

    def _missing(self, full: str) -> ArtifactError:
        """Object or bucket, whichever is missing: an answer about an object doesn't say."""
        shown = f"artifact store {self.url}: {full!r}"
        if self._bucket().exists(**_PATIENT):
            return NoSuchObject(f"{shown}: no such object")
        return ArtifactError(f"{shown}: {self._explain(LookupError('bucket'))}")

    def exists(self, key: str) -> bool:
        with self._refusals(key):
            return bool(self._bucket().blob(self._key(key)).exists(**_PATIENT))

    def delete(self, key: str) -> None:
        with self._refusals(key), contextlib.suppress(refused.NotFound):
            self._bucket().blob(self._key(key)).delete(**_PATIENT)

    def entries(self, prefix: str) -> Iterator[Entry]:
        if "/" in prefix:
            checked_key(prefix.rpartition("/")[0])
        with self._refusals(prefix):
            found = self._client().list_blobs(self._name, prefix=self._prefix + prefix, **_PATIENT)
            for blob in found:
                key = str(blob.name).removeprefix(self._prefix)
                yield Entry(key=key, size=int(blob.size), modified=blob.updated.timestamp())

    def list(self, prefix: str) -> Iterator[str]:
        return (entry.key for entry in self.entries(prefix))

    def remove_leftovers(self, prefix: str, before: float) -> int:
        return 0  # uploads that were not finished vanish by themselves, after a week

    def _key(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _bucket(self) -> Any:
        return self._client().bucket(self._name)

    def _client(self) -> Any:
        return self._clients.get()

    @contextlib.contextmanager
    def _refusals(self, key: str) -> Iterator[None]:
        shown = f"artifact store {self.url}: {key!r}"
        try:
            yield
        except _ERRORS as error:
            kind = ArtifactStoreUnavailable if isinstance(error, _MAY_PASS) else ArtifactError
            raise kind(f"{shown}: {self._explain(error)}") from error
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            raise ArtifactError(f"{shown}: {error.strerror or error}{place}") from error

    def _explain(self, error: Exception) -> str:
        how = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
        if isinstance(error, auth.DefaultCredentialsError):
            return f"no credentials found; {how}"
        if isinstance(error, (auth.RefreshError, refused.Unauthorized)):
            return f"the credentials are refused; {how}"
        if isinstance(error, refused.Forbidden):
            return "access is denied; check the account's rights to this bucket"
        if isinstance(error, (refused.NotFound, LookupError)):
            return f"bucket {self._name!r} does not exist; create it"
        if isinstance(error, (requests.ConnectionError, requests.Timeout, auth.TransportError)):
            host = os.environ.get("STORAGE_EMULATOR_HOST", "Google Cloud Storage")
            return f"{host} does not answer, or the connection to it broke ({type(error).__name__})"
        return " ".join(str(error).split())[:300] or type(error).__name__


class _Piece:
    """A range of an object, read some megabytes at a time."""

    def __init__(self, blob: Any, first: int, last: int) -> None:
        self._blob, self._next, self._last = blob, first, last

    def read(self, size: int) -> bytes:
        end = min(self._next + CHUNK - 1, self._last)
        data: bytes = self._blob.download_as_bytes(
            start=self._next, end=end, raw_download=True, checksum=None, **_PATIENT
        )
        self._next += len(data)
        return data

    def close(self) -> None:
        pass
