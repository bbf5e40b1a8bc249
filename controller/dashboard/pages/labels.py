"""Tags and notes from the page: of chosen trials of a study, and of any one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from controller.control import note_task, tag_task
from controller.dashboard.acting import Fields, action
from controller.dashboard.guard import access_of
from controller.dashboard.site import Site
from worker.protocol.errors import BadInput, NoSuchTask


def label_chosen(request: Request, fields: Fields) -> str:
    """Tag or note the chosen tasks of a study."""
    site: Site = request.app.state.site
    study = site.study(request.path_params["name"])
    chosen = _texts(fields.get("tasks"))
    if not chosen:
        raise BadInput("no trials were chosen: tick some in the table")
    own = site.store.studies.own(study.name, chosen)
    if len(own) < len(chosen):
        raise NoSuchTask(f"study {study.name!r} has no task {min(set(chosen) - set(own))!r:.60}")
    return f"{len(own)} trial{'' if len(own) == 1 else 's'}: {_label(request, own, fields)}"


def label_task(request: Request, fields: Fields) -> str:
    """Tag or note one task, of a study or outside any."""
    site: Site = request.app.state.site
    task = site.task(request.path_params["task"])
    return f"task {task.id[:8]}: {_label(request, [task.id], fields)}"


def _label(request: Request, task_ids: Sequence[str], fields: Mapping[str, Any]) -> str:
    """Do what the fields say: ``note``, a text; or ``tags``, such as ``good, -bad``. Raises `BadInput`."""
    site: Site = request.app.state.site
    by = access_of(request).by
    if "note" in fields:
        text = str(fields["note"])
        for task_id in task_ids:
            note_task(site.store, task_id, text, by=by)
        return "noted" if text.strip() else "no note any more"
    words = [word.strip() for word in str(fields.get("tags", "")).split(",") if word.strip()]
    if not words:
        raise BadInput("no tags were written: write good, -bad to add one and remove the other")
    remove = [word[1:] for word in words if word.startswith("-")]
    add = [word.removeprefix("+") for word in words if not word.startswith("-")]
    for task_id in task_ids:
        tag_task(site.store, task_id, add=add, remove=remove, by=by)
    return "tags changed"


def _texts(value: Any) -> list[str]:
    """One text or several, as forms send them."""
    return list(dict.fromkeys(map(str, value if isinstance(value, list) else [value] if value else [])))


routes = [
    Route("/api/studies/{name:name}/label", action(label_chosen), methods=["POST"], name="label"),
    Route("/api/tasks/{task:name}/label", action(label_task), methods=["POST"], name="label_task"),
]
