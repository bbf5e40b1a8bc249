"""Where the head node reads and deletes artifacts: in its study's own part of its study's own stores.

Descriptions of artifacts are written by workers. They say where an artifact is; they don't decide what is
done there.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable

from worker.artifacts import ArtifactMeta, ArtifactStore, open_store
from worker.protocol.errors import ArtifactError
from worker.sdk.optuna_store import group_key

_TASK_ID = re.compile(r"[0-9a-f]{32}")


class ArtifactPlaces:
    """The part of each store that the artifacts of one study, or of tasks outside any, may be in.

    Args:
        study: name of the study; None for tasks outside any, whose artifacts lie under their projects' names.
        urls: of the stores, the first is where new ones go. From the study's own record, which workers can't
            write, and from the command that was called.
        is_of_another: whether another study lists an artifact of this key.
        copied_from: name of the study that this one is a copy of, whose artifacts it may read.
        opening: opens a store by its URL; raises `BadInput`.
    """

    def __init__(
        self,
        study: str | None,
        urls: Iterable[str],
        is_of_another: Callable[[str], bool] = lambda key: False,
        copied_from: str = "",
        opening: Callable[[str], ArtifactStore] = open_store,
    ) -> None:
        self._group = None if study is None else group_key(study)
        self._urls = [url for url in dict.fromkeys(urls) if url]
        self._is_of_another = is_of_another
        self._origin = group_key(copied_from) if copied_from else None
        self._opening = opening
        self._stores: list[ArtifactStore] | None = None

    @property
    def stores(self) -> list[ArtifactStore]:
        """The stores. Raises `BadInput` if one can't be opened."""
        if self._stores is None:
            self._stores = [self._opening(url) for url in self._urls]
        return self._stores

    @property
    def prefix(self) -> str:
        """The beginning of the study's keys."""
        return f"{self._group}/"

    def of(self, meta: ArtifactMeta, *, to_read: bool = False) -> tuple[ArtifactStore, str]:
        """Store and key of an artifact.

        Args:
            to_read: it is only read, so that those of the study that this one is a copy of count, too.

        Raises:
            ArtifactError: its description names another store, or a key outside the study's part.
            BadInput: a store can't be opened.
        """
        is_origins = to_read and self._origin and _is_below(self._origin, meta.key, meta.artifact_id)
        if not is_origins and not self._owns(meta.key, meta.artifact_id):
            part = "its project's" if self._group is None else f"the study's ({self.prefix})"
            raise ArtifactError(
                f"artifact {meta.name!r:.100}: its description names {meta.key!r:.200}, which is not in "
                f"{part} part of the store; it is left alone"
            )
        if not is_origins and self._is_of_another(meta.key):
            raise ArtifactError(
                f"artifact {meta.name!r:.100}: {meta.key!r:.200} belongs to another study; it is left alone"
            )
        for store in self.stores:
            if store.url == meta.store:
                return store, meta.key
        for store in self.stores:  # by another name: a link, another mount
            if store.exists(meta.key):
                return store, meta.key
        known = ", ".join(store.url for store in self.stores) or "none"
        raise ArtifactError(
            f"artifact {meta.name!r:.100}: it is said to be in {meta.store!r:.200}, which is not "
            f"the study's store ({known}); if it is, name that one with --store URL"
        )

    def linked(self, artifact_id: str) -> tuple[ArtifactStore, str] | None:
        """Store and key of what Optuna's storage alone knows of; None if it is not there."""
        if self._group is None or not _is_uuid(artifact_id):
            return None
        key = f"{self.prefix}{artifact_id}"
        if self._is_of_another(key):
            return None
        return next(((store, key) for store in self.stores if store.exists(key)), None)

    def _owns(self, key: str, artifact_id: str) -> bool:
        """Whether a key is one that an artifact of this study, or of a task outside any, can have."""
        if self._group is None:
            return key.rpartition("/")[2] == artifact_id and key.count("/") >= 1
        return _is_below(self._group, key, artifact_id)


def _is_below(group: str, key: str, artifact_id: str) -> bool:
    """Whether a key is that of an artifact of a study, now or by an earlier version.

    A study ``a`` has ``a/ID``; ``a/b/ID`` is that of a study ``a/b``. The first versions had
    ``a/TASK/ID/FILE``.
    """
    if not key.startswith(f"{group}/"):
        return False
    parts = key.removeprefix(f"{group}/").split("/")
    if parts == [artifact_id]:
        return True
    return len(parts) == 3 and _TASK_ID.fullmatch(parts[0]) is not None and parts[1] == artifact_id


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
