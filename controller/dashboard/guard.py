"""Checks each request before a page gets it, and marks each answer with what a browser may do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.dashboard.access import Access, Role, Tokens
from controller.dashboard.hosts import bare_host
from controller.dashboard.proxies import Proxies

READS = frozenset(("GET", "HEAD", "OPTIONS"))
EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""The hash of nothing: Plotly makes an empty style element, and fills it by the browser's own objects."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' {EMPTY_STYLE}",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "media-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
LOGIN, LOGOUT = "/login", "/logout"
OPEN = ("/static/", "/favicon.ico", LOGIN)
"""Beginnings of paths that nobody needs a token for: they tell nothing of any study."""
WRONG_TOKEN_S = 0.5
"""Wait after a wrong token, so that nobody tries many."""
MAX_LOGIN = 4096
"""Longest body of a login, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the guard lets pass."""

    tokens: Tokens
    hosts: frozenset[str]
    """Values of ``Host``, see `controller.dashboard.hosts`."""
    allow_actions: bool = False
    allow_changes: bool = False
    """optuna-dashboard's own pages may change and delete."""
    proxies: Proxies = field(default_factory=Proxies)
    cookie: str = "optuna-rq"
    """Name of the cookie; a browser sends those of one port to all others of the machine."""


class Guard:
    """ASGI middleware. What passes it has ``scope["access"]``, except for `OPEN` paths.

    Args:
        application: the page.
        rules: what may pass.
    """

    def __init__(self, application: ASGIApp, rules: Rules) -> None:
        self._application = application
        self._rules = rules
        self._wrong = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._application(scope, receive, send)
            return  # no web sockets here
        request = Request(scope, receive)

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _safe_headers(list(message.get("headers", [])))
            await send(message)

        answer = await self._answer(request)
        if answer is not None:
            await answer(scope, receive, send_safely)
        else:
            await self._application(scope, receive, send_safely)

    async def _answer(self, request: Request) -> Response | None:
        """The guard's own answer to a request; None lets it pass."""
        host = request.headers.get("host", "")
        if bare_host(host) not in self._rules.hosts:
            return refusal(
                request,
                403,
                f"this page is not {host!r:.200}: open it by the address that `controller dashboard` has "
                "printed, or start it with --allow-host",
            )
        path = path_of(request)
        if request.method not in READS and (problem := _foreign(request, host)):
            return refusal(request, 403, problem)
        if path == LOGIN and request.method == "POST":
            return await self._login(request)
        token = request.query_params.get("token")
        if token is not None and request.method == "GET" and not path.startswith(OPEN):
            return await self._enter(request, token)
        access = self._access(request)
        if access is None:
            if path.startswith(OPEN):
                return None
            if _bearer(request):
                return await self._refuse_token(request)
            return _wants_login(request)
        request.scope["access"] = access
        if path == LOGOUT and request.method == "POST":
            leaving = RedirectResponse(_prefix(request) + LOGIN, 303)
            leaving.delete_cookie(self._rules.cookie, path=_prefix(request) or "/")
            return leaving
        problem = self._forbidden(request, access, path)
        return refusal(request, 403, problem) if problem else None

    def _forbidden(self, request: Request, access: Access, path: str) -> str:
        """Why a request that changes something is refused; empty if it is not."""
        if request.method in READS:
            return ""
        if access.reads_only:
            return "this address only shows: the person who started the page has the one that acts"
        if path.startswith("/optuna/"):
            allowed = self._rules.allow_changes
            return "" if allowed else "optuna-dashboard only shows: start it with --allow-changes"
        if not self._rules.allow_actions:
            return "this page only shows: start `controller dashboard` with --allow-actions to act from it"
        if request.scope.get("by_cookie") and request.headers.get("x-csrf-token") != access.csrf:
            return "this page is from an earlier session: load it again"
        return ""

    def _access(self, request: Request) -> Access | None:
        """By the cookie, or for programs by ``Authorization: Bearer TOKEN``."""
        if role := self._rules.tokens.role_of(_bearer(request)):
            return self._access_of(request, role, "a program")
        role_of = self._rules.tokens.role_of_cookie
        found = [role for value in _cookies(request, self._rules.cookie) if (role := role_of(value))]
        if not found:
            return None
        request.scope["by_cookie"] = True
        return self._access_of(request, found[0], "the page")

    def _access_of(self, request: Request, role: Role, by_what: str) -> Access:
        proxies = self._rules.proxies
        by = f"{by_what} with the {role.said}, from {proxies.address_of(request)}"
        user = proxies.user_of(request)
        csrf = self._rules.tokens.csrf(role)
        return Access(role=role, csrf=csrf, by=f"{user}, by {by}" if user else by, user=user)

    async def _enter(self, request: Request, token: str) -> Response:
        """Turn the token in an address into a cookie, and take it out of the address."""
        role = self._rules.tokens.role_of(token)
        if role is None:
            return await self._refuse_token(request)
        kept = [(k, v) for k, v in request.query_params.multi_items() if k != "token"]
        place = _prefix(request) + path_of(request) + (f"?{urlencode(kept)}" if kept else "")
        return self._entered(request, role, place)

    async def _login(self, request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_LOGIN:
                return refusal(request, 413, "that is no token: it is too long")
        fields = parse_qs(body.decode(errors="replace"))
        role = self._rules.tokens.role_of(fields.get("token", [""])[0].strip())
        if role is None:
            return await self._refuse_token(request)
        return self._entered(request, role, _prefix(request) + _own_path(fields.get("next", ["/"])[0]))

    async def _refuse_token(self, request: Request) -> Response:
        async with self._wrong:
            await asyncio.sleep(WRONG_TOKEN_S)
        if _wants_json(request):
            return refusal(request, 401, "wrong token")
        return RedirectResponse(f"{_prefix(request)}{LOGIN}?wrong=1", 303)

    def _entered(self, request: Request, role: Role, place: str) -> Response:
        answer = RedirectResponse(place, 303)
        answer.set_cookie(
            self._rules.cookie,
            self._rules.tokens.cookie(role),
            max_age=30 * 86400,
            path=_prefix(request) or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )
        return answer


def path_of(request: Request) -> str:
    """The path without a proxy's prefix."""
    path, prefix = str(request.scope["path"]), _prefix(request)
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


def refusal(request: Request, status: int, problem: str) -> Response:
    """An answer of one line: JSON for programs and scripts, else plain text."""
    if _wants_json(request):
        # optuna-dashboard's script shows what stands there as the reason.
        return JSONResponse({"error": problem, "reason": problem}, status)
    return Response(f"{problem}\n", status, media_type="text/plain")


def _prefix(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _bearer(request: Request) -> str:
    """The token that a program sends; empty for none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _wants_json(request: Request) -> bool:
    return path_of(request).startswith("/api/") or "text/html" not in request.headers.get("accept", "")


def _wants_login(request: Request) -> Response:
    if _wants_json(request) or request.method not in READS:
        needed = "a token is needed: the address that `controller dashboard` has printed has it"
        return refusal(request, 401, needed)
    asked = path_of(request) + (f"?{request.url.query}" if request.url.query else "")
    query = f"?{urlencode({'next': asked})}" if asked != "/" else ""
    return RedirectResponse(f"{_prefix(request)}{LOGIN}{query}", 303)


def _own_path(text: str) -> str:
    """`text` if it is a path of this server, else the first page: a link must not lead elsewhere."""
    parts = urlsplit(text)
    if parts.scheme or parts.netloc or not text.startswith("/") or text[1:2] in ("/", "\\"):
        return "/"
    return text if text.isprintable() else "/"


def _foreign(request: Request, host: str) -> str:
    """Why a request that changes something isn't a page of ours; empty if it may be."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return f"a page of {origin:.200} may not change anything here"
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "a page of another site may not change anything here"
    return ""


def _cookies(request: Request, name: str) -> list[str]:
    """All values of a cookie: another server on this machine may have set one of the same name."""
    found = []
    for part in request.headers.get("cookie", "").split(";"):
        try:
            parsed = SimpleCookie(part.strip())
        except CookieError:
            continue
        if name in parsed:
            found.append(parsed[name].value)
    return found


def _safe_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """An answer's headers, and those that every answer has unless it brings its own."""
    present = {name.lower() for name, _ in headers}
    for name, value in ALWAYS.items():
        if name.encode() not in present:
            headers.append((name.encode(), value.encode()))
    return headers


ALWAYS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def access_of(request: Request) -> Access:
    """What the request may do. Every page has one; the login page hasn't."""
    found: Any = request.scope["access"]
    assert isinstance(found, Access)
    return found
