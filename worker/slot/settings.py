"""Settings of a worker: options, then environment, then defaults. Read when asked, never at import."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

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
    allow: tuple[str, ...] = (),
    gpus: str | None = None,
    threads: int | None = None,
    memory: str | None = None,
    insecure: bool = False,
    metrics_port: str | None = None,
    idle_s: int | None = None,
    wait: bool = False,
    folder: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> WorkerSettings:
    """Settings from options and environment.

    Raises:
        BadInput: every setting that can't be, all at once.
    """
    problems: list[str] = []
    folder = folder or Path.cwd()

    def good(find: Callable[[], T]) -> T | None:
        try:
            return find()
        except BadInput as error:
            problems.extend(error.problems)
            return None

    good(lambda: refuse_secret("--redis", redis_url, REDIS_URL))
    good(lambda: refuse_secret("--storage", storage_url, STORAGE))
    url = redis_url or good(lambda: secret(REDIS_URL, environment))
    storage_url = storage_url or good(lambda: secret(STORAGE, environment))
    key = good(lambda: job_secret(environment))
    devices = good(lambda: parse_gpus(gpus, environment)) if gpus is not None else None
    memory_bytes = good(lambda: parse_size(memory, "--memory")) if memory is not None else None
    here = not url and EmbeddedRedis.exists(folder / STATE_FOLDER)
    if not url and not here and not problems:
        problems.append(
            f"no Redis named and no {STATE_FOLDER}/ in {folder}: set REDIS_URL or give --redis "
            "redis://HOST:6379/0 (a `controller start` without Redis brings its own workers)"
        )
    if slots < 1:
        problems.append(f"--slots {slots}: at least 1")
    if threads is not None and threads < 1:
        problems.append(f"--threads {threads}: at least 1")
    if url and not key and not insecure and not problems and is_open(url):
        problems.append(
            f"Redis at {redact(url)} asks for no password, and jobs aren't signed: whoever reaches it could "
            f"run code here; set {JOB_SECRET} (the same for the controller), or give it a password "
            "(or --insecure, in a network of your own)"
        )
    if drain_s < 0:
        problems.append(f"--drain {drain_s:g}: seconds, not negative")
    if idle_s is not None and idle_s < 1:
        problems.append(f"--idle {idle_s}: at least 1 second")
    if idle_s is not None and burst:
        problems.append("--burst doesn't wait for jobs and --idle does: give one of them")
    for queue in queues:
        try:
            check_queue_name(queue)
        except BadInput as error:
            problems.append(f"--queue: {error}")
    store = artifacts or environment.get("ARTIFACT_STORE") or None
    if store:
        given = store
        # Its own URL: a path may be relative to this folder, which a program may leave.
        store = good(lambda: open_store(given).url)
    metrics = good(lambda: parse_address(metrics_port)) if metrics_port is not None else None
    if name is not None and not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        problems.append(f"--name {name!r}: use letters, digits, '.', '_' and '-'")
    if problems:
        raise BadInput(*problems)
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
        idle_s=idle_s,
        wait=wait,
        drain_s=drain_s,
        name=name or default_name(),
        folder=folder,
        share_redis=share_redis,
        storage_url=storage_url,
        job_secret=key,
        allow=allow or tuple(p.strip() for p in environment.get(ALLOW, "").split(",") if p.strip()),
        gpus=devices or (),
        threads=threads,
        memory_bytes=memory_bytes,
        metrics=metrics,
        embedded=embedded,
    )
