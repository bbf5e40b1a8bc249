"""``/studies/{name}/figures/{figure}``: one figure of a study, as JSON for Plotly."""

from __future__ import annotations

import gzip

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.dashboard.figure_drawer import Wanted, drawer_of
from controller.dashboard.site import Site
from controller.figures import FIGURES, Options
from controller.figures.sample import LARGEST_CHOICE, Choice, numbers_in
from controller.results.study_data import StudyData
from worker.protocol import StudyRecord
from worker.protocol.errors import BadInput

WORTH_PACKING = 10_000
"""Bytes of an answer that is sent compressed."""


def figure(request: Request) -> Response:
    """Draw one figure.

    The query chooses: ``objective`` (which of several, from 0), ``parameter`` (several times), and for the
    curves ``metric``, ``by`` (``iteration`` or ``time``), ``top`` (a number, or ``all``) or ``trials``
    (``3, 5-9``); for slices ``columns`` (1 to 4).
    """
    site: Site = request.app.state.site
    record = site.study(request.path_params["name"])
    name = request.path_params["figure"]
    if name not in FIGURES:
        raise HTTPException(404, f"no figure {name!r:.100}; there are: {', '.join(FIGURES)}")
    if not FIGURES[name].applies(StudyData(study=record, tasks=(), at=0.0)):
        raise HTTPException(404, f"study {record.name!r:.100} has one objective: it has no figure {name!r}")
    wanted = Wanted(
        study=record.name, figure=name, options=_options(request, record), choice=_choice(request)
    )
    text = drawer_of(site).draw(site.store, wanted).encode()
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if len(text) >= WORTH_PACKING and "gzip" in request.headers.get("accept-encoding", ""):
        text, headers["Content-Encoding"] = gzip.compress(text, 3), "gzip"
    return Response(text, media_type="application/json", headers=headers)


def _options(request: Request, record: StudyRecord) -> Options:
    query = request.query_params
    objective = query.get("objective", "0")
    if not objective.isdecimal() or int(objective) >= len(record.metrics):
        raise BadInput(f"objective: {objective!r:.40} is not from 0 to {len(record.metrics) - 1}")
    by = query.get("by") or "iteration"
    if by not in ("iteration", "time"):
        raise BadInput(f"by: {by!r:.40} is neither 'iteration' nor 'time'")
    columns = query.get("columns", "4")
    if columns not in ("1", "2", "3", "4"):
        raise BadInput(f"columns: {columns!r:.40} is not from 1 to 4")
    return Options(
        columns=int(columns),
        objective=int(objective),
        metric=query.get("metric", ""),
        by_time=by == "time",
        parameters=tuple(dict.fromkeys(name for name in query.getlist("parameter") if name)),
    )


def _choice(request: Request) -> Choice:
    query = request.query_params
    trials = query.get("trials", "")
    if trials.strip():
        return Choice(trials=numbers_in(trials))
    top = query.get("top") or "20"
    if top == "all":
        return Choice(top=None)
    if not top.isdecimal() or not 1 <= int(top[:9]) <= LARGEST_CHOICE:
        raise BadInput(f"top: {top!r:.40} is neither 'all' nor a number from 1 to {LARGEST_CHOICE}")
    return Choice(top=int(top))


routes = [Route("/studies/{name:name}/figures/{figure:name}", figure, name="figure")]
