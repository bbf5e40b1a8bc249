"""The artifacts of one task or study, as its pages have them."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from controller.dashboard.site import Site
from controller.results.artifacts import Artifacts, Listed
from controller.results.space import Space, space_of_distribution
from controller.results.task_parts import study_of_task
from worker.artifacts import ArtifactStore, open_store
from worker.protocol import StudyRecord, TaskRecord
from worker.protocol.errors import OptunaRQError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Held:
    """Artifacts, and whose they are."""

    title: str
    """Of the owner, in words."""
    study: str
    """Name of the study; empty for a task outside any."""
    task: str
    """Id of the task; empty for a study's own."""
    artifacts: Artifacts
    listed: list[Listed]

    def route(self, name: str) -> str:
        """The name of a route for artifacts, by that of a task's: ``artifact``, ``artifact_page`` …"""
        return name if self.task else f"study_{name}"

    @property
    def names(self) -> dict[str, str]:
        """What such a route takes, besides the key."""
        return {"task": self.task} if self.task else {"name": self.study}


def held_by_task(site: Site, record: TaskRecord) -> Held:
    """A task's own artifacts, with what its objective has linked in Optuna's storage."""
    study = study_of_task(site.store, record)
    artifacts = _artifacts(site, study)
    trial = trial_of(site, record, study)
    links = {record.id: trial.system_attrs} if trial is not None else {}
    return Held(
        title=f"task {record.id[:8]}",
        study=study.name if study else "",
        task=record.id,
        artifacts=artifacts,
        listed=artifacts.of_tasks([record.id], links),
    )


def held_by_study(site: Site, study: StudyRecord) -> Held:
    """A study's own artifacts, which belong to no task."""
    artifacts = _artifacts(site, study)
    return Held(
        title=f"study {study.name}",
        study=study.name,
        task="",
        artifacts=artifacts,
        listed=artifacts.of_study(),
    )


def trial_of(site: Site, record: TaskRecord, study: StudyRecord | None) -> FrozenTrial | None:
    """The trial of an objective written for Optuna, as its storage has it; None if it can't be read.

    Of other objectives the record knows all that a page shows.
    """
    if study is None or record.trial < 0 or record.spec.objective.get("kind") != "optuna":
        return None
    try:
        storage = storage_at(site, site.storage_url(study))
        study_id = storage.get_study_id_from_name(study.name)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, record.trial)
        trial: FrozenTrial = storage.get_trial(trial_id)
        return trial
    except Exception as error:  # a page without it is better than none, whatever a database says
        level = logging.INFO if isinstance(error, (OptunaRQError, KeyError)) else logging.WARNING
        log.log(level, "task %s: its trial in Optuna's storage is not shown: %s", record.id, error)
        return None


def asked_by(trial: FrozenTrial | None) -> Mapping[str, Space]:
    """What an objective asked for as it ran: name → what it was chosen from."""
    if trial is None:
        return {}
    from optuna.distributions import distribution_to_json  # noqa: PLC0415 - few pages need it, and it is slow to import

    found = {
        name: space_of_distribution(json.loads(distribution_to_json(distribution)))
        for name, distribution in trial.distributions.items()
    }
    return {name: space for name, space in found.items() if space is not None}


def _artifacts(site: Site, study: StudyRecord | None) -> Artifacts:
    opening = functools.partial(_store, site)
    return Artifacts(site.store, study, stores=(site.artifacts_url,), opening=opening)


# What is opened once: opening takes longer than reading a trial, or an image.


@functools.lru_cache(maxsize=64)
def _store(site: Site, url: str) -> ArtifactStore:
    return open_store(url)


@functools.lru_cache(maxsize=8)
def storage_at(site: Site, url: str) -> Any:
    """Optuna's storage. Raises `BadInput` for one that can't be used."""
    from worker.trials.storage import open_existing  # noqa: PLC0415 - few pages need it, and it is slow to import

    return open_existing(url)
