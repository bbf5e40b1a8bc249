"""A study's own code on a worker: fetched once, verified, unpacked, first on the import path of its tasks.

A task's description names it as ``{"sha256", "size", "key", "unpacked"}``: the archive's checksum and bytes,
its key in the study's artifact store, and the bytes of the files in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from worker.artifacts import ArtifactStoreUnavailable, open_store
from worker.artifacts.archive import unpack
from worker.artifacts.atomic import replacing
from worker.artifacts.checksum import checksums, new_sha256
from worker.artifacts.retrying import retry_while_away
from worker.protocol.errors import ArtifactError, BadInput, ObjectiveLoadError

PATIENCE_S = 30.0
"""How long a store that is away is waited for, in seconds."""
LOCK_S = 0.05
"""How often a slot looks whether another one has fetched what it needs, in seconds."""
KEPT_S = 30 * 86400.0
"""An archive that was not used for so long is removed from the cache, in seconds."""


def cache_folder() -> Path:
    """Where archives are kept from one worker to the next."""
    named = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(named) / "optuna-rq" / "code"


class CodeFolders:
    """The code of studies, unpacked for one worker.

    Several slots may ask at once; the folders go with `scratch`.

    Args:
        scratch: of this worker.
        cache: of this user on this machine; see `cache_folder`.
    """

    def __init__(self, scratch: Path, cache: Path | None = None) -> None:
        self._scratch = scratch
        self._cache = cache

    def folder(
        self, code: Mapping[str, Any], *stores: str | None, waiting: Callable[[], None] = lambda: None
    ) -> Path:
        """The folder with a study's code.

        Args:
            code: what the task's description says of it.
            stores: URLs of artifact stores to look in, in this order.
            waiting: called now and then while a store is away or another slot fetches; what it raises ends
                the waiting.

        Raises:
            ObjectiveLoadError: it can't be fetched, or isn't what was described.
        """
        try:
            sha256, key = str(code["sha256"]), str(code["key"])
            size, unpacked = int(code["size"]), int(code["unpacked"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ObjectiveLoadError(f"code: its description is malformed: {error}") from error
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ObjectiveLoadError("code: its description is malformed: sha256")
        target = self._scratch / sha256
        if target.is_dir():
            return target
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            with _locked(self._scratch / f"{sha256}.lock", waiting):
                if not target.is_dir():
                    archive = self._archive(sha256, size, key, stores, waiting)
                    partial = self._scratch / f"{sha256}.part"
                    shutil.rmtree(partial, ignore_errors=True)
                    try:
                        unpack(archive, partial, unpacked)
                        partial.rename(target)
                    finally:
                        shutil.rmtree(partial, ignore_errors=True)
        except ArtifactError as error:
            raise ObjectiveLoadError(f"code: {error}") from error
        except OSError as error:
            where = error.filename or self._scratch
            raise ObjectiveLoadError(f"code: {where}: {error.strerror or error}") from error
        return target

    def _archive(
        self, sha256: str, size: int, key: str, stores: tuple[str | None, ...], waiting: Callable[[], None]
    ) -> Path:
        """The archive, from the cache or fetched into it; its checksum is that of the description."""
        for folder in self._cache_folders():
            path = folder / f"{sha256}.zip"
            with contextlib.suppress(OSError, ArtifactError):
                if path.is_file() and checksums(path, "code", new_sha256) == (size, [sha256]):
                    os.utime(path)
                    return path
        problems = []
        passing: Exception | None = None
        for url in dict.fromkeys(url for url in stores if url):
            for folder in self._cache_folders():
                try:
                    return self._fetch(url, key, folder / f"{sha256}.zip", sha256, size, waiting)
                except (ArtifactStoreUnavailable, BadInput) as error:
                    problems.append(str(error))
                    passing = error if isinstance(error, ArtifactStoreUnavailable) else passing
                    break  # another folder would not help
                except ArtifactError as error:  # perhaps the cache's disk is full
                    problems.append(str(error))
                    passing = error
                except OSError as error:
                    problems.append(f"{folder}: {error.strerror or error}")
                    passing = error
        why = "; ".join(dict.fromkeys(problems)) or "no artifact store is named"
        raise ObjectiveLoadError(f"code: it can't be fetched: {why}") from passing

    def _cache_folders(self) -> Iterator[Path]:
        cache = self._cache or cache_folder()
        if cache.is_absolute():  # a user without a home has none
            yield cache
        yield self._scratch  # where the cache can't be written

    def _fetch(
        self, url: str, key: str, target: Path, sha256: str, size: int, waiting: Callable[[], None]
    ) -> Path:
        store = open_store(url)
        with replacing(target, durable=False) as partial:
            retry_while_away(lambda: store.get_file(key, partial), PATIENCE_S, waiting=waiting)
            found, (checksum,) = checksums(partial, "code", new_sha256)
            if (found, checksum) != (size, sha256):
                raise ArtifactError(
                    f"{store.url_of(key)} is not the code that was sent: {found} bytes with sha256 "
                    f"{checksum[:12]}…, not {size} with {sha256[:12]}…"
                )
        _tidy(target.parent)
        return target


def _tidy(folder: Path) -> None:
    for path in folder.glob("*.zip"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - KEPT_S:
                path.unlink()


@contextlib.contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    with open(path, "w") as file:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            waiting()
            time.sleep(LOCK_S)
        yield
