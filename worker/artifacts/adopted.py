"""Optuna's artifact stores where one of ours is wanted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.artifacts.checksum import NewHasher, new_sha256
from worker.artifacts.entry import Entry
from worker.artifacts.folder import FileStore
from worker.artifacts.names import checked_key
from worker.artifacts.stored import StoredObject
from worker.optuna_internals import store_folder, wrapped_store
from worker.protocol.errors import ArtifactError, BadInput

_METHODS = ("open_reader", "write", "remove")
_COPY_BYTES = 1 << 20


def adopt(found: Any) -> Any:
    """One of Optuna's stores as one of ours.

    A ``FileSystemArtifactStore``, ``Boto3ArtifactStore`` or ``GCSArtifactStore`` becomes our store of the
    same place, which uses the object's own client in this process; workers elsewhere open its URL with
    credentials of their own. A ``Backoff`` becomes what it wraps: ours wait for a store that is away by
    themselves. Any other object of Optuna's protocol is used as it is, and in this process only.

    Args:
        found: one of these.

    Raises:
        BadInput: it is none.
    """
    name = type(found).__name__
    if type(found).__module__.startswith("optuna.artifacts"):
        if name == "Backoff":
            return adopt(wrapped_store(found))
        if name == "FileSystemArtifactStore":
            return FileStore(Path(os.fspath(store_folder(found))).absolute())
        if name == "Boto3ArtifactStore":
            from worker.artifacts.s3 import S3Store  # noqa: PLC0415 - boto3, Google's client and Optuna take long to import

            return S3Store(found.bucket, "", client=found.client)
        if name == "GCSArtifactStore":
            from worker.artifacts.gcs import GCSStore  # noqa: PLC0415 - boto3, Google's client and Optuna take long to import

            return GCSStore(found.bucket_name, "", client=found.client)
    if not all(callable(getattr(found, method, None)) for method in _METHODS):
        raise BadInput(
            f"artifact store {found!r:.80}: give a URL, or one of Optuna's artifact stores "
            "(FileSystemArtifactStore, Boto3ArtifactStore, GCSArtifactStore)"
        )
    return AdoptedStore(found)


class AdoptedStore:
    """A store of the user's own, by Optuna's protocol, which knows neither lists nor addresses."""

    def __init__(self, found: Any) -> None:
        self._store = found

    @property
    def url(self) -> str:
        raise BadInput(
            f"artifact store {type(self._store).__name__}: a worker can't open it by a URL; use it within "
            "one program, or a file://, s3:// or gs:// store"
        )

    def url_of(self, key: str) -> str:
        return f"{type(self._store).__name__.lower()}:{key}"

    def check(self) -> None:
        return None

    def put_file(self, key: str, path: Path, mimetype: str | None) -> None:
        with self._refusals(key), open(path, "rb") as body:
            self._store.write(checked_key(key), body)

    def get_file(self, key: str, path: Path, new_hasher: NewHasher = new_sha256) -> str | None:
        with self._refusals(key), self._store.open_reader(checked_key(key)) as body, open(path, "wb") as file:
            shutil.copyfileobj(body, file, _COPY_BYTES)
        return None

    def open_object(self, key: str) -> StoredObject:
        raise ArtifactError(
            f"artifact store {type(self._store).__name__}: {key!r} can't be read in parts; download it"
        )

    def exists(self, key: str) -> bool:
        from optuna.artifacts.exceptions import ArtifactNotFound  # noqa: PLC0415 - boto3, Google's client and Optuna take long to import

        try:
            self._store.open_reader(checked_key(key)).close()
        except ArtifactNotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        if self.exists(key):
            self._store.remove(checked_key(key))

    def entries(self, prefix: str) -> Iterator[Entry]:
        raise ArtifactError(f"artifact store {type(self._store).__name__}: it can't list what it holds")

    def list(self, prefix: str) -> Iterator[str]:
        return (entry.key for entry in self.entries(prefix))

    def remove_leftovers(self, prefix: str, before: float) -> int:
        return 0

    def _refusals(self, key: str) -> _Refusals:
        return _Refusals(f"artifact store {type(self._store).__name__}: {key!r}")


class _Refusals:
    """Turns what a user's store raises into an `ArtifactError`."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ArtifactError):
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ArtifactError(f"{self._shown}: {reason}") from error
