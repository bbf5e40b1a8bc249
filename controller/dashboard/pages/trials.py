"""``/studies/{name}/trials``: all tasks of a study as a table, filtered, sorted, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from controller.dashboard.site import Site, Tab, as_json
from controller.results.as_csv import to_csv
from controller.results.task_table import Query, TaskPage, find_page, indexed_page
from controller.results.where import Where, WhereError
from worker.protocol import Status, StudyRecord
from worker.protocol.errors import BadInput

COUNTS = (25, 50, 100, 250)
"""Rows of a page that may be chosen."""
COUNT = 50
PATIENCE_S = 0.5
"""How long an answer waits for rows that are read for the first time, in seconds."""
WARM_FROM = 500
"""Tasks of a study from which its rows are read as soon as somebody looks at the first page."""


def trials(request: Request) -> Response:
    site: Site = request.app.state.site
    study = site.study(request.path_params["name"])
    query, count = _query(request), _count(request)
    values: dict[str, Any] = {
        "query": query,
        "asked": _asked(query),
        "counts": COUNTS,
        "count": count,
        "statuses": [status.value for status in Status],
        "problem": None,
        "page": None,
        "reading": None,
    }
    rows = site.rows.of(site.store, study)
    try:
        if query.where.strip():
            Where.parse(query.where)  # what can't be read waits for no rows
        page = indexed_page(site.store, study, rows, query)
        if page is None:
            if not rows.wait(PATIENCE_S):
                read, wanted = rows.progress
                return _shown(request, study, values | {"reading": {"read": read, "wanted": wanted}})
            page = find_page(site.store, study, rows, query)
    except BadInput as error:
        return _shown(request, study, values | {"problem": _problem(query, error)}, status=400)
    response = _shown(request, study, values | {"page": page, **_places(page, count)})
    if page.total >= WARM_FROM and not rows.ready:
        rows.begin()
    return response


def _shown(request: Request, study: StudyRecord, values: Mapping[str, Any], status: int = 200) -> Response:
    site: Site = request.app.state.site
    return site.render(request, "trials.html", status=status, study=study.name, **values)


def _query(request: Request, *, whole: bool = False) -> Query:
    """What the address asks for. Raises `BadInput`.

    Args:
        whole: all that matches rather than a page of it, unless the address says how much.
    """
    given = request.query_params
    status = given.get("status") or None
    if status is not None and status not in [one.value for one in Status]:
        raise BadInput(f"status {status!r:.40}: use one of {', '.join(one.value for one in Status)}")
    count = None if whole and "count" not in given else _count(request)
    place = _number(given.get("page"), 1, "page")
    return Query(
        where=given.get("where", ""),
        status=Status(status) if status else None,
        sort=given.get("sort") or "-trial",
        columns=tuple(given.getlist("columns")),
        start=(place - 1) * (count or 0),
        count=count,
    )


def _asked(query: Query) -> dict[str, Any]:
    """The query as an address has it, without the place in it."""
    return {
        "where": query.where or None,
        "status": query.status.value if query.status else None,
        "sort": query.sort,
        "columns": list(query.columns),
    }


def _count(request: Request) -> int:
    return min(_number(request.query_params.get("count"), COUNT, "count"), 1000)


def _number(text: str | None, default: int, what: str) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < 1:
        raise BadInput(f"{what} {text!r:.40}: a whole number from 1 is wanted")
    return int(text)


def _places(page: TaskPage, count: int) -> dict[str, int]:
    """Numbers of this page and of the last one, from 1."""
    return {"number": page.start // count + 1, "last": max(1, -(-page.matching // count))}


def _problem(query: Query, error: BadInput) -> dict[str, str]:
    """What is wrong; of a filter also what stands before that place, and from there on."""
    if not isinstance(error, WhereError):
        return {"text": str(error), "before": "", "after": ""}
    place = error.column - 1
    return {
        "text": f"The filter can't be read at column {error.column}: {error.problem}.",
        "before": query.where[:place],
        "after": query.where[place:] or " ",
    }


def trials_file(request: Request) -> Response:
    """What the table shows, all pages of it, as JSON; with ``format=csv`` as a file for a spreadsheet."""
    site: Site = request.app.state.site
    study = site.study(request.path_params["name"])
    page = find_page(site.store, study, site.rows.of(site.store, study), _query(request, whole=True))
    if request.query_params.get("format") != "csv":
        return as_json(
            {
                "study": study.name,
                "total": page.total,
                "matching": page.matching,
                "start": page.start,
                "columns": page.columns,
                "rows": page.rows,
            }
        )
    names = ("task", *(name for name in page.columns if name != "task"))
    rows = [
        {
            name: ", ".join(map(str, value)) if isinstance(value, list) else value
            for name, value in row.items()
        }
        for row in page.rows
    ]
    return PlainTextResponse(
        to_csv(rows, names),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="trials.csv"'},
    )


routes = [
    Route("/studies/{name:name}/trials", trials, name="trials"),
    Route("/api/studies/{name:name}/trials", trials_file, name="trials_file"),
]
tabs = [Tab(label="Trials", route="trials", of_study=True, place=20)]
