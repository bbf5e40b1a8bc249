"""Style sheets and scripts: our own, and Plotly's from its Python package."""

from __future__ import annotations

import functools
import gzip
import hashlib
import mimetypes
import re
from importlib.util import find_spec
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from worker.protocol.errors import BadInput

HERE = Path(__file__).parent
PLOTLY = "plotly.js"
WORTH_PACKING = 10_000
"""Bytes of a file that is sent compressed."""


def static_routes() -> list[BaseRoute]:
    # Browsers ask for an icon at the root wherever a page names none.
    return [Route("/static/{path}", _serve, name="static"), Route("/favicon.ico", _serve)]


def _serve(request: Request) -> Response:
    name = request.path_params.get("path", "icon.svg")
    content, packed, tag = _file(name)
    headers = {"ETag": tag, "Vary": "Accept-Encoding"}
    # The address has our version, but a file may change under it while we work on it: it is asked for again.
    headers["Cache-Control"] = "no-cache"
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if packed and "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = packed, "gzip"
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
    return Response(content, media_type=kind or "application/octet-stream", headers=headers)


def _file(name: str) -> tuple[bytes, bytes, str]:
    """Content, the same compressed, and a tag. Raises a 404."""
    path = _path(name)
    if path is None:
        raise HTTPException(404)
    return _read(path, path.stat().st_mtime_ns)


def _path(name: str) -> Path | None:
    if name == PLOTLY:
        return plotly_file()
    return next((path for path in (HERE / "static").iterdir() if path.name == name), None)


def plotly_file() -> Path:
    found = find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        raise BadInput("dashboard: plotly isn't installed: pip install 'optuna-rq[dashboard]'")
    return Path(found.submodule_search_locations[0], "package_data", "plotly.min.js")


@functools.lru_cache(maxsize=64)
def _read(path: Path, changed: int) -> tuple[bytes, bytes, str]:
    content = path.read_bytes()
    packed = gzip.compress(content, 6) if len(content) >= WORTH_PACKING else b""
    return content, packed, f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


@functools.lru_cache(maxsize=1)
def styles_of_maps() -> tuple[str, ...]:
    """Ids of the style elements that Plotly's script would fill with text for its maps.

    The policy refuses such text. An element of that id in the page, whatever it is, keeps the script from it.
    """
    text = plotly_file().read_text(encoding="utf-8")
    return tuple(dict.fromkeys(re.findall(r'document\.getElementById\("([0-9a-f]{64})"\)', text)))
