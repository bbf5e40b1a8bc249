"""Saving and fetching: checksummed on the way in, verified on the way out, atomic at the target."""

from __future__ import annotations

import contextlib
import mimetypes
import shutil
import tempfile
import uuid
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from worker.artifacts.atomic import replacing
from worker.artifacts.checksum import (
    checksums,
    checksums_meanwhile,
    compared_by,
    new_blake3,
    new_sha256,
)
from worker.artifacts.content import from_file, to_file
from worker.artifacts.meta import ArtifactMeta
from worker.artifacts.names import safe_name
from worker.artifacts.protocol import ArtifactStore, not_written
from worker.artifacts.retrying import retry_while_away
from worker.artifacts.stores import open_store
from worker.protocol.clock import Clock, SystemClock, iso
from worker.protocol.errors import ArtifactError

READ_S = 1.0
"""After a failure, how long it is waited for whether the file can be read at all, in seconds."""


def save(
    store: ArtifactStore,
    prefix: str,
    name: str,
    source: object,
    *,
    mimetype: str | None = None,
    encoding: str | None = None,
    patience_s: float = 0.0,
    waiting: Callable[[], None] = lambda: None,
    away: Callable[[ArtifactError, float], None] = lambda error, seconds: None,
    keep_in: Path | None = None,
    clock: Clock | None = None,
) -> ArtifactMeta:
    """Store a file, folder or object; returns its description.

    Args:
        store: where to.
        prefix: the key's beginning, as a rule the study's name; its parts are made safe. The artifact's id
            follows, by which Optuna's stores find it as well.
        name: of the artifact, any text; `source` is as `worker.artifacts.content` has it.
        mimetype, encoding: guessed from the file's name when not given.
        patience_s: how long a store that is away, or a full disk, is waited for, in seconds.
        waiting, away: as for `retry_while_away`.
        keep_in: folder for the file of an object that could not be stored, so that it isn't lost.

    Raises:
        ArtifactError: it can't be read or stored, or changed meanwhile. `ArtifactStoreUnavailable`, which
            is `Retryable` too, when the store is away, overloaded or full, or this machine's disk is.
    """
    if not name:
        raise ArtifactError("an artifact needs a name")
    patiently = partial(retry_while_away, patience_s=patience_s, waiting=waiting, away=away)
    with patiently(lambda: _scratch(name)) as scratch:
        path, kind = patiently(lambda: to_file(name, source, Path(scratch)))
        filename = safe_name(path.name)
        guessed, guessed_encoding = mimetypes.guess_type(filename)
        guessed = "application/vnd.plotly.v1+json" if kind == "plotly" else guessed
        artifact_id = str(uuid.uuid4())
        upload = _Upload(
            store=store,
            name=name,
            path=path,
            key="/".join([*(safe_name(part) for part in prefix.split("/") if part), artifact_id]),
            mimetype=mimetype or guessed or "application/octet-stream",
        )
        try:
            stored = upload.run(patiently)
        except _NotStored as failed:
            raise _with_place(failed.reason, name, path, Path(scratch), keep_in, artifact_id) from failed
    return upload.described(
        artifact_id=artifact_id,
        filename=filename,
        encoding=encoding or guessed_encoding,
        kind=kind,
        **stored,
        created_at=iso((clock or SystemClock()).now()) or "",
    )


def _scratch(name: str) -> tempfile.TemporaryDirectory[str]:
    """A folder for the file of an object. Raises `ArtifactError`."""
    try:
        return tempfile.TemporaryDirectory(prefix="orq-artifact-")
    except OSError as error:
        raise not_written(
            f"artifact {name!r}: no temporary folder: {error.strerror or error}", error
        ) from error


