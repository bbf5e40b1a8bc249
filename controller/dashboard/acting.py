"""Actions: a route that reads the fields of a request, acts in a thread, and answers what it has done."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from controller.dashboard.site import as_json

MAX_BODY = 1 << 20
"""Longest body of an action, in bytes."""

Fields = Mapping[str, Any]


def action(
    act: Callable[[Request, Fields], str | Mapping[str, Any]],
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for ``methods=["POST"]``. The guard has let the request pass: it may act.

    Args:
        act: is given the request and its fields, does it, and returns a sentence for the person who asked, or
            JSON with the sentence as ``done``. Its `BadInput` is shown to that person.
    """

    async def endpoint(request: Request) -> Response:
        fields = await _fields(request)
        done = await to_thread.run_sync(act, request, fields)
        return as_json({"done": done} if isinstance(done, str) else done)

    return endpoint


async def _fields(request: Request) -> Fields:
    """The body's JSON object; empty for no body. Raises a 400, or a 413 for a long one."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"the request is longer than {MAX_BODY} bytes")
    try:
        found = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the request is no JSON: {error!s:.200}") from error
    if not isinstance(found, dict):
        raise HTTPException(400, "the request is no JSON object")
    return found
