"""Artifact stores: somewhere that keeps bytes under keys. A folder here, S3 in its own module."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from worker.protocol.errors import ArtifactError, BadInput
from worker.protocol.urls import redact


class ArtifactStore(Protocol):
    """Keeps files under keys such as ``study/task/id/model.npz``.

    All methods raise `ArtifactError` with one line that says what failed and where.
    """

    @property
    def url(self) -> str:
        """Names the store; `open_store` opens it again. No credentials."""
        ...

    def check(self) -> None:
        """Prove that the store can be written. Raises `BadInput` when it can't."""
        ...

    def url_of(self, key: str) -> str:
        """Of one object."""
        ...

    def put_file(self, key: str, path: Path, mimetype: str) -> None:
        """Store a file, streaming. Whole or not at all."""
        ...

    def get_file(self, key: str, path: Path) -> None:
        """Write an object's bytes to `path`, streaming."""
        ...

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when it is not there."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`."""
        ...


class FileStore:
    """A folder, local or shared."""

    def __init__(self, base: Path) -> None:
        self._base = base

    @property
    def url(self) -> str:
        return f"file://{quote(str(self._base))}"

    def url_of(self, key: str) -> str:
        return f"file://{quote(str(self._path(key)))}"

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") or "\x00" in part for part in parts):
            raise ArtifactError(f"artifact store {self.url}: {key!r} is no valid key")
        return self._base.joinpath(*parts)

    def check(self) -> None:
        probe = self._base / f".probe-{uuid.uuid4().hex}"
        try:
            self._base.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise BadInput(
                f"artifact store {self.url}: the folder can't be written: {error.strerror or error}"
            ) from error

    def put_file(self, key: str, path: Path, mimetype: str) -> None:
        target = self._path(key)
        with self._refusals(key):
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=".part-")
            try:
                with open(path, "rb") as source, open(descriptor, "wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                    copy.flush()
                    os.fsync(copy.fileno())
                os.replace(partial, target)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(partial)
                raise

    def get_file(self, key: str, path: Path) -> None:
        source = self._path(key)
        if not source.is_file():
            raise ArtifactError(
                f"artifact store {self.url}: no object {key!r} (is this the machine it is on?)"
            )
        with self._refusals(key):
            shutil.copyfile(source, path)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._refusals(key):
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._base:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def list(self, prefix: str) -> Iterator[str]:
        for folder, _, files in os.walk(self._base):
            for name in files:
                key = (Path(folder) / name).relative_to(self._base).as_posix()
                if not name.startswith(".part-") and key.startswith(prefix):
                    yield key

    @contextlib.contextmanager
    def _refusals(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArtifactError(f"artifact store {self.url}: {key!r}: {error.strerror or error}") from error


def open_store(url: str) -> ArtifactStore:
    """The store that `url` names: ``file:///PATH`` (or a plain path), ``s3://BUCKET/PREFIX``.

    Raises:
        BadInput: it is none of these, or holds credentials, which belong in the environment.
    """
    shown = redact(url)
    if "://" not in url:
        return FileStore(Path(url).expanduser().absolute())
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise BadInput(
            f"artifact store {shown}: leave credentials out of the URL; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY instead"
        )
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise BadInput(f"artifact store {shown}: write three slashes: file:///PATH")
        return FileStore(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        if not parts.netloc:
            raise BadInput(f"artifact store {shown}: no bucket; write s3://BUCKET/PREFIX")
        from worker.artifacts.s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"))
    if parts.scheme == "gs":
        raise BadInput(f"artifact store {shown}: Google Cloud Storage is not supported by this version yet")
    raise BadInput(f"artifact store {shown}: use file:///PATH or s3://BUCKET/PREFIX")
