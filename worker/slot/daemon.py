"""The worker process: keeps its slots alive, shows itself in Redis, forwards stop requests and signals."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from math import nan
from typing import TYPE_CHECKING, Any

import redis
from redis.exceptions import NoPermissionError

from worker.process.cgroups import Place, find_place
from worker.process.parent_death import HAND_BACK_NOW, adopt_orphans
from worker.process.process_tree import children, kill_tree
from worker.protocol import keys
from worker.protocol.connection import check, connect, trouble
from worker.protocol.errors import RedisAway, RedisUnavailable
from worker.protocol.gpu_status import pack
from worker.protocol.host import REGISTRATION_LIFE_S, REGISTRATION_PERIOD_S, place
from worker.protocol.redis_time import RedisTime
from worker.protocol.store import Store
from worker.slot.devices import slot_environment, visible
from worker.slot.gpus.watcher import GpuWatcher, is_worth_it
from worker.slot.pauses import Pauses
from worker.slot.scratch import Scratch
from worker.slot.settings import WorkerSettings
from worker.slot.surroundings import look_aside
from worker.version import __version__

if TYPE_CHECKING:
    from worker.health.monitoring import Monitoring

log = logging.getLogger(__name__)

_SLOT = "import sys; sys.path[:] = [p for p in sys.path if p]; from worker.slot.slot import main; main()"

WAIT_S = 5.0
"""Between two looks for a Redis that can't be reached yet, in seconds."""
MAX_PAUSE_S = 30.0
"""Longest pause before a slot that keeps dying is started again, in seconds."""

OUT_OF_WORK = 75
"""Exit code of a slot that has found no job, with `burst` or for `idle_s`: it is not started again."""


@dataclass
class _SlotProcess:
    process: subprocess.Popen[bytes]
    wake: socket.socket
    started: float


