"""``/studies/{name}``: one study at a glance."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.dashboard.site import Site, Tab
from controller.results.status import describe_study


def study(request: Request) -> Response:
    site: Site = request.app.state.site
    record = site.study(request.path_params["name"])
    about = describe_study(site.store, record.name)
    return site.render(request, "study.html", study=record.name, about=about)


routes = [Route("/studies/{name:name}", study, name="study")]
tabs = [Tab(label="Overview", route="study", of_study=True, place=10)]
