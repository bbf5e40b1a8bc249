"""``/studies/{name}/control``: stop, pause, resume, budget, a configuration to try, and what was done.

The same, as JSON by POST: ``/api/studies/{name}/stop``, ``pause``, ``resume``, ``budget``, ``enqueue``, and
``/api/tasks/{id}/stop``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from controller.control import (
    edit_budget,
    enqueue,
    pause_study,
    reset_budget,
    resume_study,
    stop_study,
    stop_task,
)
from controller.dashboard.acting import Fields, action
from controller.dashboard.addresses import of_task
from controller.dashboard.guard import access_of
from controller.dashboard.site import Site, Tab, as_json, number
from controller.results.budgets import budget_report
from controller.results.limits import EDITABLE, wanted_limits, written
from controller.results.status import budget_rows, describe_study
from controller.results.study_events import study_events
from controller.sweep.overrides import toml_value
from worker.protocol import Store
from worker.protocol.errors import BadInput

EVENTS = 200
"""Entries of the log that are shown."""
MOST_CHOICES = 200
"""Choices of a parameter that a form lists; of more, one is typed."""


def control(request: Request) -> Response:
    site: Site = request.app.state.site
    record = site.study(request.path_params["name"])
    report = budget_report(site.store, record.name)
    limits = wanted_limits(record, site.store.changes.edits(record.name))
    return site.render(
        request,
        "control.html",
        study=record.name,
        about=describe_study(site.store, record.name),
        budget=budget_rows(record.budget),
        edits=report["edits"],
        limits={name: written(name, limit) for name, limit in limits.items()},
        fields=[_field(name, table) for name, table in record.sweep.get("parameters", {}).items()],
        task_url=partial(of_task, request),
        waiting=len(site.store.changes.given(record.name)),
        events=study_events(site.store, record.name, EVENTS)[::-1],
    )


def events_json(request: Request) -> Response:
    site: Site = request.app.state.site
    record = site.study(request.path_params["name"])
    return as_json(study_events(site.store, record.name, EVENTS))


def _field(name: str, table: Any) -> dict[str, Any]:
    """A parameter as a field of the form."""
    about: Mapping[str, Any] = table if isinstance(table, Mapping) else {}
    choices = about.get("choices")
    if not isinstance(choices, list) or len(choices) > MOST_CHOICES:
        choices = []
    texts = [str(choice) for choice in choices]
    shown = []
    for choice, text in zip(choices, texts, strict=True):
        value = json.dumps(choice, ensure_ascii=False)
        # Text goes without quotes, unless another choice looks the same then.
        plain = isinstance(choice, str) and text.strip() and texts.count(text) == 1
        shown.append({"value": value, "text": text if plain else value})
    hint = f"{number(about['low'])} … {number(about['high'])}" if {"low", "high"} <= about.keys() else ""
    return {"name": name, "choices": shown, "hint": hint}


# Actions


def _on_study(do: Callable[[Store, str, str, Fields], str]) -> Callable[[Request, Fields], str]:
    """An action on the study in the address, a 404 where there is none."""

    def act(request: Request, fields: Fields) -> str:
        site: Site = request.app.state.site
        record = site.study(request.path_params["name"])
        return do(site.store, record.name, access_of(request).by, fields)

    return act


def _edit(store: Store, name: str, by: str, fields: Fields) -> str:
    unknown = [field for field in fields if field not in EDITABLE]
    if unknown:
        return edit_budget(store, name, {unknown[0]: fields[unknown[0]]}, by=by)  # which says what there is
    return edit_budget(store, name, {field: _plain(fields[field]) for field in fields}, by=by)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        raise BadInput("a limit is a number, a time such as 2h, or none")
    return value


def _enqueue(store: Store, name: str, by: str, fields: Fields) -> str:
    """A form gives each value as text, empty for one that the sampler chooses; a program, ``parameters``."""
    given = fields.get("parameters")
    if given is None:
        given = {field: _value(field, text) for field, text in fields.items() if text != ""}
    elif not isinstance(given, dict):
        raise BadInput('parameters: a JSON object, such as {"lr": 0.01}')
    return enqueue(store, name, given, by=by)


def _value(field: str, text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return toml_value(text.strip())
    except ValueError as error:
        raise BadInput(f"{field}: {error}") from error


def _stop_task(request: Request, fields: Fields) -> str:
    site: Site = request.app.state.site
    record = site.task(request.path_params["id"])
    return stop_task(site.store, record.id, by=access_of(request).by)


def _post(path: str, name: str, act: Callable[[Request, Fields], str]) -> Route:
    return Route(path, action(act), methods=["POST"], name=name)


def _plainly(do: Callable[..., str]) -> Callable[[Request, Fields], str]:
    """An action on a study that needs no fields."""
    return _on_study(lambda store, name, by, _: do(store, name, by=by))


_STUDY = "/api/studies/{name:name}"
routes = [
    Route("/studies/{name:name}/control", control, name="control"),
    Route(f"{_STUDY}/events", events_json, name="study_events"),
    _post(f"{_STUDY}/stop", "stop_study", _plainly(stop_study)),
    _post(f"{_STUDY}/pause", "pause_study", _plainly(pause_study)),
    _post(f"{_STUDY}/resume", "resume_study", _plainly(resume_study)),
    _post(f"{_STUDY}/budget", "edit_budget", _on_study(_edit)),
    _post(f"{_STUDY}/budget/reset", "reset_budget", _plainly(reset_budget)),
    _post(f"{_STUDY}/enqueue", "enqueue", _on_study(_enqueue)),
    _post("/api/tasks/{id}/stop", "stop_task", _stop_task),
]
tabs = [Tab(label="Control", route="control", of_study=True, place=80)]
