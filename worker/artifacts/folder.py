"""A folder, local or shared, as an artifact store."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from worker.artifacts.atomic import is_partial, replacing
from worker.artifacts.beneath import copy_file, is_file, open_file, refuse_links, remove_file
from worker.artifacts.checksum import NewHasher, new_sha256
from worker.artifacts.entry import Entry
from worker.artifacts.names import checked_key
from worker.artifacts.protocol import NoSuchObject, not_written
from worker.artifacts.stored import StoredObject
from worker.protocol.errors import ArtifactError, BadInput

_PROBE = re.compile(r"\.probe-[0-9a-f]{32}")
PROBE_BYTES = 1 << 16
"""What has to fit for a folder to count as one that can be written."""


class FileStore:
    """Keys are paths below the folder. Safe to use from several threads, processes and machines.

    The folder may be a symbolic link; links below it are not followed.
    """

    def __init__(self, base: Path) -> None:
        self._base = base

    @property
    def url(self) -> str:
        return _file_url(self._base)

    def url_of(self, key: str) -> str:
        return _file_url(self._path(key))

    def _path(self, key: str) -> Path:
        return self._base.joinpath(*_parts(key))

    def check(self) -> None:
        probe = self._base / f".probe-{uuid.uuid4().hex}"
        try:
            self._base.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(bytes(PROBE_BYTES))
        except OSError as error:
            raise BadInput(
                f"artifact store {self.url}: the folder can't be written: {error.strerror or error}"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def put_file(self, key: str, path: Path, mimetype: str | None) -> None:
        # The folder keeps bytes only: the type stands in the artifact's description.
        target = self._path(key)
        with self._refusals(key, writes=True):
            refuse_links(self._base, _parts(key)[:-1])
            with replacing(target) as partial:
                shutil.copyfile(path, partial)

    def get_file(self, key: str, path: Path, new_hasher: NewHasher = new_sha256) -> str | None:
        parts = _parts(key)
        with self._refusals(key):
            if not copy_file(self._base, parts, path):
                raise self._missing(key)
        return None

    def open_object(self, key: str) -> StoredObject:
        parts = _parts(key)

        def opened() -> BinaryIO:
            descriptor = open_file(self._base, parts)
            if descriptor is None:
                raise self._missing(key)
            return open(descriptor, "rb", buffering=0)

        def read(first: int, last: int) -> BinaryIO:
            stream = opened()
            stream.seek(first)
            return stream

        with self._refusals(key), opened() as file:
            size = os.fstat(file.fileno()).st_size
        return StoredObject(
            name=f"artifact store {self.url}: {key!r}",
            size=size,
            reader=read,
            refusals=lambda: self._refusals(key),
        )

    def _missing(self, key: str) -> NoSuchObject:
        return NoSuchObject(f"artifact store {self.url}: no object {key!r} (is this the machine it is on?)")

    def exists(self, key: str) -> bool:
        parts = _parts(key)
        with self._refusals(key):
            return is_file(self._base, parts)

    def delete(self, key: str) -> None:
        parts = _parts(key)
        with self._refusals(key):
            remove_file(self._base, parts)

    def entries(self, prefix: str) -> Iterator[Entry]:
        for path, key in self._files(prefix):
            if not _is_leftover(path.name):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    status = path.lstat()
                    yield Entry(key=key, size=status.st_size, modified=status.st_mtime)

    def list(self, prefix: str) -> Iterator[str]:
        return (key for path, key in self._files(prefix) if not _is_leftover(path.name))

    def remove_leftovers(self, prefix: str, before: float) -> int:
        count = 0
        with self._refusals(prefix):
            for path, _ in self._files(prefix):
                with contextlib.suppress(FileNotFoundError):
                    if _is_leftover(path.name) and path.lstat().st_mtime < before:
                        path.unlink()
                        count += 1
        return count

    def _files(self, prefix: str) -> Iterator[tuple[Path, str]]:
        # Only the folder that the prefix names is walked: a study's list must not cost all the studies.
        named, _, _ = prefix.rpartition("/")
        start = self._path(named) if named else self._base
        with self._refusals(prefix):
            refuse_links(self._base, _parts(named) if named else ())
            for folder, _, files in os.walk(start, onerror=_unless_missing):
                for name in files:
                    path = Path(folder) / name
                    key = path.relative_to(self._base).as_posix()
                    if key.startswith(prefix):
                        yield path, key

    @contextlib.contextmanager
    def _refusals(self, key: str, *, writes: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            place = f" ({error.filename})" if error.filename else ""
            text = f"artifact store {self.url}: {key!r}: {reason}{place}"
            raise (not_written(text, error) if writes else ArtifactError(text)) from error


def _parts(key: str) -> list[str]:
    return checked_key(key).split("/")


def _file_url(path: Path) -> str:
    return f"file://{quote(os.fsencode(path))}"


def _is_leftover(name: str) -> bool:
    return is_partial(name) or _PROBE.fullmatch(name) is not None


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
