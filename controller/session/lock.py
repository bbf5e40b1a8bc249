"""One controller per study: a lease in Redis, renewed by a thread of its own."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

import redis

from worker.protocol import keys
from worker.protocol.store import Store

log = logging.getLogger(__name__)

LEASE_S = 15.0
"""A controller that has not been heard of for so long has lost its study, in seconds."""


def lease_name() -> str:
    """``host:pid`` of this process: the name under which it acts on studies."""
    return f"{socket.gethostname()}:{os.getpid()}"


class StudyLock:
    """The right to act on a study. `held` turns False for good when another controller may have it."""

    def __init__(self, store: Store, study: str, lease_s: float = LEASE_S) -> None:
        self._store = store
        self._key = keys.study_lock(study)
        self._lease_s = lease_s
        self.name = lease_name()
        self._token = f"{self.name}:{secrets.token_hex(8)}"
        self._valid_until = 0.0
        self.lost = False
        """Another controller has it; it won't come back."""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, *, wait: bool, on_wait: Callable[[str], None], stopped: Callable[[], bool]) -> bool:
        """Take the lease.

        Args:
            wait: stand by until the other controller's lease ends.
            on_wait: called once with the holder's name when there is one.
            stopped: give up when it returns True.

        Returns:
            Whether the lease is ours.
        """
        told = False
        while not stopped():
            asked = time.monotonic()
            if self._store.redis.set(self._key, self._token, nx=True, px=round(self._lease_s * 1000)):
                self._valid_until = asked + self._lease_s
                self._thread = threading.Thread(target=self._renew, name="study-lock", daemon=True)
                self._thread.start()
                return True
            if not told:
                on_wait(str(self._store.redis.get(self._key) or "").rsplit(":", 1)[0])
                told = True
            if not wait:
                return False
            time.sleep(0.5)
        return False

    def _renew(self) -> None:
        while not self._ended.wait(self._lease_s / 3):
            asked = time.monotonic()
            try:
                if self._store.redis.get(self._key) == self._token:
                    self._store.redis.pexpire(self._key, round(self._lease_s * 1000))
                    self._valid_until = asked + self._lease_s
                elif self._store.redis.set(self._key, self._token, nx=True, px=round(self._lease_s * 1000)):
                    # Redis was away for longer than the lease, and nobody has taken over since.
                    self._valid_until = asked + self._lease_s
                else:
                    self.lost, self._valid_until = True, 0.0
                    return
            except redis.RedisError as error:
                log.debug("lease not renewed: %s", error)

    @property
    def held(self) -> bool:
        """Whether acting on the study is safe now."""
        return time.monotonic() < self._valid_until

    def release(self) -> None:
        """Give the lease back, if it is still ours."""
        self._ended.set()
        try:
            if self.held and self._store.redis.get(self._key) == self._token:
                self._store.redis.delete(self._key)
        except redis.RedisError:
            log.debug("lease not released; it ends by itself")
        self._valid_until = 0.0
