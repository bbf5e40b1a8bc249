"""``/studies/{name}/report``: the report of a study, as a file to keep."""

from __future__ import annotations

import threading

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.dashboard.site import Site, Tab
from controller.dashboard.task_artifacts import storage_at
from controller.report.writing import FORMATS, report_of_store
from worker.artifacts.names import safe_name

_TYPES = {"html": "text/html; charset=utf-8", "md": "text/markdown; charset=utf-8"}
_ONE = threading.Lock()
"""A report takes seconds of a processor for thousands of trials: one at a time, and the pages go on."""


def report(request: Request) -> Response:
    """What there is to download."""
    site: Site = request.app.state.site
    record = site.study(request.path_params["name"])
    return site.render(request, "report.html", study=record.name)


def download(request: Request) -> Response:
    """The report. Always a download: it has scripts of its own, which this site's policy would not run."""
    site: Site = request.app.state.site
    record = site.study(request.path_params["name"])
    form = request.path_params["form"]
    if form not in FORMATS:
        raise HTTPException(404, f"no report in format {form!r:.100}; there are: {', '.join(FORMATS)}")
    with _ONE:
        text = report_of_store(
            site.store, record.name, form, lambda study: storage_at(site, site.storage_url(study))
        )
    # A name in a header is ASCII; the browser may add a number.
    name = safe_name(record.name).encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    headers = {
        "Content-Disposition": f'attachment; filename="{name}.{form}"',
        "Content-Security-Policy": "sandbox",
        "Cache-Control": "no-store",
    }
    return Response(text.encode("utf-8", "replace"), media_type=_TYPES[form], headers=headers)


routes = [
    Route("/studies/{name:name}/report", report, name="report"),
    Route("/studies/{name:name}/report/{form}", download, name="report-file"),
]
tabs = [Tab(label="Report", route="report", of_study=True, place=80)]
