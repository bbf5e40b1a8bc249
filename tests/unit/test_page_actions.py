"""What the page's actions read and answer."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from starlette.routing import Route

from controller.dashboard.acting import MAX_BODY, action
from controller.dashboard.guard import access_of
from tests.dashboard import TOKEN, client_of, site_of
from worker.protocol import Store
from worker.protocol.errors import BadInput


def stop(request: Any, fields: Any) -> Any:
    if fields.get("bad"):
        raise BadInput("task: it has ended already")
    if fields.get("more"):
        return {"done": "stopped", "more": fields["more"]}
    return f"stopped by {access_of(request).by}: {sorted(fields)}"


@pytest.fixture
def client() -> Any:
    site = site_of(Store(fakeredis.FakeRedis(decode_responses=True)), allow_actions=True)
    return client_of(site, routes=[Route("/api/stop", action(stop), methods=["POST"])])


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        (
            b'{"a": "1", "b": ["x", "y"]}',
            200,
            {"done": "stopped by the page with the full token, from testclient: ['a', 'b']"},
        ),
        (b"", 200, {"done": "stopped by the page with the full token, from testclient: []"}),
        (b'{"more": 1}', 200, {"done": "stopped", "more": 1}),
        (b'{"bad": 1}', 400, {"error": "task: it has ended already"}),
        (b"[1]", 400, {"error": "the request is no JSON object"}),
        (b"{" * 5000, 400, None),
        (b"[" * 200_000, 400, None),
        (b"\xff", 400, None),
        (b" " * (MAX_BODY + 1), 413, {"error": f"the request is longer than {MAX_BODY} bytes"}),
    ],
    ids=range(9),
)
def test_fields_and_answers(client: Any, body: bytes, status: int, answer: Any) -> None:
    found = client.post("/api/stop", content=body)
    assert found.status_code == status
    assert answer is None or found.json() == answer
    assert answer is not None or "no JSON" in found.json()["error"]


def test_a_program_acts_with_the_token_alone() -> None:
    site = site_of(Store(fakeredis.FakeRedis(decode_responses=True)), allow_actions=True)
    client = client_of(site, token="", routes=[Route("/api/stop", action(stop), methods=["POST"])])
    assert client.post("/api/stop", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/api/stop", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 405
