"""The artifacts of a study: those that tasks have listed, and those that Optuna's objectives have linked.

The records in Redis say where an artifact's bytes are. An objective that calls Optuna's `upload_artifact`
links it in Optuna's storage only, which names no store: the study's store is searched for its bytes.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from controller.results.artifact_places import ArtifactPlaces
from controller.results.ranking import Ranking
from controller.search.artifact_links import LINK, link_text
from controller.search.study import UID, task_id_of
from worker.artifacts import ArtifactMeta, ArtifactStore, StoredObject, fetch, open_store, save
from worker.artifacts.names import safe_name
from worker.optuna_internals import storage_of, study_id
from worker.protocol import FINISHED, Store, StudyRecord
from worker.protocol.errors import ArtifactError, BadInput, RecordError
from worker.sdk.optuna_store import group_key

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One artifact."""

    owner: str
    """Id of its task; empty for the study's own."""
    name: str
    artifact_id: str
    filename: str
    mimetype: str
    encoding: str | None
    meta: ArtifactMeta | None
    """Its description; None if only Optuna's storage knows of it."""

    def row(self) -> dict[str, Any]:
        """As `controller artifacts list --format json` shows it."""
        about = json.loads(self.meta.to_json()) if self.meta else {}
        return {
            "task_id": self.owner,
            "name": self.name,
            "artifact_id": self.artifact_id,
            "filename": self.filename,
            "mimetype": self.mimetype,
            "encoding": self.encoding,
            "size": None,
            "url": None,
            **about,
        }


