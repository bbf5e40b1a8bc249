"""Settings of the controller's commands: options, then environment, then defaults."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.embedded import EmbeddedRedis
from worker.protocol.connection import check, connect
from worker.protocol.errors import BadInput
from worker.protocol.secrets import REDIS_URL, STORAGE, refuse_secret, secret
from worker.protocol.store import Store
from worker.protocol.study_record import StudyRecord
from worker.protocol.urls import HIDDEN, redact
from worker.sdk.home import STATE_FOLDER, default_artifacts, sqlite_url


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where Redis, Optuna's storage, the artifacts and the current folder are."""

    redis_url: str | None = field(repr=False)
    """None for the embedded Redis."""
    storage_url: str = field(repr=False)
    artifacts_url: str
    folder: Path
    """The folder that the command was called in."""

    @property
    def state_folder(self) -> Path:
        return self.folder / STATE_FOLDER

    @property
    def embedded(self) -> bool:
        return self.redis_url is None


def resolve(
    redis_url: str | None = None,
    storage_url: str | None = None,
    artifacts_url: str | None = None,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Options → environment (``REDIS_URL``, ``OPTUNA_STORAGE``, ``ARTIFACT_STORE``) → defaults.

    Raises:
        BadInput: an option has a password in it, or a secret's file can't be read.
    """
    folder = folder or Path.cwd()
    refuse_secret("--redis", redis_url, REDIS_URL)
    refuse_secret("--storage", storage_url, STORAGE)
    state = folder / STATE_FOLDER
    return Settings(
        redis_url=redis_url or secret(REDIS_URL, environment),
        storage_url=storage_url or secret(STORAGE, environment) or sqlite_url(state / "optuna.db"),
        artifacts_url=artifacts_url or environment.get("ARTIFACT_STORE") or default_artifacts(folder),
        folder=folder,
    )


@contextlib.contextmanager
def open_redis(settings: Settings, *, create: bool) -> Iterator[tuple[str, EmbeddedRedis | None]]:
    """The Redis to work with, checked.

    Args:
        create: start an embedded one if there is none; otherwise an earlier run must have left one.

    Yields:
        Its URL, with the password, and the embedded server; None for any other Redis.

    Raises:
        RedisUnavailable: it can't be used; the message is one line that says why.
        BadInput: no Redis is named, and the folder has no embedded one.
    """
    if settings.redis_url is not None:
        check(connect(settings.redis_url, patience_s=0, timeout_s=5.0), settings.redis_url)
        yield settings.redis_url, None
        return
    if not create and not EmbeddedRedis.exists(settings.state_folder):
        raise BadInput(
            f"no Redis named and no {STATE_FOLDER}/ in {settings.folder}: set REDIS_URL, or call this where "
            "`controller start` was called"
        )
    server = EmbeddedRedis(settings.state_folder)
    try:
        yield server.ensure(), server
    finally:
        server.close(wait=True)


@contextlib.contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """The store, for commands that don't wait for a Redis that is away."""
    with open_redis(settings, create=False) as (url, _):
        yield Store(connect(url, patience_s=0, timeout_s=10.0))


def study_storage(record: StudyRecord, settings: Settings) -> str:
    """URL of the storage that has a study's trials, with the password that opens it.

    Raises:
        BadInput: the record hides its password, and the settings name another storage.
    """
    if redact(settings.storage_url) == record.storage:
        return settings.storage_url
    if record.storage and redact(record.storage) == record.storage and HIDDEN not in record.storage:
        return record.storage
    raise BadInput(f"study {record.name!r} has its trials in {record.storage}: set OPTUNA_STORAGE to that")


def pick_study(store: Store, name: str | None) -> str:
    """The study that a command is about: the named one, else the newest.

    Raises:
        BadInput: there is none.
    """
    if name:
        return store.studies.get(name).name
    known = store.studies.names()
    if not known:
        raise BadInput("there are no studies in this Redis yet; `controller start sweep.toml` makes one")
    return known[0]


def pick_task(store: Store, text: str) -> str:
    """The id of a task, given in full or by a beginning that fits no other task.

    Raises:
        BadInput: no task fits, or several do.
    """
    if len(text) == 32:
        return store.tasks.get(text).id
    names = store.studies.names()
    groups = [store.tasks.base_tasks(), *(store.studies.tasks(study) for study in names)]
    groups += [store.confirmations.tasks(study) for study in names]
    found = [task_id for ids in groups for task_id in ids if task_id.startswith(text)]
    if not found:
        raise BadInput(f"no task {text!r} in this Redis; `controller tasks` lists them")
    if len(found) > 1:
        shown = ", ".join(task_id[:12] for task_id in found[:4])
        raise BadInput(f"task {text!r}: {len(found)} tasks begin so ({shown}, …); give more of the id")
    return found[0]


def study_of(store: Store, task_id: str) -> str:
    """The study that a task belongs to, by the study's own list; empty for a task outside any.

    Raises:
        BadInput: there is no such task, or its record names a study that doesn't list it.
    """
    name = store.tasks.get(task_id).study
    if name and not store.studies.has(name, task_id):
        raise BadInput(
            f"task {task_id}: its record says that it belongs to study {name!r:.100}, which doesn't list it"
        )
    return name


def has_controller(store: Store, study: str) -> bool:
    """Whether a controller acts on the study."""
    return store.studies.has_controller(study)
