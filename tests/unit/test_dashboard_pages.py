"""optuna-dashboard below a path: its pages find their script, and hide controls that would be refused."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from controller.dashboard.optuna_style import HIDDEN, Pages
from worker.protocol.errors import OptunaRQError

PAGE = b'<html><head><script src="/static/bundle.js"></script></head><body>y</body></html>'
ICON = b'<link rel="icon" href="/hpo/optuna/favicon.ico">'
MOVED = PAGE.replace(b"/static", b"/hpo/optuna/static").replace(b"</head>", ICON + b"</head>")


def asked(
    path: str, page: bytes = PAGE, hide: bool = True, **environ: str
) -> tuple[bytes, dict[str, str], dict[str, Any]]:
    """Body and headers of the answer, and what the application was asked."""
    seen: dict[str, Any] = {}
    answers: list[Any] = []

    def application(environ: dict[str, Any], respond: Any) -> Iterable[bytes]:
        seen.update(environ)
        respond("200 OK", [("Content-Length", str(len(page))), ("Last-Modified", "yesterday")])
        return [page[:10], page[10:]]

    found = Pages(application, hide=hide)(
        {"PATH_INFO": path, "SCRIPT_NAME": "/hpo/optuna", **environ},
        lambda status, headers, *more: answers.append((status, headers)),
    )
    body = b"".join(found)
    ((status, headers),) = answers
    assert status == "200 OK"
    return body, dict(headers), seen


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/", "/dashboard/studies/1/trials"])
def test_a_page_hides_what_would_be_refused(path: str) -> None:
    body, headers, seen = asked(path, HTTP_IF_MODIFIED_SINCE="today")
    assert body == MOVED.replace(b"</head>", f"<style>{HIDDEN}</style></head>".encode())
    assert headers == {"Content-Length": str(len(body)), "Cache-Control": "no-store"}
    assert "HTTP_IF_MODIFIED_SINCE" not in seen


def test_where_changes_are_allowed_nothing_is_hidden() -> None:
    assert asked("/dashboard", hide=False)[0] == MOVED


def test_a_page_without_a_body_stays_so() -> None:
    body, headers, _ = asked("/dashboard", b"")
    assert (body, "Content-Length" in headers) == (b"", False)


@pytest.mark.parametrize("path", ["/", "/static/bundle.js", "/api/studies", "/artifacts/1/2/x"])
def test_all_else_passes_as_it_is(path: str) -> None:
    body, headers, _ = asked(path)
    assert body == PAGE
    assert headers == {"Content-Length": str(len(PAGE)), "Last-Modified": "yesterday"}


def test_the_script_leads_to_where_it_stands() -> None:
    from controller.dashboard.optuna_pages import _script

    text = gzip.decompress(_script("/hpo/optuna")[0]).decode()
    for place in ("/dashboard", "/api/studies", "/csv/$", "/artifacts/$"):
        assert f"/hpo/optuna{place}" in text
    # None is left that leads to the root of the server.
    assert re.findall(r'[`"](?:\$\{[\w.]+\})?/(?:api|csv|dashboard|artifacts|static)\b', text) == []


def test_a_version_with_other_addresses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from controller.dashboard import optuna_pages

    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "bundle.js").write_text('"/dashboard"; fetch("/elsewhere")')
    there = ModuleSpec("optuna_dashboard", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(optuna_pages, "find_spec", lambda name: there)
    optuna_pages._script.cache_clear()
    with pytest.raises(OptunaRQError, match=r"optuna-dashboard 0\.\d+.* can't be shown below a path"):
        optuna_pages._script("")
    optuna_pages._script.cache_clear()