class Artifacts:
    """Lists, fetches and removes the artifacts of one study.

    Args:
        store: the records.
        study: whose artifacts; None for tasks outside any study.
        optuna: Optuna's study, whose links are listed, too; None if it can't be read.
        stores: URLs of further stores that may be read and deleted from, besides the study's own.
        opening: as for `ArtifactPlaces`.
    """

    def __init__(
        self,
        store: Store,
        study: StudyRecord | None,
        optuna: Any = None,
        stores: Sequence[str] = (),
        opening: Callable[[str], ArtifactStore] = open_store,
    ) -> None:
        self._store = store
        self._study = study
        self._optuna = optuna
        own = (study.artifacts, *study.artifact_stores) if study is not None else ()
        self._places = ArtifactPlaces(
            study.name if study else None,
            (*own, *stores),
            self._is_of_another,
            study.copied_from if study else "",
            opening,
        )
        self._listed_by: dict[str, frozenset[str]] = {}

    @property
    def study(self) -> StudyRecord:
        """The study whose artifacts these are."""
        assert self._study is not None
        return self._study

    # Listing

    def of_tasks(
        self, task_ids: Sequence[str], linked: Mapping[str, Mapping[str, Any]] | None = None
    ) -> list[Listed]:
        """The artifacts of some tasks, in their order.

        Args:
            linked: task id → system attributes of its trial: only these are looked at for links.
        """
        links = self._links() if linked is None else self._linked(linked)
        found: list[Listed] = []
        for task_id, texts in zip(task_ids, self._store.artifacts.of_tasks(task_ids), strict=True):
            metas = _read(task_id, texts)
            found += [_listed(task_id, meta) for meta in metas]
            known = {meta.artifact_id for meta in metas}
            found += [link for link in links.get(task_id, ()) if link.artifact_id not in known]
        return found

    def of_study(self) -> list[Listed]:
        """The study's own artifacts, which belong to no task."""
        metas = _read(self.study.name, self._store.artifacts.of_study(self.study.name))
        known = {meta.artifact_id for meta in metas}
        links = self._links().get("", ())
        return [
            *(_listed("", meta) for meta in metas),
            *(link for link in links if link.artifact_id not in known),
        ]

    def all(self) -> list[Listed]:
        """The study's own artifacts, then those of its tasks."""
        return [*self.of_study(), *self.of_tasks(self._store.studies.tasks(self.study.name))]

    def top(self, top_k: int) -> list[str]:
        """Ids of the best tasks, the best first."""
        ranking = Ranking(self._store, self.study.name, self.study.metrics)
        return [record.id for record in ranking.records(top_k)]

    def outside_top(self, top_k: int) -> list[Listed]:
        """The artifacts of tasks that have ended and are not among the best."""
        ids = [id for status in FINISHED for id in self._store.studies.tasks(self.study.name, status)]
        kept = set(self.top(top_k))
        return self.of_tasks([task_id for task_id in ids if task_id not in kept])

    def _links(self) -> dict[str, list[Listed]]:
        """Optuna's links by task id (empty for the study's own), without those that were removed."""
        if self._optuna is None or self._study is None:
            return {}
        storage, uid = storage_of(self._optuna), self._optuna.user_attrs.get(UID)
        own = storage.get_study_system_attrs(study_id(self._optuna))
        places: dict[str, Mapping[str, Any]] = {"": own}
        for trial in self._optuna.get_trials(deepcopy=False) if uid else ():
            places[task_id_of(uuid.UUID(str(uid)), trial.number)] = trial.system_attrs
        return self._linked(places)

    def _linked(self, places: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Listed]]:
        """The links among system attributes, by owner."""
        found: dict[str, list[Listed]] = {}
        if self._study is None or not places:
            return found
        removed = self._store.artifacts.removed(self._study.name)
        for owner, attributes in places.items():
            for name, text in attributes.items():
                link = _link(owner, text) if name.startswith(LINK) else None
                if link is not None and link.artifact_id not in removed:
                    found.setdefault(owner, []).append(link)
        return found

    # Fetching

    def get(self, listed: Listed, target: Path, *, overwrite: bool, url: str | None = None) -> Path:
        """Download to a file or folder, verified if its checksum is known; returns where it is.

        Args:
            url: the store of an artifact that only Optuna's storage knows of; by default the study's.
        """
        if listed.meta is not None:
            store, _ = self._places.of(listed.meta, to_read=True)
            return fetch(listed.meta, target, overwrite=overwrite, store=store)
        store, key = self._place_of(listed, url)
        return fetch(_undescribed(listed, store, key), target, overwrite=overwrite, store=store, verify=False)

    def open(self, listed: Listed) -> StoredObject:
        """The stored bytes of an artifact, to be read in parts.

        Raises:
            NoSuchObject: they are gone.
            ArtifactError: it isn't where it may be, or the store fails.
            BadInput: a store can't be opened.
        """
        if listed.meta is not None:
            store, key = self._places.of(listed.meta, to_read=True)
        else:
            store, key = self._place_of(listed)
        return store.open_object(key)

    def _place_of(self, listed: Listed, url: str | None = None) -> tuple[ArtifactStore, str]:
        """Store and key of an artifact. Raises `ArtifactError` if it isn't where it may be.

        Args:
            url: a store that somebody has named for this; Optuna's own lie at its root.
        """
        if listed.meta is not None:
            return self._places.of(listed.meta)
        if found := self._places.linked(listed.artifact_id):
            return found
        if url and (store := open_store(url)).exists(listed.artifact_id):
            return store, listed.artifact_id
        where = ", ".join(store.url for store in self._places.stores)
        raise ArtifactError(
            f"artifact {listed.name!r} ({listed.artifact_id}) was uploaded by Optuna's upload_artifact, and "
            f"is not in {where}; name the store that the objective used with --store URL"
        )

    def is_here(self, listed: Listed) -> bool:
        """Whether its bytes are where the study's may be."""
        try:
            return bool(self._place_of(listed))
        except ArtifactError:
            return False

    # Adding

    def put(self, path: Path, name: str, mimetype: str | None = None) -> ArtifactMeta:
        """Store a file or folder as the study's own artifact, and link it in Optuna's storage."""
        meta = save(open_store(self.study.artifacts), self.study.name, name, path, mimetype=mimetype)
        replaced = self._store.artifacts.of_study(self.study.name).get(name)
        self._store.artifacts.add_to_study(self.study.name, name, meta.to_json())
        if self._optuna is not None:
            storage_of(self._optuna).set_study_system_attr(
                study_id(self._optuna), f"{LINK}{meta.artifact_id}", link_text(meta)
            )
        if replaced:
            self.remove([_listed("", ArtifactMeta.from_json(replaced))], unlist=False)
        return meta

    # Removing

    def remove(
        self,
        listed: Iterable[Listed],
        *,
        unlist: bool = True,
    ) -> list[str]:
        """Remove artifacts: off the lists first, then their bytes.

        Optuna keeps its links, as it keeps everything of an ended trial; we no longer show them.

        Args:
            unlist: take them off the lists, too; False if another artifact of that name is listed by now.

        Returns:
            What went wrong, a line each. An artifact whose store can't be found or opened stays
            listed; one whose bytes can't be deleted is off the lists, and `unlisted` finds it.
        """
        problems = []
        for one in listed:
            try:
                store, key = self._place_of(one)
            except (ArtifactError, BadInput) as error:
                problems.append(str(error))
                continue
            if unlist:
                self._unlist(one)
            if self._study is not None:
                self._store.artifacts.note_removed(self.study.name, one.artifact_id)
            try:
                store.delete(key)
            except ArtifactError as error:
                problems.append(str(error))
        return problems

    def _unlist(self, one: Listed) -> None:
        if one.meta is None:
            return
        if one.owner:
            self._store.artifacts.remove(one.owner, None, [one.meta.name])
        elif self._study is not None:
            self._store.artifacts.remove_from_study(self.study.name, one.meta.name)

    def _is_of_another(self, key: str) -> bool:
        """Whether a key is another study's: of ``a/b``, whose part of a store is below that of ``a``; or of a
        study whose other name makes the same keys, if that study lists it."""
        mine = group_key(self._study.name) if self._study is not None else ""
        for name, group in self._other_groups.items():
            if not key.startswith(f"{group}/"):
                continue
            if self._study is not None and group.startswith(f"{mine}/"):
                return True
            if name not in self._listed_by:
                other = self._store.studies.find(name)
                listed = Artifacts(self._store, other).all() if other is not None else ()
                self._listed_by[name] = frozenset(one.meta.key for one in listed if one.meta is not None)
            if key in self._listed_by[name]:
                return True
        return False

    @cached_property
    def _other_groups(self) -> dict[str, str]:
        """The other studies, and the beginnings of their keys."""
        own = self._study.name if self._study is not None else None
        return {name: group_key(name) for name in self._store.studies.names() if name != own}

    def collect(self, keys: Iterable[str], before: float) -> list[str]:
        """Remove keys that `unlisted` found and remains of broken writes; returns what went wrong."""
        store = open_store(self.study.artifacts)
        problems = []
        for key in keys:
            try:
                store.delete(key)
            except ArtifactError as error:
                problems.append(str(error))
        try:
            store.remove_leftovers(f"{group_key(self.study.name)}/", before)
        except ArtifactError as error:
            problems.append(str(error))
        return problems

    def unlisted(self, before: float) -> list[tuple[str, int]]:
        """Keys and sizes, in bytes, of everything in the study's part of its store that nothing refers to.

        Args:
            before: seconds since the epoch; what was written later may be an upload that is not listed yet.
        """
        store = open_store(self.study.artifacts)
        # The store is read first: what is stored and recorded in between is then not among its entries.
        entries = list(store.entries(f"{group_key(self.study.name)}/"))
        referred = {one.meta.key for one in self.all() if one.meta is not None}
        referred |= {
            f"{group_key(self.study.name)}/{link.artifact_id}"
            for links in self._links().values()
            for link in links
        }
        return [
            (entry.key, entry.size)
            for entry in entries
            if entry.modified < before and entry.key not in referred and not self._is_of_another(entry.key)
        ]


