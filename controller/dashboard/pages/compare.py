"""``/studies/{name}/compare?tasks=…``: chosen tasks side by side, with their learning curves."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.dashboard.site import Site, as_json
from controller.figures.curves import draw
from controller.figures.figure import Options
from controller.results.comparing import Comparison, compare_tasks
from controller.results.curves import read_curves
from controller.results.study_data import StudyData, read_tasks
from worker.protocol import StudyRecord
from worker.protocol.errors import NoSuchTask


def compare(request: Request) -> Response:
    site: Site = request.app.state.site
    study = site.study(request.path_params["name"])
    found = _compared(site, study, request)
    metric = request.query_params.get("metric") or found.metric_keys[0]
    return site.render(request, "compare.html", study=study.name, compared=found, metric=metric)


def compare_json(request: Request) -> Response:
    site: Site = request.app.state.site
    study = site.study(request.path_params["name"])
    return as_json(_compared(site, study, request).plain())


def compare_curves(request: Request) -> Response:
    """The curves of the chosen tasks over each other, of one metric."""
    site: Site = request.app.state.site
    study = site.study(request.path_params["name"])
    ids = [record.id for record in _compared(site, study, request).tasks]
    data = StudyData(
        study=study, tasks=tuple(read_tasks(site.store, study, ids).values()), at=site.store.clock.now()
    ).with_curves(read_curves(site.store, ids))
    given = request.query_params
    return as_json(draw(data, Options(metric=given.get("metric", ""), by_time=given.get("by") == "time")))


def _compared(site: Site, study: StudyRecord, request: Request) -> Comparison:
    """Ids stand one by one or with commas between them in the address. Raises `BadInput`, or a 404."""
    ids = [one for text in request.query_params.getlist("tasks") for one in text.split(",") if one]
    try:
        return compare_tasks(site.store, study, ids)
    except NoSuchTask as error:
        raise HTTPException(404, str(error)) from error


routes = [
    Route("/studies/{name:name}/compare", compare, name="compare"),
    Route("/api/studies/{name:name}/compare", compare_json, name="compare_json"),
    Route("/studies/{name:name}/compare/curves", compare_curves, name="compare_curves"),
]
