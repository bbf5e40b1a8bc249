"""Artifacts for optuna-dashboard: those of all studies of a storage, wherever they are."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from worker.artifacts import open_store
from worker.sdk.optuna_store import OptunaArtifactStore

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Of artifacts: Optuna's are UUIDs."""


class StudiesArtifacts:
    """Optuna's artifact store protocol over the artifacts of all studies of a storage.

    An artifact's id doesn't say whose it is; the request's address does, and `OptunaPages` notes it.

    Args:
        storage: Optuna's, whose studies these are.
        url_of: name of a study → its store.
    """

    def __init__(self, storage: Any, url_of: Callable[[str], str]) -> None:
        self._storage = storage
        self._url_of = url_of
        self._asked = threading.local()

    def note(self, study_id: int | None) -> None:
        """Note the study that this thread's next calls are about; None for no study."""
        self._asked.study_id = study_id

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes. Raises Optuna's ``ArtifactNotFound``."""
        within, beside = self._stores(artifact_id)
        try:
            return within.open_reader(artifact_id)
        except ArtifactNotFound:
            return beside.open_reader(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._stores(artifact_id)[0].write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove it, wherever it is. Raises Optuna's ``ArtifactNotFound``."""
        within, beside = self._stores(artifact_id)
        try:
            within.remove(artifact_id)
        except ArtifactNotFound:
            beside.remove(artifact_id)

    def _stores(self, artifact_id: str) -> tuple[OptunaArtifactStore, OptunaArtifactStore]:
        """The study's part of its store, which its tasks write to, and the store's root, which others may.

        Raises Optuna's ``ArtifactNotFound`` for what is no id: it might name another study's, or any file.
        """
        if not _ID.fullmatch(artifact_id):
            raise ArtifactNotFound(f"no artifact {artifact_id!r:.200}")
        study_id = getattr(self._asked, "study_id", None)
        name = self._storage.get_study_name_from_id(study_id) if study_id is not None else ""
        store = open_store(self._url_of(name))
        return OptunaArtifactStore(store, name), OptunaArtifactStore(store, "")
