"""Settings of a worker: options, then environment, then defaults. Read when asked, never at import."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from worker.artifacts import open_store
from worker.embedded import EmbeddedRedis
from worker.health.address import Address, parse_address
from worker.protocol.errors import BadInput
from worker.protocol.host import is_open
from worker.protocol.queues import check_queue_name
from worker.protocol.secrets import JOB_SECRET, REDIS_URL, STORAGE, job_secret, refuse_secret, secret
from worker.protocol.sizes import parse_size
from worker.protocol.urls import redact
from worker.sdk.home import STATE_FOLDER, sqlite_url
from worker.slot.devices import parse_gpus

T = TypeVar("T")

DEFAULT_DRAIN_S = 30.0

ALLOW = "OPTUNA_RQ_ALLOW"
"""Environment variable with patterns of objectives, between commas."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How a worker process runs."""

    redis_url: str = field(repr=False)
    """From ``--redis`` or ``REDIS_URL``."""
    queues: tuple[str, ...] = ("default",)
    slots: int = 1
    """Attempts at a time."""
    artifacts: str | None = None
    """Overrides the study's artifact store on this worker; from ``--artifacts`` or ``ARTIFACT_STORE``."""
    storage_url: str | None = field(default=None, repr=False)
    """Optuna's storage, for objectives that take Optuna's trial; from ``--storage`` or ``OPTUNA_STORAGE``."""
    burst: bool = False
    """End when the queues are empty."""
    wait: bool = False
    """Wait for a Redis that can't be reached yet."""
    idle_s: int | None = None
    """End when no job has come for so long, in seconds; each slot by itself, the worker with its last one."""
    drain_s: float = DEFAULT_DRAIN_S
    """After the first signal, running attempts may finish for so long, then they are handed back."""
    folder: Path = field(default_factory=Path.cwd)
    """Where programs start."""
    name: str = field(default_factory=lambda: default_name())
    share_redis: bool = False
    """Programs get ``REDIS_URL``, so that they can drive other tasks."""
    job_secret: str | None = field(default=None, repr=False)
    """Jobs have to be signed with it; from ``OPTUNA_RQ_SECRET``."""
    allow: tuple[str, ...] = ()
    """Patterns of objectives that are run, empty for all; from ``--allow`` or ``OPTUNA_RQ_ALLOW``."""
    gpus: tuple[str, ...] = ()
    """Devices that the slots share out."""
    threads: int | None = None
    """Of each program; None for an even share of the CPUs."""
    memory_bytes: int | None = None
    """That one task may use."""
    metrics: Address | None = None
    """Where health and metrics are served; from ``--metrics-port``."""
    embedded: EmbeddedRedis | None = None
    """The Redis of this folder, where none was named: it lives as long as this object is in use."""


def default_name() -> str:
    """Host, process id and three random bytes: unique also after a crash on the same host."""
    host = socket.gethostname().split(".")[0] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What the command line says; None and empty where it says nothing. Named as the command's options."""

    redis_url: str | None = field(default=None, repr=False)
    queues: tuple[str, ...] = ()
    slots: int = 1
    artifacts: str | None = None
    burst: bool = False
    drain_s: float = DEFAULT_DRAIN_S
    name: str | None = None
    share_redis: bool = False
    storage_url: str | None = field(default=None, repr=False)
    allow: tuple[str, ...] = ()
    gpus: str | None = None
    threads: int | None = None
    memory: str | None = None
    insecure: bool = False
    metrics_port: str | None = None
    idle_s: int | None = None
    wait: bool = False

    def problems(self) -> list[str]:
        """What can't be, as far as it needs no look at anything else."""
        found = []
        if self.slots < 1:
            found.append(f"--slots {self.slots}: at least 1")
        if self.threads is not None and self.threads < 1:
            found.append(f"--threads {self.threads}: at least 1")
        if self.drain_s < 0:
            found.append(f"--drain {self.drain_s:g}: seconds, not negative")
        if self.idle_s is not None and self.idle_s < 1:
            found.append(f"--idle {self.idle_s}: at least 1 second")
        if self.idle_s is not None and self.burst:
            found.append("--burst doesn't wait for jobs and --idle does: give one of them")
        if self.name is not None and not re.fullmatch(r"[\w.-]*[^\W_][\w.-]*", self.name):
            found.append(f"--name {self.name!r}: use letters, digits, '.', '_' and '-'")
        return found