class _NotStored(Exception):
    """The store did not take the file, which is as it was."""

    def __init__(self, reason: ArtifactError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class _Upload:
    """One file's way into a store, checksummed while it is on its way."""

    store: ArtifactStore
    name: str
    path: Path
    key: str
    mimetype: str

    def run(self, patiently: Callable[[Callable[[], None]], None]) -> dict[str, Any]:
        """Store the file.

        Args:
            patiently: calls what it is given, again while the store is away.

        Returns:
            Its ``size`` in bytes, its ``sha256`` and its ``blake3``, both hexadecimal.

        Raises:
            ArtifactError: it can't be read, or changed meanwhile.
            _NotStored: the store refused it, or was away for too long.
        """
        before = _signature(self.path, self.name)
        failure: ArtifactError | None = None

        def put() -> None:
            # Not again once the file has changed: it would not be what was described.
            if _signature(self.path, self.name) == before:
                self.store.put_file(self.key, self.path, self.mimetype)

        # Meanwhile: at 1 GiB, a checksum takes as long as a fast network.
        with checksums_meanwhile(self.path, self.name, new_sha256, new_blake3) as checked:
            try:
                patiently(put)
            except ArtifactError as error:
                failure = error
                with contextlib.suppress(futures.TimeoutError):
                    checked.result(READ_S)  # raises if it is the file that can't be read
            size, (sha256, blake3) = (0, ["", ""]) if failure else checked.result()
        if _signature(self.path, self.name) != before:
            # Also when the put failed: a file that gets shorter looks like a connection that stalls.
            if failure is None:
                with contextlib.suppress(ArtifactError):
                    self.store.delete(self.key)
            text = f"artifact {self.name!r}: {self.path} changed meanwhile; store a finished file"
            raise ArtifactError(text) from failure
        if failure is not None:
            raise _NotStored(failure) from failure
        return {"size": size, "sha256": sha256, "blake3": blake3}

    def described(self, **about: Any) -> ArtifactMeta:
        """The artifact's description.

        Args:
            about: the fields that the upload does not know.
        """
        return ArtifactMeta(
            name=self.name,
            mimetype=self.mimetype,
            url=self.store.url_of(self.key),
            store=self.store.url,
            key=self.key,
            **about,
        )


def _with_place(
    failure: ArtifactError, name: str, path: Path, scratch: Path, keep_in: Path | None, artifact_id: str
) -> ArtifactError:
    """The failure, and where the file is; one that only this call has is kept."""
    where = path
    if path.is_relative_to(scratch):
        if keep_in is None:
            return failure
        where = keep_in / f"{artifact_id}-{safe_name(path.name)}"
        try:
            keep_in.mkdir(parents=True, exist_ok=True)
            shutil.move(path, where)
        except OSError as error:
            reason = f"; nor could it be kept in {keep_in}: {error.strerror or error}"
            return type(failure)(f"artifact {name!r} was not stored: {failure}{reason}")
    return type(failure)(f"artifact {name!r} was not stored: {failure}; the file is at {where.absolute()}")


def fetch(
    meta: ArtifactMeta,
    destination: Path,
    *,
    overwrite: bool = False,
    store: ArtifactStore | None = None,
    patience_s: float = 30.0,
    verify: bool = True,
) -> Path:
    """Download an artifact, verified.

    Args:
        destination: a folder (the artifact's safe file name is used in it) or a file.
        overwrite: replace an existing file.
        store: by default the one that the artifact was put into.
        patience_s: how long a store that goes away is waited for, in seconds; the download goes on where
            it broke.
        verify: compare with the description's size and checksum.

    Returns:
        The file. It is there whole or not at all.

    Raises:
        ArtifactError: it is not there, is damaged, or the target exists.
    """
    target = destination / safe_name(meta.filename) if destination.is_dir() else destination
    store = store or open_store(meta.store)
    try:
        if not overwrite and target.exists():
            raise FileExistsError
        with replacing(target, overwrite=overwrite, durable=False) as partial:
            opened = store
            checksum, new_hasher, wanted = compared_by(meta)
            found = retry_while_away(lambda: opened.get_file(meta.key, partial, new_hasher), patience_s)
            size = partial.stat().st_size
            if verify and found is None:
                size, (found,) = checksums(partial, meta.name, new_hasher)
            if verify and (found, size) != (wanted, meta.size):
                raise ArtifactError(
                    f"artifact {meta.name!r} at {meta.url} is damaged: {size} bytes with {checksum} "
                    f"{found:.12}…, stored were {meta.size} with {wanted:.12}…"
                )
    except FileExistsError as error:
        raise ArtifactError(f"{target} exists; give --force (overwrite=True) to replace it") from error
    except OSError as error:
        raise ArtifactError(f"{target}: {error.strerror or error}") from error
    return target


def load(meta: ArtifactMeta, store: ArtifactStore | None = None) -> Any:
    """The object that the artifact was made from; for a file or folder, the path of a verified copy.

    Raises:
        ArtifactError: as `fetch`; or a package that it needs is not installed here.
    """
    folder = Path(tempfile.mkdtemp(prefix="orq-artifact-"))
    found: Any = None
    try:
        path = fetch(meta, folder, store=store)
        found = from_file(path, meta.kind)
    finally:
        if not isinstance(found, Path):
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _signature(path: Path, name: str) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ArtifactError(f"artifact {name!r}: {path}: {error.strerror or error}") from error
    return status.st_size, status.st_mtime_ns
