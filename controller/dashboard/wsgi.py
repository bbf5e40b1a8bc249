"""A WSGI application within an ASGI one: its calls run in threads, its answers pass on piece by piece."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[str, str]]
MAX_BODY = 64 << 20
"""Longest request, in bytes: it is held in memory."""


async def answer_by(application: Application, request: Request, path: str, name: str) -> Response:
    """What a WSGI application answers to a request.

    Args:
        path: the path within the application, decoded.
        name: the path that leads to the application, a proxy's prefix included.
    """
    body = io.BytesIO()
    async for part in request.stream():
        if body.tell() + len(part) > MAX_BODY:
            return PlainTextResponse(f"the request is longer than {MAX_BODY} bytes\n", 413)
        body.write(part)
    body.seek(0)
    status, headers, parts = await to_thread.run_sync(
        _begun, application, _environ(request, path, name, body)
    )
    answer = StreamingResponse(parts, status)
    answer.raw_headers = [
        (k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers if k.lower() != "date"
    ]
    return answer


def _begun(
    application: Application, environ: dict[str, Any]
) -> tuple[int, list[tuple[str, str]], Iterator[bytes]]:
    """Status, headers and the body's pieces. The application is called here, in a thread."""
    begun: list[tuple[str, Headers]] = []

    def respond(status: str, headers: Headers, *error: Any) -> Callable[[bytes], None]:
        begun.append((status, headers))
        return first.append

    first: list[bytes] = []
    parts = application(environ, respond)
    pieces = iter(parts)
    # An application may begin its answer with the first piece.
    if not begun:
        first.append(next(pieces, b""))
    status, headers = begun[-1]
    return int(status.split(" ", 1)[0]), headers, _pieces(first, pieces, getattr(parts, "close", None))


def _pieces(first: list[bytes], rest: Iterator[bytes], close: Callable[[], object] | None) -> Iterator[bytes]:
    """The pieces of an answer; afterwards it is closed."""
    try:
        yield from first
        yield from rest
    finally:
        if close is not None:
            close()


def _environ(request: Request, path: str, name: str, body: io.BytesIO) -> dict[str, Any]:
    scope = request.scope
    host, port = scope.get("server") or ("localhost", 80)
    environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": _wsgi(name),
        "PATH_INFO": _wsgi(path),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": request.client.host if request.client else "",
        "CONTENT_LENGTH": str(len(body.getbuffer())),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.url.scheme,
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for key, value in request.headers.items():
        if key == "content-type":
            environ["CONTENT_TYPE"] = value
        elif key not in ("content-length", "proxy", "cookie", "authorization"):
            environ[f"HTTP_{key.upper().replace('-', '_')}"] = value
    return environ


def _wsgi(text: str) -> str:
    return text.encode().decode("latin-1")
