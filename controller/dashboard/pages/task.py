"""``/tasks/{id}``: one task: its parameters, curves, resources, output, artifacts, attempts."""

from __future__ import annotations

import functools
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from controller.dashboard.addresses import address
from controller.dashboard.site import Site, as_json
from controller.dashboard.streaming import SANDBOX
from controller.dashboard.task_artifacts import Held, asked_by, held_by_task, trial_of
from controller.dashboard.task_life import life_of
from controller.figures import task as task_figure
from controller.insight.explain import TaskLife
from controller.insight.run_again import RunAgain, run_again
from controller.results.artifact_shown import Shown, shown_as
from controller.results.artifacts import Listed
from controller.results.curves import Curve, read_task_curves
from controller.results.output_lines import Line, Output, read_output
from controller.results.rerun import Rerun, reruns
from controller.results.task_parts import (
    MetricGroup,
    ParameterRow,
    metric_groups,
    parameter_rows,
    study_of_task,
)
from controller.results.tasks import describe, why
from controller.results.timeline import Attempt, attempts_of
from worker.protocol import Store, StudyRecord, Summary, TaskRecord, keys

FIGURES = 24
"""Figures that are shown unless all are asked for."""
PLOTS, IMAGES = 6, 24
"""Artifacts that are drawn on the task's page itself; all have a page of their own."""
LOG_CHUNK = 256 << 10


class View:
    """What the page shows of a task. Each part is read when it is first asked for: a fragment needs few."""

    def __init__(self, site: Site, record: TaskRecord) -> None:
        self._site = site
        self.record = record
        self.store = site.store

    @functools.cached_property
    def study(self) -> StudyRecord | None:
        return study_of_task(self.store, self.record)

    @functools.cached_property
    def neighbours(self) -> tuple[str | None, str | None]:
        """The tasks of the trials before and after."""
        return self.store.studies.around(self.study.name, self.record.id) if self.study else (None, None)

    @property
    def why(self) -> str:
        return why(self.record)

    @property
    def objective(self) -> str:
        """What runs, in short; empty where nothing is known."""
        about = self.record.spec.objective
        if about.get("argv"):
            return " ".join(map(str, about["argv"]))
        return str(about.get("target") or about.get("path") or about.get("module") or "")

    @property
    def elapsed_s(self) -> float | None:
        """How long its current attempt has run."""
        record = self.record
        if record.started_at is None or record.status.value in ("created", "queued"):
            return None
        return max(0.0, (record.ended_at or self.store.clock.now()) - record.started_at)

    @functools.cached_property
    def parameters(self) -> list[ParameterRow]:
        asked = asked_by(trial_of(self._site, self.record, self.study))
        return parameter_rows(self.record, self.study, asked)

    @functools.cached_property
    def run_again(self) -> RunAgain:
        return run_again(self.store, self.record)

    @functools.cached_property
    def life(self) -> TaskLife:
        return life_of(self._site, self.record)

    @functools.cached_property
    def scalars(self) -> Mapping[str, Summary]:
        return self.store.reports.scalars([self.record.id])[0]

    @functools.cached_property
    def groups(self) -> list[MetricGroup]:
        return metric_groups(self.scalars)

    @property
    def metrics(self) -> list[Summary]:
        """The program's metrics: those that the study optimizes first."""
        optimized = {metric.key for metric in self.record.spec.metrics}
        found = [summary for key, summary in self.scalars.items() if not key.startswith(":monitor:")]
        return sorted(found, key=lambda summary: (summary.key not in optimized, summary.key))

    @property
    def attempts(self) -> list[Attempt]:
        return attempts_of(self.record, self.store.clock.now())

    @functools.cached_property
    def held(self) -> Held:
        return held_by_task(self._site, self.record)

    @property
    def plots(self) -> list[Listed]:
        return [one for one in self.held.listed if shown_as(one) is Shown.PLOT][:PLOTS]

    @property
    def images(self) -> list[Listed]:
        return [one for one in self.held.listed if shown_as(one) is Shown.IMAGE][:IMAGES]

    @property
    def reruns(self) -> list[Rerun]:
        return reruns(self.record, self.study)

    def shown(self, listed: Listed) -> str:
        return shown_as(listed).value

    @functools.cached_property
    def output(self) -> Output:
        return read_output(self.store, self.record.id)


