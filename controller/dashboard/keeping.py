"""Keeps what is costly to find for a pause, so that open pages cost no more of a core than a share.

A study that runs changes all the time. What is found of it may take a fifteenth of one core, however many
pages are open and however large the study is; until it is found again the last answer is shown, which says
when to ask.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

PAUSE = 15.0
"""Pause until something is found again, as a multiple of what that costs."""
SHORTEST_PAUSE_S = 1.0
"""Pages ask once a second at most: what is found that fast has no pause."""


@dataclass(frozen=True)
class Answer(Generic[V]):
    """What was found, and how old it may become."""

    value: V
    again_s: float
    """Seconds after which it is found again; 0 for what is new."""


@dataclass
class _Kept(Generic[V]):
    """`lock` is held while it is found."""

    value: V | None = None
    until: float | None = None
    """When it is found again, monotonic; None before it was found."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Keeping(Generic[K, V]):
    """Answers by key, each found by one thread at a time. Several threads may use it.

    Args:
        most: answers that are kept, those asked for last.
        longest_s: the longest pause, in seconds.
        monotonic: for tests.
    """

    def __init__(
        self, *, most: int, longest_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._longest_s = longest_s
        self._monotonic = monotonic
        self._kept: OrderedDict[K, _Kept[V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, find: Callable[[], V]) -> Answer[V]:
        """The answer that is kept, or a new one. Raises what `find` raises; then it is asked again."""
        kept = self._of(key)
        with kept.lock:
            began = self._monotonic()
            if kept.value is not None and kept.until is not None and began < kept.until:
                return Answer(kept.value, kept.until - began)
            kept.value = value = find()
            ended = self._monotonic()
            pause = (ended - began) * PAUSE
            kept.until = ended + min(self._longest_s, pause) if pause >= SHORTEST_PAUSE_S else ended
            return Answer(value, 0.0)

    def _of(self, key: K) -> _Kept[V]:
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return kept
