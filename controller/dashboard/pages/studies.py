"""``/``: all studies, and how they do."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from controller.dashboard.site import Site, Tab, as_json
from controller.dashboard.small_drawings import points_of, shares
from controller.results.overview import StudyLine, Unreadable, course, overview
from worker.protocol import Status, Store
from worker.protocol.clock import iso

PER_PAGE = 50
MOST = 1000
"""Studies that are read to be searched, or sorted by what they did: the newest."""
ORDER = (Status.COMPLETED, Status.STOPPED, Status.FAILED, Status.IN_PROGRESS, Status.QUEUED, Status.CREATED)
"""Of the parts of a bar."""

Line = StudyLine | Unreadable
SORTS: Mapping[str, Callable[[StudyLine], Any]] = {
    "state": lambda line: line.state,
    "best": lambda line: math.inf if line.best is None else line.best,
    "trials": lambda line: line.trials,
    "rate": lambda line: line.per_hour or 0.0,
    "left": lambda line: math.inf if line.remaining_s is None else line.remaining_s,
}
"""What the table is sorted by, besides ``name`` and ``created``, which need no study's record."""


class Courses:
    """Courses of the best values, kept until a study has changed. Threads may share it."""

    KEPT = 500

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Any, tuple[float, ...]]] = OrderedDict()

    def of(self, store: Store, line: StudyLine) -> tuple[float, ...]:
        state = (line.created_at, line.best, tuple(line.tasks.items()))
        with self._lock:
            known = self._kept.get(line.name)
            if known is not None and known[0] == state:
                return known[1]
        maximizes = bool(line.objectives) and line.objectives[0].startswith("maximize ")
        found = course(store, line.name, maximizes) if line.objectives else ()
        with self._lock:
            self._kept[line.name] = (state, found)
            self._kept.move_to_end(line.name)
            while len(self._kept) > self.KEPT:
                self._kept.popitem(last=False)
        return found


COURSES = Courses()


def studies(request: Request) -> Response:
    site: Site = request.app.state.site
    store = site.store
    asked = request.query_params
    search, sort = asked.get("q", "").strip(), asked.get("sort", "created")
    descending = asked.get("order", "desc" if sort == "created" else "asc") == "desc"
    page = _page(asked.get("page", "1"))
    names = store.studies.names()
    lines, total = _lines(store, names, search, sort, descending, page)
    rows = [
        {
            "line": line,
            "points": points_of(COURSES.of(store, line)) if isinstance(line, StudyLine) else "",
            "shares": shares({one.value: line.tasks[one] for one in ORDER})
            if isinstance(line, StudyLine)
            else [],
        }
        for line in lines
    ]
    return site.render(
        request,
        "studies.html",
        rows=rows,
        search=search,
        sort=sort,
        descending=descending,
        page=page,
        pages=max(1, math.ceil(total / PER_PAGE)),
        total=total,
        there_are=len(names),
        most=MOST,
    )


def _lines(
    store: Store, names: list[str], search: str, sort: str, descending: bool, page: int
) -> tuple[list[Line], int]:
    """The studies of a page, and how many there are on all pages. Raises a 400 for an unknown order."""
    first = (page - 1) * PER_PAGE
    if sort not in ("created", "name", *SORTS):
        raise HTTPException(400, f"no order {sort!r:.100}; there are created, name, {', '.join(SORTS)}")
    if sort in ("created", "name") and not search:
        ordered = list(names) if sort == "created" else sorted(names, key=str.casefold)
        if descending != (sort == "created"):
            ordered.reverse()
        return overview(store, ordered[first : first + PER_PAGE]), len(names)
    found = [line for line in overview(store, names[:MOST]) if _matches(line, search.casefold())]
    if sort == "name":
        found.sort(key=lambda line: line.name.casefold(), reverse=descending)
    elif sort == "created":
        found.sort(key=lambda line: getattr(line, "created_at", 0.0), reverse=descending)
    else:
        known = [line for line in found if isinstance(line, StudyLine)]
        known.sort(key=SORTS[sort], reverse=descending)
        found = [*known, *(line for line in found if isinstance(line, Unreadable))]
    return found[first : first + PER_PAGE], len(found)


def _matches(line: Line, search: str) -> bool:
    words = [line.name]
    if isinstance(line, StudyLine):
        words += [line.state, line.reason, *line.objectives]
    return any(search in word.casefold() for word in words)


def _page(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:9]) < 10**8:
        raise HTTPException(400, f"page {text!r:.50} is no number of a page")
    return int(text[:9])


def as_list(request: Request) -> Response:
    """The same as JSON, all of them."""
    site: Site = request.app.state.site
    store = site.store
    return as_json([_as_json(line) for line in overview(store, store.studies.names()[:MOST])])


def _as_json(line: Line) -> dict[str, Any]:
    if isinstance(line, Unreadable):
        return {"study": line.name, "problem": line.problem}
    return {
        "study": line.name,
        "state": line.state,
        "reason": line.reason,
        "created_at": iso(line.created_at),
        "elapsed_s": round(line.elapsed_s, 1),
        "remaining_s": line.remaining_s,
        "objectives": list(line.objectives),
        "best": line.best if line.best is None or math.isfinite(line.best) else None,
        "best_task": line.best_task,
        "tasks": {status.value: count for status, count in line.tasks.items()},
        "budgets": [asdict(one) for one in line.budgets],
        "trials_per_hour": line.per_hour,
    }


routes: list[BaseRoute] = [
    Route("/", studies, name="studies"),
    Route("/api/studies", as_list, name="studies_json"),
]
tabs = [Tab(label="Studies", route="studies", place=10)]
