"""Addresses of the pages: names in a path, and links that hold behind a proxy's prefix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request


class NameConvertor(Convertor[str]):
    """Any name as one part of a path: ``{name:name}``.

    Servers and proxies decode ``%2F``, some of them twice; browsers drop ``.`` and ``..``: those are written
    with ``~``.
    """

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return re.sub("~([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), value)

    def to_string(self, value: str) -> str:
        text = re.sub("[~/\\\\%]", lambda found: f"~{ord(found[0]):02X}", value)
        if text in (".", ".."):
            text = text.replace(".", "~2E")
        return quote(text or "~00", safe="~")


register_url_convertor("name", NameConvertor())


def address(request: Request, route: str, query: Mapping[str, Any] | None = None, **names: Any) -> str:
    """The path of a route, with the prefix that a proxy has before it.

    Args:
        route: its name, such as ``study``.
        query: what follows the ``?``; None values are left out.
        names: the path's parts.
    """
    path = request.app.url_path_for(route, **names)
    return f"{request.scope.get('root_path', '').rstrip('/')}{path}{_query(query or {})}"


def of_task(request: Request, task_id: str) -> str:
    """The path of a task's page."""
    return f"{request.scope.get('root_path', '').rstrip('/')}/tasks/{quote(task_id, safe='')}"


def here(request: Request, **changes: Any) -> str:
    """This page's own path with another query: `changes` replace values, None removes one."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in changes]
    path = f"{request.scope.get('root_path', '').rstrip('/')}{quote(_path(request), safe='/~')}"
    return path + _query_of([*kept, *_pairs(changes)])


def _path(request: Request) -> str:
    """The path without a proxy's prefix, which the server may or may not have put before it."""
    path, prefix = str(request.scope["path"]), str(request.scope.get("root_path", "")).rstrip("/")
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


def _query(values: Mapping[str, Any]) -> str:
    return _query_of(_pairs(values))


def _query_of(pairs: list[tuple[str, Any]]) -> str:
    return f"?{urlencode(pairs)}" if pairs else ""


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, (list, tuple)):
            found += [(key, one) for one in value]
        elif value is not None:
            found.append((key, value))
    return found