def _read(owner: str, texts: Mapping[str, str]) -> list[ArtifactMeta]:
    found = []
    for name, text in texts.items():
        try:
            found.append(ArtifactMeta.from_json(text))
        except RecordError as error:
            log.warning("%s: artifact %r is passed over: %s", owner, name, error)
    return found


def _listed(owner: str, meta: ArtifactMeta) -> Listed:
    return Listed(
        owner=owner,
        name=meta.name,
        artifact_id=meta.artifact_id,
        filename=meta.filename,
        mimetype=meta.mimetype,
        encoding=meta.encoding,
        meta=meta,
    )


def _link(owner: str, text: Any) -> Listed | None:
    """The artifact of one of Optuna's links; None if a dashboard has deleted it, or if it is no link."""
    try:
        about = json.loads(text)
        if about is None:
            return None
        return Listed(
            owner=owner,
            name=str(about["filename"]),
            artifact_id=str(about["artifact_id"]),
            filename=str(about["filename"]),
            mimetype=str(about["mimetype"]),
            encoding=about.get("encoding"),
            meta=None,
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        log.warning("an artifact's link in Optuna's storage is passed over: %r", str(text)[:80])
        return None


def _undescribed(listed: Listed, store: ArtifactStore, key: str) -> ArtifactMeta:
    return ArtifactMeta(
        artifact_id=listed.artifact_id,
        name=listed.name,
        filename=safe_name(Path(listed.filename).name),
        mimetype=listed.mimetype,
        encoding=listed.encoding,
        size=0,
        sha256="0" * 64,
        url=store.url_of(key),
        store=store.url,
        key=key,
        kind="file",
        created_at="1970-01-01T00:00:00+00:00",
    )