class _Reader:
    """Reads settings one by one, and keeps what can't be rather than stop at the first."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, find: Callable[[], T]) -> T | None:
        """What `find` gives; None where it raises `BadInput`, which is kept."""
        try:
            return find()
        except BadInput as error:
            self.problems.extend(error.problems)
            return None


def resolve(
    *, folder: Path | None = None, environment: Mapping[str, str] = os.environ, **options: Any
) -> WorkerSettings:
    """Settings from options and environment.

    Args:
        options: see `WorkerOptions`.

    Raises:
        BadInput: every setting that can't be, all at once.
    """
    given, reader, folder = WorkerOptions(**options), _Reader(), folder or Path.cwd()
    reader.read(lambda: refuse_secret("--redis", given.redis_url, REDIS_URL))
    reader.read(lambda: refuse_secret("--storage", given.storage_url, STORAGE))
    url = given.redis_url or reader.read(lambda: secret(REDIS_URL, environment))
    storage_url = given.storage_url or reader.read(lambda: secret(STORAGE, environment))
    key = reader.read(lambda: job_secret(environment))
    gpus, memory, port = given.gpus, given.memory, given.metrics_port
    devices = reader.read(lambda: parse_gpus(gpus, environment)) if gpus is not None else None
    memory_bytes = reader.read(lambda: parse_size(memory, "--memory")) if memory is not None else None
    _check_redis(reader, url, key, given.insecure, folder)
    reader.problems += given.problems()
    for queue in given.queues:
        _check_queue(reader, queue)
    store = given.artifacts or environment.get("ARTIFACT_STORE") or None
    # Its own URL: a path may be relative to this folder, which a program may leave.
    store = reader.read(lambda: open_store(store).url) if store else None
    metrics = reader.read(lambda: parse_address(port)) if port is not None else None
    if reader.problems:
        raise BadInput(*reader.problems)
    embedded = None if url else EmbeddedRedis(folder / STATE_FOLDER)
    return WorkerSettings(
        redis_url=embedded.ensure() if embedded else str(url),
        queues=given.queues or ("default",),
        slots=given.slots,
        artifacts=store,
        burst=given.burst,
        idle_s=given.idle_s,
        wait=given.wait,
        drain_s=given.drain_s,
        name=given.name or default_name(),
        folder=folder,
        share_redis=given.share_redis,
        storage_url=storage_url or _storage_here(folder),
        job_secret=key,
        allow=given.allow or tuple(p.strip() for p in environment.get(ALLOW, "").split(",") if p.strip()),
        gpus=devices or (),
        threads=given.threads,
        memory_bytes=memory_bytes,
        metrics=metrics,
        embedded=embedded,
    )


def _check_redis(reader: _Reader, url: str | None, key: str | None, insecure: bool, folder: Path) -> None:
    """There must be a Redis, and not everybody may be able to have code run here."""
    if reader.problems:
        return
    if not url and not EmbeddedRedis.exists(folder / STATE_FOLDER):
        reader.problems.append(
            f"no Redis named and no {STATE_FOLDER}/ in {folder}: set REDIS_URL or give --redis "
            "redis://HOST:6379/0 (a `controller start` without Redis brings its own workers)"
        )
    if url and not key and not insecure and is_open(url):
        reader.problems.append(
            f"Redis at {redact(url)} asks for no password, and jobs aren't signed: anybody who reaches it "
            f"could run code here; set {JOB_SECRET} (the same for the controller), or give it a password "
            "(or --insecure, in a network of your own)"
        )


def _check_queue(reader: _Reader, queue: str) -> None:
    try:
        check_queue_name(queue)
    except BadInput as error:
        reader.problems.append(f"--queue: {error}")


def _storage_here(folder: Path) -> str | None:
    """The storage that `controller start` keeps in this folder, if there is one."""
    database = folder / STATE_FOLDER / "optuna.db"
    if database.exists():
        with contextlib.suppress(BadInput):
            return sqlite_url(database)
    return None
