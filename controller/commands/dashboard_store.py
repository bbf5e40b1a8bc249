"""The store of a server that outlives Redis: asked for by each request, whether or not Redis is there."""

from __future__ import annotations

import threading

from controller.commands.settings import Settings
from worker.embedded import EmbeddedRedis
from worker.protocol.connection import connect
from worker.protocol.errors import RedisUnavailable
from worker.protocol.store import Store
from worker.sdk.home import STATE_FOLDER


class StoreSource:
    """Gives the store of some settings. Several threads may ask.

    An embedded Redis is kept running, and brought back if it was lost; one that a `controller start` makes in
    the folder later is found.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._embedded = EmbeddedRedis(settings.state_folder) if settings.embedded else None
        self._lock = threading.Lock()
        self._url = ""
        self._store: Store | None = None

    def __call__(self) -> Store:
        """The store. Raises `OptunaRQError` when there is no Redis to ask; one that is away fails later."""
        url = self._settings.redis_url or self._ensured()
        with self._lock:
            if self._store is None or url != self._url:
                self._store = Store(connect(url, patience_s=0, timeout_s=10.0))
                self._url = url
            return self._store

    def close(self) -> None:
        if self._embedded is not None:
            self._embedded.close(wait=True)

    def _ensured(self) -> str:
        assert self._embedded is not None
        if not EmbeddedRedis.exists(self._settings.state_folder):
            raise RedisUnavailable(
                f"no Redis is named, and there is no {STATE_FOLDER}/ in {self._settings.folder} yet: "
                "`controller start` makes one"
            )
        return self._embedded.ensure()
