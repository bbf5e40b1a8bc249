"""Who acted, as the study's log has it: the token, the address, and the user whom a proxy names."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from starlette.testclient import TestClient

from controller.dashboard.access import Role, Tokens
from controller.dashboard.proxies import Proxies, read_proxies
from tests.dashboard import READ_TOKEN, TOKEN, app_of, site_of
from tests.fakes import LOSS
from worker.protocol import Store, StudyRecord
from worker.protocol.errors import BadInput

PROXY = "10.1.0.1"
BELIEVED = read_proxies(["10.1.0.0/24"], "X-Remote-User")
HERS = {"X-Remote-User": "ann"}


@pytest.fixture
def store() -> Store:
    made = Store(fakeredis.FakeRedis(decode_responses=True))
    made.studies.save(StudyRecord(name="s", created_at=1.0, metrics=(LOSS,)))
    return made


def noted(
    store: Store,
    peer: str,
    headers: Any = (),
    proxies: Proxies = BELIEVED,
    *,
    by_cookie: bool = False,
) -> str:
    """Stop the study from an address, with these headers. Returns who the log says has done it."""
    app = app_of(site_of(store, allow_actions=True), proxies=proxies)
    client = TestClient(app, base_url="http://localhost", client=(peer, 50000))
    given = list(headers.items()) if isinstance(headers, dict) else list(headers)
    if by_cookie:
        tokens = Tokens(full=TOKEN, read=READ_TOKEN)
        client.cookies.set("optuna-rq", tokens.cookie(Role.FULL))
        given.append(("X-CSRF-Token", tokens.csrf(Role.FULL)))
    else:
        given.append(("Authorization", f"Bearer {TOKEN}"))
    answer = client.post("/api/studies/s/stop", headers=given)
    assert answer.status_code == 200, answer.text
    return store.study_log.last("s")[-1].by


def test_the_token_and_the_address(store: Store) -> None:
    assert noted(store, "10.9.9.9") == "a program with the full token, from 10.9.9.9"
    assert noted(store, "10.9.9.9", by_cookie=True) == "the page with the full token, from 10.9.9.9"


@pytest.mark.parametrize("peer", [PROXY, f"::ffff:{PROXY}"])
def test_a_proxy_that_is_believed_names_the_user_and_the_address(store: Store, peer: str) -> None:
    by = noted(store, peer, {**HERS, "X-Forwarded-For": "192.0.2.7"}, by_cookie=True)
    assert by.startswith("ann, by the page with the full token, from ")
    assert by.endswith("192.0.2.7") or peer != PROXY


@pytest.mark.parametrize("peer", ["10.1.1.1", "127.0.0.1", "::1", "testclient"])
def test_nobody_else_is_believed(store: Store, peer: str) -> None:
    headers = {**HERS, "X-Forwarded-For": PROXY}
    assert noted(store, peer, headers) == f"a program with the full token, from {peer}"


def test_without_a_header_named_none_is_read(store: Store) -> None:
    assert "ann" not in noted(store, PROXY, HERS, read_proxies([PROXY]))
    assert "ann" not in noted(store, PROXY, HERS, Proxies())


def test_of_two_headers_none_is_believed(store: Store) -> None:
    twice = [("X-Remote-User", "ann"), ("X-Remote-User", "root")]
    assert noted(store, PROXY, twice) == f"a program with the full token, from {PROXY}"


def test_a_name_is_one_short_line(store: Store) -> None:
    by = noted(store, PROXY, {"X-Remote-User": "a\tb" + "x" * 5000})
    assert "\t" not in by
    assert "from 10.1.0.1" in by
    assert len(by) < 200


def test_the_read_only_token_names_itself_and_does_nothing(store: Store) -> None:
    app = app_of(site_of(store, allow_actions=True), proxies=BELIEVED)
    client = TestClient(app, base_url="http://localhost", client=(PROXY, 1))
    headers = {**HERS, "Authorization": f"Bearer {READ_TOKEN}"}
    assert client.post("/api/studies/s/stop", headers=headers).status_code == 403
    assert store.study_log.last("s") == []
    shown = client.get("/", headers={**headers, "Accept": "text/html"}).text
    assert "· ann · shared to look at" in shown


@pytest.mark.parametrize(
    ("addresses", "header", "said"),
    [
        (["nginx"], "", "--trusted-proxy 'nginx' is neither an address nor a network"),
        (["10.0.0.0/99"], "", "neither an address nor a network"),
        ([], "X-User", "--user-header 'X-User': anybody can send it"),
        (["10.0.0.1"], "X User:", "'X User:' is no header's name"),
    ],
)
def test_what_is_mistyped(addresses: list[str], header: str, said: str) -> None:
    with pytest.raises(BadInput, match="dashboard: ") as error:
        read_proxies(addresses, header)
    assert said in str(error.value)
