"""Draws figures for pages: a figure that is costly is drawn again after a pause, not with each change."""

from __future__ import annotations

import json
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from controller.dashboard.keeping import Keeping
from controller.dashboard.site import Site
from controller.figures import FIGURES, Options
from controller.figures.sample import Choice, pick
from controller.results.study_reader import StudyReader
from worker.protocol import Store

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


@dataclass(frozen=True)
class _Drawn:
    layout: dict[str, Any]
    traces: str


class Drawer:
    """Draws and keeps figures. Several threads may use it.

    Args:
        monotonic: for tests.
        reader: of studies, where it is shared.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, reader: StudyReader | None = None
    ) -> None:
        self._reader = reader or StudyReader()
        self._kept: Keeping[Wanted, _Drawn] = Keeping(
            most=MOST_KEPT, longest_s=LONGEST_PAUSE_S, monotonic=monotonic
        )

    def draw(self, store: Store, wanted: Wanted) -> str:
        """A figure as JSON.

        Its layout's ``meta`` has ``again_s``, the seconds after which to ask again; 0 for the newest.

        Raises:
            BadInput: there is no such study.
            KeyError: there is no such figure.
        """
        figure = FIGURES[wanted.figure]

        def drawn() -> _Drawn:
            data = self._reader.read(store, wanted.study)
            if wanted.figure == "curves":
                data = self._reader.with_curves(store, data, pick(data, wanted.choice))
            found = figure(data, wanted.options)
            traces = json.dumps(found["data"], separators=(",", ":"), allow_nan=False)
            return _Drawn(found["layout"], traces)

        answer = self._kept.get(wanted, drawn)
        return _as_json(answer.value, answer.again_s)


def _as_json(drawn: _Drawn, again_s: float) -> str:
    meta = drawn.layout.get("meta")
    layout = {
        **drawn.layout,
        "meta": {**(meta if isinstance(meta, dict) else {}), "again_s": round(again_s, 2)},
    }
    return f'{{"data":{drawn.traces},"layout":{json.dumps(layout, separators=(",", ":"), allow_nan=False)}}}'


_DRAWERS: weakref.WeakKeyDictionary[Site, Drawer] = weakref.WeakKeyDictionary()
_MAKING = threading.Lock()


def drawer_of(site: Site) -> Drawer:
    """The one drawer of a site."""
    with _MAKING:
        return _DRAWERS.setdefault(site, Drawer(reader=site.reader))
