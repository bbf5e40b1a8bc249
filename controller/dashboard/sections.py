"""Sections of the page "Insight": what one is, where they are found, and how what is costly is kept."""

from __future__ import annotations

import importlib
import pkgutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.dashboard.keeping import Answer, Keeping
from controller.dashboard.site import Site
from controller.results.study_data import StudyData
from worker.protocol import StudyRecord

LONGEST_PAUSE_S = 120.0
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


def insight_sections() -> list[Section]:
    """All sections, in order: each module of `controller.dashboard.insight` has one as ``section``."""
    return sorted(_all(), key=lambda section: (section.place, section.title))


def _all() -> Iterator[Section]:
    from controller.dashboard import insight  # noqa: PLC0415 - its modules import this one

    for found in pkgutil.iter_modules(insight.__path__):
        yield importlib.import_module(f"{insight.__name__}.{found.name}").section


class Keeper:
    """Finds the values of sections, and keeps what was costly. Several threads may use it.

    Args:
        monotonic: for tests.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._kept: Keeping[tuple[str, float, str], Mapping[str, Any]] = Keeping(
            most=MOST_KEPT, longest_s=LONGEST_PAUSE_S, monotonic=monotonic
        )

    def found(self, site: Site, record: StudyRecord, section: Section) -> Answer[Mapping[str, Any]]:
        """A section's values. Raises what the section raises."""
        key = (record.name, record.created_at, section.name)
        return self._kept.get(key, lambda: section.values(site, record))


_KEEPERS: weakref.WeakKeyDictionary[Site, Keeper] = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()


def keeper_of(site: Site) -> Keeper:
    """The one keeper of a site."""
    with _MAKING:
        return _KEEPERS.setdefault(site, Keeper())


def study_data(site: Site, record: StudyRecord) -> StudyData:
    """All tasks of a study, without learning curves; those that have ended are read once for all sections."""
    return site.reader.read(site.store, record.name)
