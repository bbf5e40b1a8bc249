"""Pages of a dashboard that only shows: controls are hidden, nothing else changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from controller.commands.dashboard_pages import HIDDEN, ReadOnlyPages

PAGE = b"<html><head><title>x</title></head><body>y</body></html>"


def asked(path: str, page: bytes = PAGE, **environ: str) -> tuple[bytes, dict[str, str], dict[str, Any]]:
    """Body and headers of the answer, and what the application was asked."""
    seen: dict[str, Any] = {}
    answers: list[Any] = []

    def application(environ: dict[str, Any], respond: Any) -> Iterable[bytes]:
        seen.update(environ)
        respond("200 OK", [("Content-Length", str(len(page))), ("Last-Modified", "yesterday")])
        return [page[:10], page[10:]]

    found = ReadOnlyPages(application)(
        {"PATH_INFO": path, **environ}, lambda status, headers, *more: answers.append((status, headers))
    )
    body = b"".join(found)
    ((status, headers),) = answers
    assert status == "200 OK"
    return body, dict(headers), seen


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/", "/dashboard/studies/1/trials"])
def test_a_page_hides_what_would_be_refused(path: str) -> None:
    body, headers, seen = asked(path, HTTP_IF_MODIFIED_SINCE="today")
    assert body == PAGE.replace(b"</head>", f"<style>{HIDDEN}</style></head>".encode())
    assert headers == {"Content-Length": str(len(body)), "Cache-Control": "no-store"}
    assert "HTTP_IF_MODIFIED_SINCE" not in seen


def test_a_page_without_a_body_stays_so() -> None:
    body, headers, _ = asked("/dashboard", b"")
    assert (body, "Content-Length" in headers) == (b"", False)


@pytest.mark.parametrize("path", ["/", "/static/bundle.js", "/api/studies", "/artifacts/1/2/x"])
def test_all_else_passes_as_it_is(path: str) -> None:
    body, headers, _ = asked(path)
    assert body == PAGE
    assert headers == {"Content-Length": str(len(PAGE)), "Last-Modified": "yesterday"}
