"""Sections of the page "Insight": what one is, where they are found, and how what is costly is kept."""

from __future__ import annotations

import importlib
import pkgutil
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.dashboard.site import Site
from controller.results.study_data import StudyData
from controller.results.study_reader import StudyReader
from worker.protocol import StudyRecord

PAUSE = 15.0
"""Pause until a section's values are found again, as a multiple of what that costs."""
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 120.0
"""What is found so fast that it has no pause, and the longest pause."""
MOST_KEPT = 64
"""Sections of studies whose values are kept, those asked for last."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question of the page and its answer."""

    name: str
    """In addresses; its template is ``insight_NAME.html``."""
    title: str
    values: Callable[[Site, StudyRecord], Mapping[str, Any]]
    """What the template gets as ``found``. A `BadInput` is shown in its place."""
    place: int = 50
    """Sections stand by this number, then by title."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A section's values, and how old they may become."""

    values: Mapping[str, Any]
    again_s: float
    """Seconds after which they are found again; 0 for values that are new."""


def insight_sections() -> list[Section]:
    """All sections, in order: each module of `controller.dashboard.insight` has one as ``section``."""
    return sorted(_all(), key=lambda section: (section.place, section.title))


def _all() -> Iterator[Section]:
    from controller.dashboard import insight  # noqa: PLC0415 - its modules import this one

    for found in pkgutil.iter_modules(insight.__path__):
        yield importlib.import_module(f"{insight.__name__}.{found.name}").section


@dataclass
class _Kept:
    found: Mapping[str, Any] | None = None
    until: float = 0.0
    """When it is found again, monotonic."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Keeper:
    """Finds the values of sections, and keeps what was costly. Several threads may use it.

    Args:
        monotonic: for tests.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.reader = StudyReader()
        self._monotonic = monotonic
        self._kept: OrderedDict[tuple[str, float, str], _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def found(self, site: Site, record: StudyRecord, section: Section) -> Found:
        """A section's values. Raises what the section raises."""
        kept = self._of((record.name, record.created_at, section.name))
        with kept.lock:
            began = self._monotonic()
            if kept.found is not None and began < kept.until:
                return Found(values=kept.found, again_s=kept.until - began)
            kept.found = section.values(site, record)
            ended = self._monotonic()
            pause = (ended - began) * PAUSE
            kept.until = ended + min(LONGEST_PAUSE_S, pause) if pause >= SHORTEST_PAUSE_S else ended
            return Found(values=kept.found, again_s=0.0)

    def _of(self, key: tuple[str, float, str]) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return kept


_KEEPERS: weakref.WeakKeyDictionary[Site, Keeper] = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()


def keeper_of(site: Site) -> Keeper:
    """The one keeper of a site."""
    with _MAKING:
        return _KEEPERS.setdefault(site, Keeper())


def study_data(site: Site, record: StudyRecord) -> StudyData:
    """All tasks of a study, without learning curves; those that have ended are read once for all sections."""
    return keeper_of(site).reader.read(site.store, record.name)
