"""Keeps the artifacts of the best tasks only, while a study runs: ``[artifacts] keep_top``."""

from __future__ import annotations

import logging
import threading

import redis

from controller.results.artifacts import Artifacts
from worker.protocol import Store
from worker.protocol.errors import OptunaRQError

log = logging.getLogger(__name__)

PAUSE_S = 5.0
"""Seconds between two passes; each costs a round trip and a few deletes."""
MOST_SAID = 1000
"""Artifacts that could not be removed of which something is said."""


class ArtifactKeeper:
    """Removes the artifacts of tasks that have ended and are not among the best, in a thread of its own.

    Args:
        store: with a client that several threads may use.
        study: name of the study; its record must be there.
        keep_top: number of best tasks that keep their artifacts.
    """

    def __init__(self, store: Store, study: str, keep_top: int) -> None:
        self._store = store
        self._study = study
        self._keep_top = keep_top
        self._over = threading.Event()
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="artifact-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Make a last pass after all tasks have ended, and return when it is done."""
        self._over.set()
        self._thread.join()
        self.clean()

    def clean(self) -> int:
        """Remove what is outside the top now; returns how many artifacts were removed. Never raises."""
        try:
            found = Artifacts(self._store, self._store.studies.get(self._study))
            doomed = found.outside_top(self._keep_top)
            problems = found.remove(doomed)
        except (OptunaRQError, redis.RedisError) as error:
            log.warning("study %s: artifacts were not checked: %s", self._study, error)
            return 0
        new = [problem for problem in problems if problem not in self._said]
        self._said.update(new[:MOST_SAID])
        if new and len(self._said) <= MOST_SAID:
            log.warning("study %s: %d artifact(s) could not be removed: %s", self._study, len(new), new[0])
        return len(doomed) - len(problems)

    def _run(self) -> None:
        while not self._over.wait(PAUSE_S):
            self.clean()
