"""One of our stores as Optuna's artifact module wants it, as for `optuna.artifacts.download_artifact`.

What a task saves lies under ``study/<artifact id>`` of its store, so that such a store, or Optuna's own
``FileSystemArtifactStore`` of the folder ``…/artifacts/study``, finds it by its id.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from worker.artifacts.names import checked_key, safe_name
from worker.artifacts.protocol import ArtifactStore
from worker.artifacts.retrying import patience_s, retry_while_away
from worker.artifacts.stores import open_store
from worker.protocol.errors import ArtifactError, InvalidKey

_COPY_BYTES = 1 << 20


class OptunaArtifactStore:
    """Optuna's ``ArtifactStore`` protocol over a part of a store. Bytes pass through files, not memory.

    An id that can't be is a `ValueError`, as of Optuna's own stores.

    Args:
        store: where the bytes are.
        group: the part of it, a study's name as a rule; empty for the store's root.
    """

    def __init__(self, store: ArtifactStore, group: str) -> None:
        self._store = store
        self._group = group_key(group)

    @property
    def url(self) -> str:
        """Where its objects lie, without credentials."""
        return f"{self._store.url}/{self._group}" if self._group else self._store.url

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes. Raises Optuna's ``ArtifactNotFound``."""
        key = self._key(artifact_id)
        handle, name = tempfile.mkstemp(prefix="orq-artifact-")
        os.close(handle)
        try:
            try:
                self._store.get_file(key, Path(name))
            except ArtifactError as error:
                if not self._store.exists(key):
                    raise _not_found(artifact_id) from error
                raise
            return open(name, "rb")
        finally:
            # The reader keeps what it has opened.
            os.unlink(name)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store what `content_body` gives from where it stands."""
        with tempfile.TemporaryDirectory(prefix="orq-artifact-") as folder:
            path = Path(folder) / "body"
            with open(path, "wb") as file:
                shutil.copyfileobj(content_body, file, _COPY_BYTES)
            self._put(self._key(artifact_id), path)

    def _put(self, key: str, path: Path) -> None:
        """Store a file; in a task, a store that is away or full is waited for as with its own artifacts."""
        from worker.sdk import runtime  # noqa: PLC0415 - Optuna, and what only some programs need

        task = runtime.current()
        session = task.session if task is not None else None
        if session is None:
            self._store.put_file(key, path, None)
            return
        retry_while_away(
            lambda: self._store.put_file(key, path, None),
            patience_s(),
            waiting=session.check_stop,
            away=session.waits,
        )

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact. Raises Optuna's ``ArtifactNotFound``."""
        key = self._key(artifact_id)
        if not self._store.exists(key):
            raise _not_found(artifact_id)
        self._store.delete(key)

    def _key(self, artifact_id: str) -> str:
        try:
            return checked_key(f"{self._group}/{artifact_id}" if self._group else artifact_id)
        except InvalidKey as error:
            raise InvalidKey(f"Invalid artifact_id: {artifact_id!r:.300}") from error


def group_key(group: str) -> str:
    """A study's (or project's) name as the beginning of keys."""
    return "/".join(safe_name(part) for part in group.split("/") if part)


def _not_found(artifact_id: str) -> Exception:
    from optuna.artifacts.exceptions import ArtifactNotFound  # noqa: PLC0415 - Optuna, and what only some programs need

    return ArtifactNotFound(f"no artifact {artifact_id!r}")


def artifact_store(url: Any = None, study: str | None = None) -> OptunaArtifactStore:
    """The artifact store as Optuna's functions take it.

    Args:
        url: of the store, or one of Optuna's artifact stores; by default this task's, else
            ``ARTIFACT_STORE``, else ``.optuna-rq/artifacts``.
        study: whose artifacts; by default this task's study, else the store's root.

    Raises:
        BadInput: the URL names no store.
    """
    from worker.sdk import runtime  # noqa: PLC0415 - Optuna, and what only some programs need
    from worker.sdk.home import default_artifacts  # noqa: PLC0415 - Optuna, and what only some programs need

    task = runtime.current()
    about = task.about if task is not None else {}
    place = url or about.get("artifacts") or os.environ.get("ARTIFACT_STORE") or default_artifacts(Path.cwd())
    return OptunaArtifactStore(open_store(place), about.get("study", "") if study is None else study)
