"""``/compare?a=…&b=…``: two searches beside each other. A side is a study's name, or a pattern of names."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.dashboard.site import Site, Tab, as_json
from controller.insight.compare import Comparison, compare_studies
from controller.insight.compare_figure import draw
from controller.insight.compare_reading import read_side
from worker.protocol.errors import BadInput

LISTED = 500
"""Names that the fields suggest, the newest."""


def compared_studies(request: Request) -> Response:
    site: Site = request.app.state.site
    query = request.query_params
    found, problem = None, ""
    if query.get("a") and query.get("b"):
        try:
            found = _compared(request)
        except BadInput as error:
            problem = str(error)
    return site.render(
        request,
        "compare_studies.html",
        found=found,
        problem=problem,
        a=query.get("a", ""),
        b=query.get("b", ""),
        objective=query.get("objective", ""),
        names=list(site.store.studies.names())[:LISTED],
    )


def compared_studies_json(request: Request) -> Response:
    return as_json(_compared(request).as_dict())


def compared_studies_figure(request: Request) -> Response:
    over = "cost" if request.query_params.get("over") == "cost" else "trials"
    return as_json(draw(_compared(request), over))


def _compared(request: Request) -> Comparison:
    """Raises `BadInput`, which the application answers with its words."""
    site: Site = request.app.state.site
    query = request.query_params
    sides = []
    for name in ("a", "b"):
        if not query.get(name):
            raise BadInput(f"compare: {name} is missing; name a study, or a pattern of names such as tpe-*")
        # Names alone: a path would be one on the server.
        sides.append(read_side([query[name]], lambda: site.store, lambda text: None, site.reader.read))
    return compare_studies(sides[0], sides[1], query.get("objective") or None)


routes = [
    Route("/compare", compared_studies, name="compare_studies"),
    Route("/api/compare", compared_studies_json, name="compare_studies_json"),
    Route("/compare/figure", compared_studies_figure, name="compare_studies_figure"),
]
tabs = [Tab(label="Compare", route="compare_studies", place=20)]
