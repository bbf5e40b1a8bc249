"""Settings of a worker: options, then environment, then defaults. Read when asked, never at import."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.artifacts import open_store
from worker.embedded import EmbeddedRedis
from worker.home import STATE_FOLDER, sqlite_url
from worker.protocol.errors import BadInput
from worker.protocol.transport import check_queue_name

DEFAULT_DRAIN_S = 30.0

PARENT_VARIABLE = "OPTUNA_RQ_PARENT"
"""Environment variable with the process id of the controller that a local worker belongs to."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How a worker process runs."""

    redis_url: str
    """From ``--redis`` or ``REDIS_URL``."""
    queues: tuple[str, ...] = ("default",)
    slots: int = 1
    """Attempts at a time."""
    artifacts: str | None = None
    """Overrides the study's artifact store on this worker; from ``--artifacts`` or ``ARTIFACT_STORE``."""
    storage_url: str | None = None
    """Optuna's storage, for objectives that take Optuna's trial; from ``--storage`` or ``OPTUNA_STORAGE``."""
    burst: bool = False
    """End when the queues are empty."""
    drain_s: float = DEFAULT_DRAIN_S
    """After the first signal, running attempts may finish for so long, then they are handed back."""
    folder: Path = field(default_factory=Path.cwd)
    """Where programs start."""
    name: str = field(default_factory=lambda: default_name())
    share_redis: bool = False
    """Programs get ``REDIS_URL``, so that they can drive other tasks."""
    embedded: EmbeddedRedis | None = None
    """The Redis of this folder, where none was named: it lives as long as this object is in use."""


def default_name() -> str:
    """Host, process id and three random bytes: unique also after a crash on the same host."""
    host = socket.gethostname().split(".")[0] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


def resolve(
    *,
    redis_url: str | None,
    queues: tuple[str, ...],
    slots: int,
    artifacts: str | None,
    burst: bool,
    drain_s: float,
    name: str | None,
    share_redis: bool = False,
    storage_url: str | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> WorkerSettings:
    """Settings from options and environment.

    Raises:
        BadInput: every setting that can't be, all at once.
    """
    problems = []
    folder = folder or Path.cwd()
    url = redis_url or environment.get("REDIS_URL")
    here = not url and EmbeddedRedis.exists(folder / STATE_FOLDER)
    if not url and not here:
        problems.append(
            f"no Redis named and no {STATE_FOLDER}/ in {folder}: set REDIS_URL or give --redis "
            "redis://HOST:6379/0 (a `controller start` without Redis brings its own workers)"
        )
    if slots < 1:
        problems.append(f"--slots {slots}: at least 1")
    if drain_s < 0:
        problems.append(f"--drain {drain_s:g}: seconds, not negative")
    for queue in queues:
        try:
            check_queue_name(queue)
        except BadInput as error:
            problems.append(f"--queue: {error}")
    store = artifacts or environment.get("ARTIFACT_STORE") or None
    if store:
        try:
            # Its own URL: a path may be relative to this folder, which a program may leave.
            store = open_store(store).url
        except BadInput as error:
            problems.append(str(error))
    if name is not None and not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        problems.append(f"--name {name!r}: use letters, digits, '.', '_' and '-'")
    if problems:
        raise BadInput(*problems)
    storage_url = storage_url or environment.get("OPTUNA_STORAGE") or None
    database = folder / STATE_FOLDER / "optuna.db"
    if storage_url is None and database.exists():
        with contextlib.suppress(BadInput):
            storage_url = sqlite_url(database)
    embedded = EmbeddedRedis(folder / STATE_FOLDER) if here else None
    url = embedded.ensure() if embedded else url
    assert url is not None
    return WorkerSettings(
        redis_url=url,
        queues=queues or ("default",),
        slots=slots,
        artifacts=store,
        burst=burst,
        drain_s=drain_s,
        name=name or default_name(),
        folder=folder,
        share_redis=share_redis,
        storage_url=storage_url,
        embedded=embedded,
    )
