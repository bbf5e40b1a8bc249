"""``/studies/{name}/insight``: what a study's records say of it, a section for each question."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.dashboard.addresses import of_task
from controller.dashboard.sections import Section, insight_sections, keeper_of
from controller.dashboard.site import Site, Tab
from worker.protocol import StudyRecord
from worker.protocol.errors import BadInput, ServerAway


def insight(request: Request) -> Response:
    """The page: its sections fill themselves, so that one that takes seconds holds up no other."""
    site: Site = request.app.state.site
    record = site.study(request.path_params["name"])
    return site.render(request, "insight.html", study=record.name, sections=insight_sections())


def insight_section(request: Request) -> Response:
    """One section: a page of its own, or with ``?part=section`` what the page above shows of it."""
    site: Site = request.app.state.site
    record = site.study(request.path_params["name"])
    name = request.path_params["section"]
    sections = {section.name: section for section in insight_sections()}
    if name not in sections:
        raise HTTPException(404, f"no section {name!r:.100}; there are: {', '.join(sections)}")
    section = sections[name]
    values = _values(site, record, section)
    return site.render(
        request,
        "insight_section.html",
        study=record.name,
        section=section,
        record=record,
        task_url=partial(of_task, request),
        **values,
    )


def _values(site: Site, record: StudyRecord, section: Section) -> dict[str, Any]:
    """What the template of a section is handed; where it has no answer, why not."""
    try:
        found = keeper_of(site).found(site, record, section)
    except ServerAway:
        raise
    except BadInput as error:
        return {"found": {}, "problem": str(error), "again_s": 0.0}
    return {"found": found.value, "problem": "", "again_s": found.again_s}


routes = [
    Route("/studies/{name:name}/insight", insight, name="insight"),
    Route("/studies/{name:name}/insight/{section:name}", insight_section, name="insight_section"),
]
tabs = [Tab(label="Insight", route="insight", of_study=True, place=30)]
