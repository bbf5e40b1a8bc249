"""Sends stored objects to a browser: a chunk at a time, in ranges, and never as a page of ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worker.artifacts import StoredObject
from worker.artifacts.names import safe_name

SANDBOX = "sandbox; default-src 'none'"
"""The policy of what is only downloaded."""
IMAGE = f"{SANDBOX}; style-src 'unsafe-inline'"
"""Of an image: a drawing (SVG) is a document, and has styles of its own."""
HTML = (
    f"{SANDBOX}; style-src 'unsafe-inline' data:; img-src data: blob:; font-src data:; "
    "media-src data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
"""Of a page among the artifacts: without scripts, and cut off from everything."""
HTML_WITH_SCRIPTS = HTML.replace("sandbox;", "sandbox allow-scripts;", 1) + (
    "; script-src 'unsafe-inline' 'unsafe-eval' data: blob:; worker-src blob:"
)
"""The same with its scripts, at an origin that is nobody's: they reach neither this page nor a network."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """How an object is sent."""

    filename: str
    content_type: str = "application/octet-stream"
    policy: str = SANDBOX
    tag: str
    """Names the bytes: another object has another one. Letters, digits and ``-``."""
    inline: bool = False
    """A page shows it; otherwise a browser saves it."""


def send(request: Request, stored: StoredObject, how: Sent) -> Response:
    """An object, or the range of it that was asked for.

    Raises:
        ArtifactError: its first bytes can't be read.
    """
    tag = f'"{how.tag}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": _disposition(how),
        "Content-Security-Policy": how.policy,
        "Content-Type": how.content_type,
        "ETag": tag,
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range", "")
    if request.headers.get("if-range", tag) != tag:
        wanted = ""
    first, last, status = 0, stored.size - 1, 200
    span = _range_of(wanted, stored.size)
    if span is not None:
        first, last = span
        if first > last:
            headers["Content-Range"] = f"bytes */{stored.size}"
            return Response(status_code=416, headers=headers)
        headers["Content-Range"] = f"bytes {first}-{last}/{stored.size}"
        status = 206
    headers["Content-Length"] = str(last - first + 1)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    chunks = stored.chunks(first, last)
    # Bytes that are gone are noticed here, while it can still be said.
    beginning = next(chunks, b"")
    return StreamingResponse(_all(beginning, chunks), status_code=status, headers=headers)


async def _all(beginning: bytes, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    yield beginning
    try:
        async for chunk in iterate_in_threadpool(chunks):
            yield chunk
    finally:
        # Who left early has it closed; while a thread still reads, it closes with that.
        close = getattr(chunks, "close", None)
        with contextlib.suppress(ValueError):
            if close is not None:
                close()


def _range_of(text: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a range; None for all of it, a first above the last where there is no such part.

    Several ranges at once, and what is no range, count for nothing, as HTTP allows.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = int(found[2])
        return (max(0, size - length), size - 1) if length and size else (1, 0)
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return None
    return (first, last) if first < size else (1, 0)


def _disposition(how: Sent) -> str:
    name = safe_name(how.filename)
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    kind = "inline" if how.inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
