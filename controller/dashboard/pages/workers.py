"""``/workers``: hosts, slots, GPUs, what runs where since when, queues; and what a worker is to do."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.control import drain_worker, pause_worker, resume_worker
from controller.dashboard.acting import Fields, action
from controller.dashboard.addresses import of_task
from controller.dashboard.guard import access_of
from controller.dashboard.site import Site, Tab, as_json, found
from controller.results.workers import describe_workers
from worker.protocol.errors import BadInput

MAX_REASON = 500
"""Characters of a reason."""


def workers(request: Request) -> Response:
    site: Site = request.app.state.site
    about = describe_workers(site.store)
    return site.render(request, "workers.html", about=about, task_url=partial(of_task, request))


def workers_json(request: Request) -> Response:
    site: Site = request.app.state.site
    return as_json(describe_workers(site.store))


def act_on_worker(request: Request, fields: Fields) -> str:
    """Pause, drain or resume (``what``) a worker, for a ``reason``. Raises a 404 for one that isn't there."""
    store = request.app.state.site.store
    name, what = request.path_params["worker"], str(fields.get("what", ""))
    by, reason = access_of(request).by, str(fields.get("reason", "")).strip()
    if len(reason) > MAX_REASON:
        raise BadInput(f"reason: at most {MAX_REASON} characters")
    if name not in {about["name"] for about in store.workers.list()}:
        return found(lambda: pause_worker(store, name, by=by))  # which says which there are
    if what == "pause":
        return pause_worker(store, name, reason=reason, by=by)
    if what == "drain":
        return drain_worker(store, name, reason=reason, by=by)
    if what == "resume":
        return resume_worker(store, name, by=by)
    raise BadInput(f"a worker can't be asked to {what!r:.50}; only to pause, drain or resume")


routes = [
    Route("/workers", workers, name="workers"),
    Route("/api/workers", workers_json, name="workers_json"),
    Route("/api/workers/{worker:name}", action(act_on_worker), methods=["POST"], name="act_on_worker"),
]
tabs = [Tab(label="Workers", route="workers", place=20)]
