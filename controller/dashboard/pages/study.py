"""``/studies/{name}``: one study: how it stands, its figures, its configuration."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.dashboard.addresses import of_task
from controller.dashboard.site import Site, Tab
from controller.figures import applicable
from controller.results.configuration import configuration
from controller.results.durations import spoken
from controller.results.names import known_names
from controller.results.status import describe_study
from controller.results.study_data import StudyData
from controller.results.study_events import study_events
from worker.protocol import StudyRecord

BROAD = frozenset(("curves", "parallel", "slices", "timeline"))
"""Figures that take the whole width."""
OVER_TWO = ("contour", "rank")
"""Figures over two parameters."""
EVENTS = 30
"""Entries of the study's log that are shown, the newest; its control page has more."""
TOPS = ("5", "10", "20", "50", "100", "all")


def study(request: Request) -> Response:
    site: Site = request.app.state.site
    record = site.study(request.path_params["name"])
    part = request.query_params.get("part")
    values: dict[str, Any] = {"record": record}
    if part in (None, "glance"):
        about = describe_study(site.store, record.name)
        values |= {"about": about, "budgets": _budgets(about["budget"])}
    if part in (None, "log"):
        events = study_events(site.store, record.name, EVENTS)[::-1]
        values |= {"events": events, "task_url": partial(of_task, request)}
    if part is None:
        objective = _objective(request, record)
        values |= {
            "figures": applicable(StudyData(study=record, tasks=(), at=0.0)),
            "names": known_names(site.store, record),
            "objective": objective,
            "chosen": _chosen(request),
            "configuration": configuration(record),
            "task_address": of_task(request, "TASK"),
            "broad": BROAD,
            "over_two": OVER_TWO,
            "tops": TOPS,
        }
    return site.render(request, "study.html", study=record.name, **values)


def _objective(request: Request, record: StudyRecord) -> int:
    text = request.query_params.get("objective", "")
    return int(text) if text.isdecimal() and int(text[:9]) < len(record.metrics) else 0


def _chosen(request: Request) -> dict[str, str]:
    """What the address says of the learning curves, and of the parameters of two figures."""
    query = request.query_params
    names = ("metric", "by", "top", "trials", "smooth", "logx", "logy", "x", "y")
    return {name: query.get(name, "") for name in names}


def _budgets(budget: dict[str, Any]) -> list[dict[str, Any]]:
    """Each budget that is used up: its name, what is used of it from 0 to 1, and both in words."""
    rows = []
    # Of trials and iterations, the latter decide: trials that were pruned buy others.
    hidden = ["concurrent"]
    if isinstance(budget.get("iterations", {}).get("limit"), (int, float)):
        hidden.append("jobs")
    for name, values in budget.items():
        if name in hidden:
            continue
        limit, used = values.get("limit"), values.get("used")
        if used is None:
            continue  # a limit of each trial by itself
        if not isinstance(limit, (int, float)) or limit <= 0:
            continue
        is_time = values.get("unit") == "minutes"
        said = [spoken(value * 60) if is_time else f"{value:g}" for value in (used, limit)]
        rows.append(
            {
                "name": "trials" if name == "jobs" else name.replace("_", " "),
                "share": min(1.0, used / limit),
                "text": " of ".join(said),
            }
        )
    return rows


routes = [Route("/studies/{name:name}", study, name="study")]
tabs = [Tab(label="Overview", route="study", of_study=True, place=10)]
