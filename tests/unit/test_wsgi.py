"""A WSGI application within the page: what it is asked, and how its answer passes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from controller.dashboard import wsgi


class Closing:
    """An answer in pieces, which notes its end."""

    def __init__(self, *pieces: bytes, breaks: bool = False) -> None:
        self.closed = 0
        self._pieces = pieces
        self._breaks = breaks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._breaks:
            raise OSError("the file is gone")

    def close(self) -> None:
        self.closed += 1


def client_of(application: Any) -> TestClient:
    async def handler(request: Any) -> Any:
        return await wsgi.answer_by(application, request, f"/{request.path_params['path']}", "/at")

    route = Route("/at/{path:path}", handler, methods=["GET", "POST"])
    return TestClient(Starlette(routes=[route]), raise_server_exceptions=False)


def test_what_the_application_is_asked() -> None:
    seen: dict[str, Any] = {}

    def application(environ: dict[str, Any], respond: Any) -> list[bytes]:
        seen.update(environ, body=environ["wsgi.input"].read())
        respond("201 Created", [("Content-Type", "text/x"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [b"one ", b"two"]

    client = client_of(application)
    client.cookies.set("secret", "s")
    answer = client.post(
        "/at/a%20b/%C3%BC?q=%20x",
        content=b"body",
        headers={"X-Odd": "1", "Authorization": "Bearer t", "Proxy": "p"},
    )
    assert (answer.status_code, answer.content) == (201, b"one two")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert seen["PATH_INFO"].encode("latin-1").decode() == "/a b/ü"
    assert (seen["SCRIPT_NAME"], seen["QUERY_STRING"], seen["HTTP_X_ODD"]) == ("/at", "q=%20x", "1")
    assert (seen["body"], seen["CONTENT_LENGTH"], seen["REQUEST_METHOD"]) == (b"body", "4", "POST")
    # The page's own secrets are not for it.
    assert not {"HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_PROXY"} & seen.keys()


@pytest.mark.parametrize("breaks", [False, True])
def test_an_answer_is_closed(breaks: bool) -> None:
    answer = Closing(b"x" * 10, b"y", breaks=breaks)

    def application(environ: Any, respond: Any) -> Closing:
        respond("200 OK", [])
        return answer

    found = client_of(application).get("/at/").content
    assert found == b"x" * 10 + b"y"
    assert answer.closed == 1


def test_an_answer_may_begin_with_its_first_piece_or_be_written() -> None:
    def late(environ: Any, respond: Any) -> Iterator[bytes]:
        write = respond("200 OK", [])
        write(b"written ")
        yield b"first "
        yield b"second"

    assert client_of(late).get("/at/").content == b"written first second"

    def empty(environ: Any, respond: Any) -> Iterator[bytes]:
        respond("204 No Content", [])
        yield from ()

    assert client_of(empty).get("/at/").status_code == 204


def test_a_long_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi, "MAX_BODY", 10)
    assert client_of(lambda environ, respond: 1 / 0).post("/at/", content=b"x" * 11).status_code == 413