def task(request: Request) -> Response:
    site: Site = request.app.state.site
    view = View(site, site.task(request.path_params["task"]))
    options = _options(request)
    groups = view.groups if "all" in request.query_params else view.groups[:FIGURES]
    return site.render(
        request,
        "task.html",
        study=view.study.name if view.study else "",
        view=view,
        task=view.record,
        owner=view.study,
        groups=groups,
        hidden=len(view.groups) - len(groups),
        options=options,
        smooth=_smooth(request),
        chosen={name: "1" for name in ("by_time", "log") if options[name]},
        live=address(request, "live", {"task": view.record.id}),
    )


def about(request: Request) -> Response:
    """Everything about a task, as `controller show --format json` prints it."""
    site: Site = request.app.state.site
    found = describe(site.store, site.task(request.path_params["task"]))
    # Workers write records: what JSON has no word for is none in a browser.
    return as_json(json.loads(json.dumps(found), parse_constant=lambda name: None))


def _options(request: Request) -> dict[str, bool]:
    return {name: request.query_params.get(name) == "1" for name in ("by_time", "log", "logx", "logy")}


def _smooth(request: Request) -> float:
    """How much curves are smoothed, from 0 to 0.99; 0 for what is no such number."""
    text = request.query_params.get("smooth", "")
    return min(0.99, float(text)) if re.fullmatch(r"0?\.[0-9]{1,4}", text) else 0.0


def curves(request: Request) -> Response:
    """One figure of the task, by the metrics that it shows."""
    site: Site = request.app.state.site
    record = site.task(request.path_params["task"])
    wanted = request.query_params.getlist("metric")
    scalars = site.store.reports.scalars([record.id])[0]
    for group in metric_groups({key: scalars[key] for key in wanted if key in scalars}):
        options = _options(request)
        drawn = task_figure.draw(
            record, group, _read.get(site.store, record), by_time=options["by_time"], log=options["log"]
        )
        return as_json(drawn)
    raise HTTPException(404, f"task {record.id[:8]} has reported no such metric more than once")


class Recent:
    """The curves that were read last: the figures of a page ask for them one after the other. Thread-safe."""

    MOST = 8

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Any, ...], dict[str, Curve]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, store: Store, record: TaskRecord) -> dict[str, Curve]:
        """All curves of a task, as they are now."""
        key = (record.id, record.attempt, record.started_at, store.redis.llen(keys.series(record.id)))
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = read_task_curves(store, record.id)
        with self._lock:
            self._known[key] = found
            while len(self._known) > self.MOST:
                self._known.popitem(last=False)
        return found


_read = Recent()


def log(request: Request) -> Response:
    """A part of the output, for who follows (``from``) or looks back (``until``)."""
    site: Site = request.app.state.site
    record = site.task(request.path_params["task"])
    found = read_output(
        site.store,
        record.id,
        start=_position(request, "from"),
        until=_position(request, "until"),
        style=request.query_params.get("style", "")[:100],
    )
    return as_json(
        {
            "lines": _plain(found.lines),
            "rest": _plain([found.rest])[0],
            "start": found.start,
            "next": found.next,
            "style": found.style,
            "first": found.first,
            "more": found.more,
        }
    )


def _plain(lines: Sequence[Line]) -> list[list[list[str]]]:
    return [[[piece.text, piece.style] for piece in line] for line in lines]


def _position(request: Request, name: str) -> int | None:
    """A position in the output. Raises a 400."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise HTTPException(400, f"{name}={text!r:.40} is no position in the output")
    return int(text)


def log_file(request: Request) -> Response:
    """All output that is kept, as it was written."""
    site: Site = request.app.state.site
    record = site.task(request.path_params["task"])
    store = site.store

    def parts() -> Iterator[bytes]:
        position = 0
        while True:
            part = store.logs.part(record.id, position, LOG_CHUNK)
            if not part.data:
                return
            yield part.data
            position = part.start + len(part.data)

    headers = {
        "Content-Disposition": f'attachment; filename="{record.id[:8]}.log"',
        "Content-Security-Policy": SANDBOX,
    }
    return StreamingResponse(parts(), media_type="application/octet-stream", headers=headers)


routes = [
    Route("/tasks/{task:name}", task, name="task"),
    Route("/tasks/{task:name}/curves", curves, name="task_curves"),
    Route("/tasks/{task:name}/log", log, name="task_log"),
    Route("/tasks/{task:name}/log.txt", log_file, name="task_log_file"),
    Route("/api/tasks/{task:name}", about, name="task_json"),
]
