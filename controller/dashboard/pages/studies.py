"""``/``: all studies, and how they do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.dashboard.site import Site, Tab


def studies(request: Request) -> Response:
    site: Site = request.app.state.site
    names = site.store.studies.names()
    rows = [record for name in names if (record := site.store.studies.find(name)) is not None]
    return site.render(request, "studies.html", studies=rows)


routes = [Route("/", studies, name="studies")]
tabs = [Tab(label="Studies", route="studies", place=10)]
