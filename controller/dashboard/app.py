"""The application: pages, static files, the live stream, and what a page says when something is wrong."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator, Sequence
from http import HTTPStatus
from types import ModuleType

import redis
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from controller.dashboard import pages
from controller.dashboard.guard import ALWAYS, Guard, Rules, path_of
from controller.dashboard.live import Changes, live_route
from controller.dashboard.login import login_routes
from controller.dashboard.proxies import BehindProxies
from controller.dashboard.site import Site, Tab, as_json
from controller.dashboard.static_files import static_routes
from worker.protocol.connection import trouble
from worker.protocol.errors import BadInput, OptunaRQError, RecordError, RedisUnavailable, ServerAway


def create_app(site: Site, rules: Rules, prefix: str = "", optuna: Sequence[BaseRoute] = ()) -> Starlette:
    """The page of a site.

    Args:
        rules: what the guard lets pass.
        prefix: the path under which a proxy serves it, such as ``/hpo``, whether or not the proxy removes it
            from what it passes on; empty for none.
        optuna: routes of optuna-dashboard.
    """
    modules = list(page_modules())
    changes = Changes(site)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        changes.end()

    routes: list[BaseRoute] = [live_route(changes), *static_routes(), *login_routes(site)]
    for module in modules:
        routes += module.routes
    routes += optuna
    tabs = [Tab(label="Optuna", route="optuna", place=90)] if optuna else []
    tabs += [tab for module in modules for tab in getattr(module, "tabs", ())]
    site.tabs = sorted(tabs, key=lambda tab: (tab.place, tab.label))

    def show(request: Request, error: Exception) -> Response:
        return show_problem(site, request, error)

    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(BehindProxies, proxies=rules.proxies),
            Middleware(Prefix, prefix=prefix),
            Middleware(Guard, rules=rules),
        ],
        exception_handlers=dict.fromkeys((HTTPException, redis.RedisError, OptunaRQError, Exception), show),
        lifespan=lifespan,
    )
    app.state.site = site
    app.state.changes = changes
    return app


def page_modules() -> Iterator[ModuleType]:
    """The modules of `controller.dashboard.pages`: each has ``routes``, and may have ``tabs``."""
    for found in sorted(pkgutil.iter_modules(pages.__path__), key=lambda module: module.name):
        yield importlib.import_module(f"{pages.__name__}.{found.name}")


class Prefix:
    """ASGI middleware: puts a proxy's prefix before the path, as ASGI wants, where the proxy removed it."""

    def __init__(self, application: ASGIApp, prefix: str) -> None:
        self._application = application
        self._prefix = prefix.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._prefix and scope["type"] == "http":
            path = str(scope["path"])
            if path != self._prefix and not path.startswith(f"{self._prefix}/"):
                path = self._prefix + path
            scope = {**scope, "path": path, "root_path": self._prefix}
        await self._application(scope, receive, send)


def show_problem(site: Site, request: Request, error: Exception) -> Response:
    """What is wrong, and what to do, as a page, or as JSON for scripts and programs."""
    status, title, text = _explained(error, request.method)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    html = "text/html" in request.headers.get("accept", "") and not path_of(request).startswith("/api/")
    if not html or "part" in request.query_params:
        answer: Response = as_json({"error": text}, status)
    else:
        answer = site.render(
            request, "problem.html", status=status, title=title, text=text, away=status == AWAY
        )
    answer.headers.update(headers)
    # A bug's answer is made outside the guard.
    answer.headers.update(ALWAYS)
    return answer


_TITLES = {404: "Not found", 403: "Not allowed", 405: "Not allowed"}
AWAY = 503
"""Status of answers while Redis is away: the page loads itself again when it is back."""


def _explained(error: Exception, method: str) -> tuple[int, str, str]:
    """Status, title and text of an error."""
    if isinstance(error, HTTPException):
        title = _TITLES.get(error.status_code, "Bad request")
        said = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
        if error.status_code == 405:
            said = said or f"{title}: this address does not answer {method}"
        return error.status_code, title, said or f"{title}: there is nothing at this address"
    if isinstance(error, redis.RedisError):
        return AWAY, "Redis is away", trouble(error)
    if isinstance(error, (RedisUnavailable, ServerAway)):
        return AWAY, "A server is away", str(error)
    if isinstance(error, RecordError):
        return 500, "A record can't be read", str(error)
    if isinstance(error, BadInput):
        return 400, "Bad request", str(error)
    if isinstance(error, OptunaRQError):
        return 500, "It failed", str(error)
    return 500, "It failed", f"a bug of the page's ({type(error).__name__}); the log of the server has it"
