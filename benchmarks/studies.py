"""Studies to measure: started as a user would, on a Redis of their own, watched from outside."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from benchmarks.rows import environment, read_stamps
from worker.embedded.finder import find_redis_server

BIN = Path(sys.executable).parent

STAMP = """
import os, time
def stamp(start):
    with open("stamps", "a") as file:
        file.write(f"{os.getppid()} {start!r} {time.time()!r}\\n")
"""


SWEEP = """
[study]
name = "benchmark"
metric = {{ name = "loss", goal = "minimize" }}
[objective]
function = "objective:train"
{objective}
[parameters]
x = {{ type = "float", low = -1.0, high = 1.0 }}
[sampler]
type = "random"
{more}
[budget]
max_trials = {trials}
"""


def sweep(trials: int, more: str = "", budget: str = "", objective: str = "") -> str:
    """A sweep file of one parameter, ``loss``, and the random sampler.

    Args:
        more: of the sampler, and tables after it.
        budget: further keys of it.
        objective: further keys of that.
    """
    return SWEEP.format(trials=trials, more=more, objective=objective) + budget


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read of a study while it ran."""

    trials: int
    """That have ended by then."""
    controller_s: float
    """Processor time of the controller until then."""
    commands: int
    """Commands that Redis has processed, without those of this measurement."""
    sent_bytes: int
    """To and from Redis."""
    memory_bytes: int
    """That Redis uses."""


@dataclass(kw_only=True)
class Run:
    """A study that has ended."""

    stamps: list[tuple[str, float, float]]
    """(slot, start, end) of each trial, in the order of their ends."""
    readings: list[Reading] = field(default_factory=list)
    seconds: float
    """From the command to its end."""
    folder: Path


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A server as both sides get it: a unix socket and an append-only file."""
    socket = folder / "redis.sock"
    process = subprocess.Popen(
        [
            str(find_redis_server()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder),
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        client = redis.Redis(unix_socket_path=str(socket))
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def study(
    files: Mapping[str, str],
    *,
    storage: str = "sqlite:///{folder}/optuna.db",
    workers: int = 2,
    prepare: Callable[[str], None] | None = None,
    read_every_s: float | None = None,
    program: Sequence[str] = (str(BIN / "controller"),),
    may_fail: bool = False,
    own_temporary: bool = False,
    timeout_s: float = 900.0,
) -> Iterator[Run]:
    """Run ``controller start sweep.toml`` to its end; what it has left can be looked at within.

    Args:
        files: name → text, ``sweep.toml`` among them.
        prepare: called with the storage's URL before.
        read_every_s: seconds between two readings; None for none.
        program: what is called in place of ``controller``.
        may_fail: the study may end as failed.
        own_temporary: temporary files are in ``tmp`` of the study's folder.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redis_server(Path(name)) as url:
        folder = Path(name)
        for path, text in files.items():
            (folder / path).write_text(text)
        storage = storage.format(folder=folder)
        if prepare:
            prepare(storage)
        variables = {**environment(), "REDIS_URL": url, "OPTUNA_STORAGE": storage}
        variables.pop("ARTIFACT_STORE", None)
        if own_temporary:
            (folder / "tmp").mkdir()
            variables["TMPDIR"] = str(folder / "tmp")
        (folder / "stamps").touch()
        command = [*program, "start", "sweep.toml", "--format", "json"]
        begun = time.monotonic()
        process = subprocess.Popen(
            [*command, "--workers", str(workers)],
            cwd=folder,
            env=variables,
            stdout=subprocess.DEVNULL,
        )
        readings: list[Reading] = []
        ended = threading.Event()
        reader = None
        if read_every_s is not None:
            reader = threading.Thread(
                target=_read, args=(process.pid, url, folder, read_every_s, ended, readings), daemon=True
            )
            reader.start()
        try:
            code = process.wait(timeout_s)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            raise
        finally:
            ended.set()
            if reader:
                reader.join(10)
        seconds = time.monotonic() - begun
        if code not in ((0, 1) if may_fail else (0,)):
            raise RuntimeError(f"the study ended with code {code}")
        stamps = read_stamps((folder / "stamps").read_text().splitlines())
        yield Run(stamps=stamps, readings=readings, seconds=seconds, folder=folder)


def _read(
    pid: int, url: str, folder: Path, every_s: float, ended: threading.Event, readings: list[Reading]
) -> None:
    client = redis.Redis.from_url(url)
    controller = psutil.Process(pid)
    own = 0
    with open(folder / "stamps") as stamps:
        trials = 0
        while not ended.wait(every_s):
            trials += stamps.read().count("\n")
            own += 1
            try:
                used, found = controller.cpu_times(), client.info()
            except (psutil.Error, redis.RedisError):
                return
            readings.append(
                Reading(
                    trials=trials,
                    controller_s=used.user + used.system,
                    commands=found["total_commands_processed"] - own,
                    sent_bytes=found["total_net_input_bytes"] + found["total_net_output_bytes"],
                    memory_bytes=found["used_memory"],
                )
            )


def between(readings: list[Reading], first: int, last: int, name: str) -> float:
    """How much a figure has grown per trial between two numbers of ended trials."""
    early = next(reading for reading in readings if reading.trials >= first)
    late = next(reading for reading in readings if reading.trials >= last)
    grown = getattr(late, name) - getattr(early, name)
    return float(grown) / max(1, late.trials - early.trials)