class Daemon:
    """One worker process. ``Daemon(settings).run()`` returns its exit code."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._slots: dict[int, _SlotProcess] = {}
        self._restart_at: dict[int, float] = {}
        self._deaths = 0
        self._signals = 0
        self._register_at = 0.0
        self._pauses: Pauses | None = None
        self._store: Store | None = None
        self._monitoring: Monitoring | None = None
        self._redis_up = False
        self._registered_at = nan
        self._gpus: GpuWatcher | None = None
        self._groups: Place | None = None
        """Where slots hold what they run to its memory limit; None where they look at it instead."""

    def run(self) -> int:
        """Serve until a signal, or, with `burst` or `idle_s`, until there is no work.

        Raises:
            RedisUnavailable: Redis can't be used; nothing was started.
            BadInput: another live worker has this name, or metrics can't be served where they are to be.
        """
        settings = self._settings
        if settings.metrics:
            from worker.health.monitoring import Monitoring  # noqa: PLC0415 - a worker starts sooner without prometheus_client

            self._monitoring = Monitoring(settings.metrics, settings.name, settings.slots)
        client = connect(settings.redis_url, patience_s=0, timeout_s=5.0)
        self._reach(client)
        self._check_queues(client)
        clock = RedisTime(client)
        trouble = clock.trouble()
        if trouble:
            log.warning("worker %s: %s", settings.name, trouble)
        self._store = Store(client, clock)
        adopt_orphans()
        self._scratch = scratch = Scratch()
        self._pauses = Pauses(self._store, settings.name, scratch.pause_file, scratch.drain_file)
        try:
            self._register(first=True)
        except BaseException:
            self._scratch.remove()
            raise
        # Only now: signals before this point may simply end the process.
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        listener = client.pubsub(ignore_subscribe_messages=True)
        listener.subscribe(keys.control(settings.name))
        self._limit_memory()
        self._watch_gpus()
        for number in range(settings.slots):
            self._start(number)
        look_aside(settings.folder, scratch.surroundings_file, self._store.clock.now())
        log.info(
            "worker %s: %d slot(s) on queue(s) %s", settings.name, settings.slots, ", ".join(settings.queues)
        )
        try:
            while self._slots or (self._restart_at and not self._is_ending):
                self._step(listener)
        finally:
            for slot in self._slots.values():
                kill_tree(slot.process.pid)
            if self._monitoring:
                self._monitoring.close()
            if self._gpus:
                self._gpus.close()
            self._scratch.remove()
            if self._groups:
                self._groups.remove()
            with contextlib.suppress(redis.RedisError):
                self._store.workers.forget(settings.name)
            listener.close()
        return 0

    def _watch_gpus(self) -> None:
        if is_worth_it(self._settings.gpus):
            names = self._settings.gpus or visible(os.environ)
            self._gpus = GpuWatcher(self._scratch.gpu_folder, names)
            self._gpus.start()

    def _limit_memory(self) -> None:
        """Find out how the slots can hold what they run to ``--memory``."""
        if self._settings.memory_bytes:
            self._groups, why = find_place()
            how = "held by the kernel" if self._groups else f"looked at twice a second, as {why}"
            log.info("worker %s: the memory of what runs is %s", self._settings.name, how)

    def _reach(self, client: Any) -> None:
        """Prove that Redis can be used; with `wait`, once it can be reached. Raises `RedisUnavailable`."""
        while True:
            try:
                check(client, self._settings.redis_url)
                return
            except RedisAway as error:
                if not self._settings.wait:
                    raise
                log.warning("worker %s: %s; trying again", self._settings.name, error)
                time.sleep(WAIT_S)

    def _check_queues(self, client: Any) -> None:
        """Prove that this Redis user may serve the queues. Raises `RedisUnavailable`."""
        for queue in self._settings.queues:
            try:
                client.exists(f"{keys.RQ}queue:{queue}", f"{keys.RQ}queue:{queue}:intermediate")
            except NoPermissionError as error:
                raise RedisUnavailable(f"queue {queue!r}: {trouble(error)}") from error

    def _step(self, listener: Any) -> None:
        """Forward what has come, look after the slots, show that we are alive."""
        assert self._pauses is not None
        try:
            message = listener.get_message(timeout=0.05 if self._signals or self._settings.burst else 0.5)
            if message:
                self._hear(message)
        except redis.RedisError as error:
            log.warning("worker %s: Redis is away (%s); trying again", self._settings.name, error)
            self._redis_up = False
            self._pause(1.0)
        now = time.monotonic()
        self._look_after_slots(now)
        if now >= self._register_at:
            self._redis_up = False
            with contextlib.suppress(redis.RedisError):
                self._register()
                self._pauses.look()
                self._redis_up = True
            self._register_at = now + REGISTRATION_PERIOD_S
        self._pauses.turn(now)
        if self._monitoring:
            self._monitoring.turn(
                {number: slot.wake for number, slot in self._slots.items()},
                redis_up=self._redis_up,
                registered_at=self._registered_at,
                draining=self._is_ending,
                paused=self._pauses.paused,
            )

    @property
    def _is_ending(self) -> bool:
        """Whether it ends when what runs has ended."""
        return bool(self._signals) or (self._pauses is not None and self._pauses.drains)

    def _hear(self, message: Any) -> None:
        """Take a message of the worker's channel: a stop request, a pause, an order of a person's."""
        assert self._pauses is not None
        self._wake_slots()
        self._register_at = 0.0  # it may be asked to pause, and what it has heard is to be seen
        drained = self._pauses.drains
        self._pauses.hear(message.get("data"))
        if self._pauses.drains and not drained:
            for slot in self._slots.values():
                with contextlib.suppress(ProcessLookupError):
                    slot.process.terminate()
        elif drained and not self._pauses.drains and not self._signals:
            now = time.monotonic()
            missing = [number for number in range(self._settings.slots) if number not in self._slots]
            self._restart_at.update(dict.fromkeys(missing, now))

    def _pause(self, seconds: float) -> None:
        with contextlib.suppress(InterruptedError):
            time.sleep(seconds)

    # Slots

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        options = {
            f.name: getattr(self._settings, f.name) for f in fields(self._settings) if f.name != "embedded"
        }
        options.update(
            pause_file=str(self._scratch.pause_file),
            drain_file=str(self._scratch.drain_file),
            used_folder=str(self._scratch.used_folder),
            surroundings_file=str(self._scratch.surroundings_file),
            code_folder=str(self._scratch.code_folder),
            folder=str(self._settings.folder),
            memory_group=str(self._groups.of_slot(number)) if self._groups else None,
            gpu_folder=str(self._scratch.gpu_folder) if self._gpus else None,
            out_of_work=OUT_OF_WORK,
            log_level=logging.getLevelName(log.getEffectiveLevel()),
        )
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _SLOT, str(number), str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **self._slot_environment(number)},
                # Its own group: a terminal's Ctrl-C is for the daemon, which decides.
                start_new_session=True,
            )
        finally:
            theirs.close()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            # Not in argv and not in the environment: it holds the Redis URL.
            pipe.write(json.dumps(options).encode())
        self._slots[number] = _SlotProcess(process=process, wake=ours, started=time.monotonic())
        if self._is_ending:
            # A signal came while the slot was being started, and found none to pass it on to.
            process.terminate()

    def _slot_environment(self, number: int) -> dict[str, str]:
        settings = self._settings
        return {
            **slot_environment(number, settings.slots, settings.gpus, settings.threads),
            "TMPDIR": str(self._scratch.of_slot(number)),
        }

    def _look_after_slots(self, now: float) -> None:
        for number, slot in list(self._slots.items()):
            code = slot.process.poll()
            if code is None:
                continue
            del self._slots[number]
            if self._monitoring:
                self._monitoring.slot_ended(number, slot.wake)
            slot.wake.close()
            self._kill_orphans()
            self._scratch.drop_slot(number)
            if code == OUT_OF_WORK:
                log.info("worker %s: slot %d ends, as there is no work", self._settings.name, number)
            if self._is_ending or code == OUT_OF_WORK:
                continue
            lived = now - slot.started
            self._deaths = self._deaths + 1 if lived < 60 else 1
            pause = min(MAX_PAUSE_S, 0.5 * 2 ** (self._deaths - 1))
            log.warning(
                "worker %s: slot %d ended with code %d after %.0f s; starting it again in %.1f s",
                self._settings.name, number, code, lived, pause,
            )  # fmt: skip
            self._restart_at[number] = now + pause
            if self._monitoring:
                self._monitoring.slot_restarts()
        self._restart_due(now)

    def _restart_due(self, now: float) -> None:
        """Start the slots again whose pause is over."""
        for number, due in list(self._restart_at.items()):
            if now >= due and not self._is_ending:
                try:
                    self._start(number)
                except OSError as error:  # its disk is full, or no process can be started: it will pass
                    log.warning("worker %s: slot %d can't be started: %s", self._settings.name, number, error)
                    self._restart_at[number] = now + MAX_PAUSE_S
                else:
                    del self._restart_at[number]

    def _kill_orphans(self) -> None:
        """End what a killed slot's programs left behind; the system hands it to us (Linux)."""
        own = {slot.process.pid for slot in self._slots.values()}
        if self._gpus and self._gpus.pid:
            own.add(self._gpus.pid)
        for pid in children(os.getpid()):
            if pid not in own:
                kill_tree(pid, keep=frozenset(own))

    def _wake_slots(self) -> None:
        for slot in self._slots.values():
            with contextlib.suppress(OSError):
                slot.wake.send(b"!")

    # Signals

    def _on_signal(self, signum: int, frame: Any) -> None:
        self._signals += 1
        if self._pauses is not None:
            self._pauses.stop_draining()
        if self._signals <= 2:
            for slot in self._slots.values():
                with contextlib.suppress(ProcessLookupError):
                    slot.process.send_signal(signal.SIGTERM if self._signals == 1 else HAND_BACK_NOW)
        else:
            raise SystemExit(128 + signum)

    # Being seen

    def _register(self, *, first: bool = False) -> None:
        settings = self._settings
        assert self._store is not None
        registration = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "place": place(),
            "queues": ",".join(settings.queues),
            "slots": settings.slots,
            "version": __version__,
            "folder": str(settings.folder),
            "state": "draining" if self._is_ending else "running",
            **(self._pauses.fields() if self._pauses else {}),
            "seen": repr(self._store.clock.now()),
        }
        if self._gpus:
            seen = self._gpus.status()
            registration["gpus"] = pack(seen)
            if self._monitoring:
                self._monitoring.gpus = seen
        self._store.workers.register(settings.name, registration, REGISTRATION_LIFE_S, first=first)
        self._registered_at = time.monotonic()
