"""The page that asks for the token. The guard reads the answer, and the wish to leave."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from controller.dashboard.guard import LOGIN, LOGOUT
from controller.dashboard.site import Site


def login_routes(site: Site) -> list[BaseRoute]:
    """What is shown at the guard's own addresses; it answers what is posted there itself."""

    def login(request: Request) -> Response:
        wrong = "wrong" in request.query_params
        return site.render(request, "login.html", next=request.query_params.get("next", "/"), wrong=wrong)

    def logout(request: Request) -> Response:
        raise HTTPException(405)

    return [Route(LOGIN, login, name="login"), Route(LOGOUT, logout, name="logout")]
