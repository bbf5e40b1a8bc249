"""What every page is handed: the store, Optuna's storages, what may be done, and how a template is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from jinja2.runtime import Context
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from controller.dashboard import addresses
from controller.dashboard.static_files import styles_of_maps
from controller.report.sections import spans
from controller.results.durations import spoken
from controller.results.study_reader import StudyReader
from controller.results.task_rows import RowsKept
from worker.protocol import Store, StudyRecord, TaskRecord
from worker.protocol.errors import BadInput, ServerAway
from worker.protocol.printable import lines, one_line
from worker.version import __version__


@dataclass(frozen=True, kw_only=True)
class Tab:
    """A link in the navigation: at the top, or below a study's name."""

    label: str
    route: str
    """Name of the route that it leads to; a study's takes ``name``."""
    of_study: bool = False
    place: int = 50
    """Tabs stand by this number, then by label."""


class Site:
    """What pages work with. One for the server; several threads use it.

    A page asks for `store` in each request, and lets errors of Redis pass: the application shows them.

    Args:
        open_store: the store; it raises `OptunaRQError` while there is no Redis.
        storage_url: URL of a study's Optuna storage, with its password. Raises `BadInput` if unknown.
        artifacts_url: the artifact store of studies whose record names none.
        allow_actions: pages offer what changes something.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        storage_url: Callable[[StudyRecord], str] = lambda record: record.storage,
        artifacts_url: str = "",
        allow_actions: bool = False,
    ) -> None:
        self._open_store = open_store
        self.storage_url = storage_url
        self.artifacts_url = artifacts_url
        self.allow_actions = allow_actions
        self.rows = RowsKept()
        """Rows of studies' tables, kept between two pages."""
        self.reader = StudyReader()
        """Reads studies whole, for figures and insight alike."""
        self.tabs: Sequence[Tab] = ()
        """The navigation, in order; the application gathers it from the pages."""
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= FILTERS

    @property
    def store(self) -> Store:
        return self._open_store()

    def study(self, name: str) -> StudyRecord:
        """A study's record. Raises a 404 that says which there are."""
        return found(lambda: self.store.studies.get(name))

    def task(self, task_id: str) -> TaskRecord:
        """A task's record. Raises a 404."""
        if not re.fullmatch("[0-9a-f]{32}", task_id):  # it would name another key of a task's
            raise HTTPException(404, f"no task {task_id!r:.200}: an id has 32 hexadecimal digits")
        return found(lambda: self.store.tasks.get(task_id))

    def render(
        self, request: Request, template: str, *, status: int = 200, study: str = "", **values: Any
    ) -> Response:
        """A page by its template; only one block of it when the address has ``?part=BLOCK``.

        Args:
            study: the study that the page is about: its tabs are shown.
        """
        page = self._templates.get_template(template)
        context = {**self._common(request, study), **values}
        part = request.query_params.get("part")
        if part is None or status != 200:
            return HTMLResponse(page.render(context), status)
        if part not in page.blocks:
            raise HTTPException(404, f"this page has no part {part!r:.100}")
        return HTMLResponse(_part_of(page, part, context))

    def _common(self, request: Request, study: str) -> dict[str, Any]:
        """What each template can use."""
        access = request.scope.get("access")

        def url(route: str, query: dict[str, Any] | None = None, **names: Any) -> str:
            return addresses.address(request, route, query, **names)

        def here(**changes: Any) -> str:
            return addresses.here(request, part=None, **changes)

        def part(name: str) -> str:
            """This page's address, of one block of it."""
            return addresses.here(request, part=name)

        return {
            "url": url,
            "here": here,
            "part": part,
            # Without a version: a script that another imports by its plain name would be loaded twice.
            "static": lambda name: url("static", path=name),
            "study_name": study,
            "tabs": [tab for tab in self.tabs if tab.of_study is False],
            "study_tabs": [tab for tab in self.tabs if tab.of_study] if study else [],
            "route": getattr(request.scope.get("route"), "name", ""),
            "access": access,
            "may_act": bool(self.allow_actions and access and not access.reads_only),
            "styles_of_maps": styles_of_maps,
            "live": url("live", {"study": study or None}),
            "version": __version__,
        }


def _part_of(page: Template, part: str, values: dict[str, Any]) -> str:
    """What one block of a template makes. What is above it is run, too: the block may use its macros."""
    context = page.new_context(values)
    block = context.blocks[part][0]
    made: list[str] = []

    def kept(inner: Context) -> Iterator[str]:
        made.append("".join(block(inner)))
        yield made[-1]

    context.blocks[part][0] = kept
    for _ in page.root_render_func(context):
        if made:
            break
    return "".join(made)


Found = TypeVar("Found")


def found(ask: Callable[[], Found]) -> Found:
    """What `ask` returns. A `BadInput` that it raises becomes a 404."""
    try:
        return ask()
    except ServerAway:
        raise
    except BadInput as error:
        raise HTTPException(404, str(error)) from error


def as_json(value: Any, status: int = 200) -> JSONResponse:
    """JSON that browsers read: `value` has no NaN and no infinity."""
    return JSONResponse(value, status)


def number(value: Any, digits: int = 6) -> str:
    """A value in a table: numbers short, text on one line, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return one_line(str(value))
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def moment(stamp: float | str | None) -> str:
    """A moment as UTC to the second; nothing for None."""
    if stamp is None or stamp == "":
        return ""
    if isinstance(stamp, str):
        at = datetime.fromisoformat(stamp)
    else:
        at = datetime.fromtimestamp(stamp, timezone.utc)
    return at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def slug(text: str) -> str:
    """A name of ours as part of a class: letters, digits, ``-``."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "moment": moment,
    "spoken": lambda seconds: "" if seconds is None else spoken(float(seconds)),
    "one_line": lambda text: one_line(str(text)),
    "lines": lambda text: lines(str(text)),
    "slug": slug,
    "spans": lambda text: spans(one_line(str(text), 2_000)),
}
"""What templates write as ``{{ value | number }}``. All that is shown is escaped besides."""
