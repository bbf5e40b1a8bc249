"""A task's artifacts: bytes to the store first, then the link in the task's record."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.protocol.errors import ArtifactError, BadInput

if TYPE_CHECKING:
    from worker.artifacts import ArtifactMeta
    from worker.sdk.session import Session


log = logging.getLogger(__name__)

STATE_FOLDER = ".optuna-rq"


class ArtifactHandle:
    """One artifact that was uploaded."""

    def __init__(self, meta: ArtifactMeta) -> None:
        self.meta = meta

    @property
    def name(self) -> str:
        return self.meta.name

    @property
    def url(self) -> str:
        """Where its bytes are, without credentials."""
        return self.meta.url

    @property
    def size(self) -> int:
        """Bytes."""
        return self.meta.size

    @property
    def hash(self) -> str:
        """SHA-256 of the stored bytes, hexadecimal."""
        return self.meta.sha256

    @property
    def type(self) -> str:
        """What it was made from, see `worker.artifacts.content`."""
        return self.meta.kind

    @property
    def timestamp(self) -> str:
        """When it was stored, ISO 8601 in UTC."""
        return self.meta.created_at

    def get_local_copy(self) -> str:
        """Download it to a temporary folder, verified; returns the path."""
        import tempfile  # noqa: PLC0415 - programs that store nothing don't wait for it

        from worker.artifacts import fetch  # noqa: PLC0415 - programs that store nothing don't wait for it

        return str(fetch(self.meta, Path(tempfile.mkdtemp(prefix="orq-artifact-"))))

    def get(self) -> Any:
        """The object it was made from: a dict, an array, …; a path for files and folders."""
        from worker.artifacts import load  # noqa: PLC0415 - programs that store nothing don't wait for it

        return load(self.meta)


def upload(
    about: Mapping[str, Any],
    session: Session,
    name: str,
    source: Any,
    *,
    mimetype: str | None = None,
    encoding: str | None = None,
    checkpoint: int | None = None,
) -> ArtifactHandle:
    """Store `source` and link it to the task that `about` describes (see `worker.sdk.session.describe`).

    Args:
        mimetype, encoding: guessed when not given.
        checkpoint: the iteration, for an artifact that another attempt may go on from.

    Raises:
        ArtifactError: it can't be read or stored, or the name is none.
        TaskStopped: the task is to stop while its store is away, or its attempt is over.
    """
    from worker.artifacts import open_store, save  # noqa: PLC0415 - programs that store nothing don't wait for it
    from worker.artifacts.retrying import patience_s  # noqa: PLC0415 - programs that store nothing don't wait for it

    if not isinstance(name, str) or not name:
        raise ArtifactError(f"an artifact needs a name, a str that is not empty, not {name!r:.80}")
    name = name.encode("utf-8", "replace").decode()  # no record can hold half a character
    # A path as it is: in a URL, a "%" or "#" in it would mean something.
    url = about.get("artifacts") or str(Path.cwd() / STATE_FOLDER / "artifacts")
    meta = save(
        open_store(url),
        _group(about),
        name,
        source,
        mimetype=mimetype,
        encoding=encoding,
        patience_s=patience_s(),
        waiting=session.check_stop,
        away=session.waits,
        keep_in=Path.cwd() / STATE_FOLDER / "unsent",
    )
    session.artifact(name, meta.to_json(), checkpoint)
    return ArtifactHandle(meta)


def _group(about: Mapping[str, Any]) -> str:
    """What the keys of a task's artifacts begin with, before it is made safe."""
    return str(about.get("study") or about.get("project") or "tasks")


def forget(about: Mapping[str, Any], metas: Iterable[ArtifactMeta]) -> None:
    """Remove the bytes of artifacts that nothing lists any more; what can't be removed is left.

    Descriptions come from Redis, where others may write: only what is in the task's own store and part of it
    is removed.

    Args:
        about: the task, as for `upload`.
    """
    from worker.artifacts import open_store  # noqa: PLC0415 - programs that store nothing don't wait for it
    from worker.sdk.optuna_store import group_key  # noqa: PLC0415 - programs that store nothing don't wait for it

    for meta in metas:
        try:
            store = open_store(about.get("artifacts") or str(Path.cwd() / STATE_FOLDER / "artifacts"))
            if meta.store != store.url or meta.key != f"{group_key(_group(about))}/{meta.artifact_id}":
                raise ArtifactError(f"it is said to be at {meta.key!r:.200} of {meta.store!r:.200}")
            store.delete(meta.key)
        except (ArtifactError, BadInput) as error:
            log.warning("artifact %r is listed no more, but its bytes are left: %s", meta.name, error)
