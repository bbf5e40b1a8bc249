"""Draws figures for pages: a figure that is costly is drawn again after a pause, not with each change.

A study that runs changes all the time. Each figure may take a fifteenth of one core, however many pages are
open and however large the study is; until it is drawn again the last one is shown, which says when to ask.
"""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.dashboard.site import Site
from controller.figures import FIGURES, Options
from controller.figures.sample import Choice, pick
from controller.results.study_reader import StudyReader
from worker.protocol import Store

PAUSE = 15.0
"""Pause between two drawings of a figure, as a multiple of what one costs."""
LONGEST_PAUSE_S = 60.0
MOST_KEPT = 64
"""Figures that are kept, those asked for last."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One figure of one study, as a page asks for it."""

    study: str
    figure: str
    options: Options = field(default_factory=Options)
    choice: Choice = field(default_factory=Choice)


@dataclass
class _Kept:
    """A figure that was drawn; `lock` is held while it is drawn."""

    layout: dict[str, object] = field(default_factory=dict)
    traces: str = ""
    until: float = 0.0
    """When it is drawn again, monotonic."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Drawer:
    """Draws and keeps figures. Several threads may use it.

    Args:
        monotonic: for tests.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._reader = StudyReader()
        self._kept: OrderedDict[Wanted, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def draw(self, store: Store, wanted: Wanted) -> str:
        """A figure as JSON.

        Its layout's ``meta`` has ``again_s``, the seconds after which to ask again; 0 for the newest.

        Raises:
            BadInput: there is no such study.
            KeyError: there is no such figure.
        """
        figure = FIGURES[wanted.figure]
        kept = self._of(wanted)
        with kept.lock:
            now = self._monotonic()
            if now < kept.until:
                return _as_json(kept, kept.until - now)
            data = self._reader.read(store, wanted.study)
            if wanted.figure == "curves":
                data = self._reader.with_curves(store, data, pick(data, wanted.choice))
            drawn = figure(data, wanted.options)
            kept.layout = drawn["layout"]
            kept.traces = json.dumps(drawn["data"], separators=(",", ":"), allow_nan=False)
            done = self._monotonic()
            kept.until = done + min(LONGEST_PAUSE_S, (done - now) * PAUSE)
            return _as_json(kept, 0.0)

    def _of(self, wanted: Wanted) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(wanted, _Kept())
            self._kept.move_to_end(wanted)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return kept


def _as_json(kept: _Kept, again_s: float) -> str:
    meta = kept.layout.get("meta")
    layout = {
        **kept.layout,
        "meta": {**(meta if isinstance(meta, dict) else {}), "again_s": round(again_s, 2)},
    }
    return f'{{"data":{kept.traces},"layout":{json.dumps(layout, separators=(",", ":"), allow_nan=False)}}}'


_DRAWERS: weakref.WeakKeyDictionary[Site, Drawer] = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()


def drawer_of(site: Site) -> Drawer:
    """The one drawer of a site."""
    with _MAKING:
        return _DRAWERS.setdefault(site, Drawer())
