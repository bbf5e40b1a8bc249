"""Artifacts of tasks and studies: streamed from their store, and shown where a browser may show them.

| address below a task or study | answers |
|---|---|
| `artifacts/KEY` | the bytes, to be saved |
| `artifacts/KEY/page` | a page that shows them |
| `artifacts/KEY/image`, `artifacts/KEY/frame` | the bytes for that page's image or frame |
| `artifacts/KEY/figure` | a plot as JSON |

KEY is the artifact's id, or its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.dashboard.site import Site, as_json
from controller.dashboard.streaming import HTML, HTML_WITH_SCRIPTS, IMAGE, Sent, send
from controller.dashboard.task_artifacts import Held, held_by_study, held_by_task
from controller.results.artifact_shown import NotShown, Shown, image_type, read_figure, read_shown, shown_as
from controller.results.artifacts import Listed
from worker.artifacts import NoSuchObject, StoredObject
from worker.protocol.errors import ArtifactError, BadInput

IMAGE_BYTES = 32 << 20
"""Largest image that a page draws by itself."""


def held(request: Request) -> Held:
    """The artifacts of the task or study that the address names."""
    site: Site = request.app.state.site
    names = request.path_params
    if "task" in names:
        return held_by_task(site, site.task(names["task"]))
    return held_by_study(site, site.study(names["name"]))


def artifact_of(request: Request) -> tuple[Held, Listed]:
    """The artifact that the address names. Raises a 404 that says which there are."""
    owner = held(request)
    key = request.path_params["key"]
    by_id = [listed for listed in owner.listed if listed.artifact_id == key]
    for listed in by_id or [listed for listed in owner.listed if listed.name == key]:
        return owner, listed
    there = ", ".join(listed.name for listed in owner.listed[:20]) or "none"
    raise HTTPException(
        404, f"{owner.title} has no artifact {key!r:.200}: replaced or removed? There are: {there:.2000}"
    )


def opened(owner: Held, listed: Listed) -> StoredObject:
    """The stored bytes. Raises what the page then says: they are gone, or the store is away."""
    try:
        return owner.artifacts.open(listed)
    except NoSuchObject as error:
        raise HTTPException(410, f"the bytes of artifact {listed.name!r:.200} are gone: {error}") from error
    except (ArtifactError, BadInput) as error:
        raise HTTPException(502, str(error)) from error


def download(request: Request) -> Response:
    owner, listed = artifact_of(request)
    return _send(request, owner, listed, Sent(filename=listed.filename, tag=listed.artifact_id))


def image(request: Request) -> Response:
    owner, listed = artifact_of(request)
    content_type = image_type(listed)
    if content_type is None:
        raise HTTPException(404, f"artifact {listed.name!r:.200} is no image that is shown")
    how = Sent(
        filename=listed.filename, tag=listed.artifact_id, content_type=content_type, policy=IMAGE, inline=True
    )
    return _send(request, owner, listed, how)


def frame(request: Request) -> Response:
    """A page among the artifacts, for a frame without rights; nothing else may show it."""
    owner, listed = artifact_of(request)
    if shown_as(listed) is not Shown.HTML or listed.encoding:
        raise HTTPException(404, f"artifact {listed.name!r:.200} is no page")
    if request.headers.get("sec-fetch-dest", "iframe") != "iframe":
        return download(request)
    how = Sent(
        filename=listed.filename,
        tag=listed.artifact_id,
        content_type="text/html",
        policy=HTML_WITH_SCRIPTS if "scripts" in request.query_params else HTML,
        inline=True,
    )
    return _send(request, owner, listed, how)


def _send(request: Request, owner: Held, listed: Listed, how: Sent) -> Response:
    stored = opened(owner, listed)
    try:
        return send(request, stored, how)
    except NoSuchObject as error:
        raise HTTPException(410, str(error)) from error
    except ArtifactError as error:
        raise HTTPException(502, str(error)) from error


def figure(request: Request) -> Response:
    owner, listed = artifact_of(request)
    try:
        return as_json(read_figure(opened(owner, listed), listed))
    except NotShown as error:
        raise HTTPException(404, f"artifact {listed.name!r:.200} is not drawn: {error}") from error
    except ArtifactError as error:
        raise HTTPException(502, str(error)) from error


def page(request: Request) -> Response:
    """The page of one artifact: what can be shown of it, or why nothing can."""
    site: Site = request.app.state.site
    owner, listed = artifact_of(request)
    how, content, problem, size = shown_as(listed), None, "", None
    try:
        stored = opened(owner, listed)
        size = stored.size
        if how in (Shown.TABLE, Shown.TEXT) or (how is Shown.HTML and "source" in request.query_params):
            content = read_shown(stored, listed)
        elif how is Shown.IMAGE and size > IMAGE_BYTES:
            how, problem = Shown.NOTHING, f"it is larger than {IMAGE_BYTES >> 20} MiB; download it"
    except HTTPException as error:
        how, problem = Shown.NOTHING, error.detail
    except NotShown as error:
        how, problem = Shown.NOTHING, str(error)
    except ArtifactError as error:
        how, problem = Shown.NOTHING, str(error)
    return site.render(
        request,
        "artifact.html",
        study=owner.study,
        owner=owner,
        listed=listed,
        how=how.value,
        content=content,
        columns=getattr(content, "columns", None),
        problem=problem,
        size=size,
        scripts="scripts" in request.query_params,
        source="source" in request.query_params,
    )


def study_artifacts(request: Request) -> Response:
    """What a study has saved itself, such as its report."""
    site: Site = request.app.state.site
    owner = held(request)
    return site.render(request, "study_artifacts.html", study=owner.study, owner=owner)


def _routes() -> list[Route]:
    below: list[tuple[str, Callable[..., Any], str]] = [
        ("", download, ""),
        ("/page", page, "_page"),
        ("/image", image, "_image"),
        ("/frame", frame, "_frame"),
        ("/figure", figure, "_figure"),
    ]
    places = (("/tasks/{task:name}", "artifact"), ("/studies/{name:name}", "study_artifact"))
    return [
        Route(f"{place}/artifacts/{{key:name}}{end}", handler, name=f"{name}{suffix}")
        for place, name in places
        for end, handler, suffix in below
    ]


routes = [*_routes(), Route("/studies/{name:name}/artifacts", study_artifacts, name="study_artifacts")]
