"""A task's artifacts: bytes to the store first, then the link in the task's record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.protocol.errors import ArtifactError

if TYPE_CHECKING:
    from worker.artifacts import ArtifactMeta
    from worker.session import Session


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

    def get_local_copy(self) -> str:
        """Download it to a temporary folder, verified; returns the path."""
        import tempfile

        from worker.artifacts import fetch

        return str(fetch(self.meta, Path(tempfile.mkdtemp(prefix="orq-artifact-"))))

    def get(self) -> Any:
        """The object it was made from: a dict, an array, …; a path for files and folders."""
        from worker.artifacts import load

        return load(self.meta)


def upload(about: Mapping[str, Any], session: Session, name: str, source: Any) -> ArtifactHandle:
    """Store `source` and link it to the task that `about` describes (see `worker.session.describe`).

    Raises:
        ArtifactError: it can't be read or stored.
        TaskStopped: the task's attempt is over.
    """
    from worker.artifacts import open_store, save

    if not name:
        raise ArtifactError("an artifact needs a name")
    session.check_stop()
    url = about.get("artifacts") or f"file://{Path.cwd() / '.optuna-rq' / 'artifacts'}"
    group = about.get("study") or about.get("project") or "tasks"
    meta = save(open_store(url), f"{group}/{about['id']}", name, source)
    session.artifact(name, meta.to_json())
    return ArtifactHandle(meta)
