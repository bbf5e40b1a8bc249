"""Waiting for an artifact store that is away or full."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

from worker.artifacts.protocol import ArtifactStoreUnavailable
from worker.protocol.errors import ArtifactError

log = logging.getLogger(__name__)

PATIENCE_S = 300.0
"""How long a store that is away is waited for, in seconds; ``ARTIFACT_PATIENCE`` in the environment."""
FIRST_S, LONGEST_S = 0.5, 10.0
"""Pauses between two tries: the first, doubled each time up to the longest, in seconds."""
LASTING = 3
"""Failed tries after which it is worth a word that the store is away: a busy one refuses now and then."""
LOOK_S = 0.2
"""How often a pause asks whether to go on waiting, in seconds."""

T = TypeVar("T")


def retry_while_away(
    call: Callable[[], T],
    patience_s: float,
    *,
    waiting: Callable[[], None] = lambda: None,
    away: Callable[[ArtifactStoreUnavailable, float], None] = lambda error, seconds: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """`call()`, tried again while the store is away.

    Args:
        patience_s: how long after the first failure a further try may begin, in seconds.
        waiting: called now and then in pauses; what it raises ends the waiting.
        away: called with what is wrong, and the seconds until the next try, once that has lasted for a while.

    Raises:
        ArtifactStoreUnavailable: of the last try.
    """
    deadline: float | None = None
    pause = FIRST_S
    failures = 0
    while True:
        try:
            return call()
        except ArtifactStoreUnavailable as error:
            now = clock()
            if deadline is None:
                deadline = now + patience_s
                if patience_s:
                    log.warning("%s; trying again for up to %g s", error, patience_s)
            if now >= deadline:
                raise
            failures += 1
            if failures >= LASTING:
                away(error, pause)
        # Some earlier, some later: many tasks may wait for the same store.
        until = min(clock() + pause * random.uniform(0.75, 1.25), deadline)
        pause = min(2 * pause, LONGEST_S)
        while clock() < until:
            waiting()
            sleep(min(LOOK_S, max(0.0, until - clock())))


def patience_s() -> float:
    """How long a store that is away is waited for, in seconds. Raises `ArtifactError` for no number."""
    given = os.environ.get("ARTIFACT_PATIENCE", "")
    try:
        return max(0.0, float(given)) if given else PATIENCE_S
    except ValueError:
        raise ArtifactError(f"ARTIFACT_PATIENCE={given!r}: give a number of seconds, such as 300") from None
