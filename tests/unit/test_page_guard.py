"""Who may look at the page and who may act, as HTTP answers it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dashboard import READ_TOKEN, TOKEN, client_of, site_of
from tests.fakes import LOSS
from worker.protocol import Store, StudyRecord


@pytest.fixture
def store() -> Store:
    import fakeredis

    made = Store(fakeredis.FakeRedis(decode_responses=True))
    made.studies.save(StudyRecord(name="s", created_at=1.0, metrics=(LOSS,)))
    return made


def test_without_a_token_nothing_is_shown(store: Store) -> None:
    client = client_of(store, token="")
    page = client.get("/studies/s?sort=lr", follow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=%2Fstudies%2Fs%3Fsort%3Dlr")
    assert "s?sort" not in client.get("/login").text.replace("sort=lr", "")
    for path in ("/api/studies", "/live"):
        answer = client.get(path, headers={"Accept": "application/json"})
        assert answer.status_code == 401
        assert "controller dashboard" in answer.json()["error"]


def test_the_token_in_the_address_becomes_a_cookie(store: Store) -> None:
    client = client_of(store, token="")
    answer = client.get(f"/studies/s?a=1&token={TOKEN}&b=2", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/s?a=1&b=2")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN not in cookie
    page = client.get("/studies/s")
    assert page.status_code == 200
    assert TOKEN not in page.text


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ü"])
def test_a_wrong_token(store: Store, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.dashboard.guard.WRONG_TOKEN_S", 0.0)
    client = client_of(store, token="")
    answer = client.get("/", params={"token": token})
    assert answer.url.path == "/login"
    assert "That token is wrong." in answer.text
    answer = client.post("/login", data={"token": token})
    assert "That token is wrong." in answer.text
    assert not client.cookies


def test_a_program_with_a_wrong_token_is_told_so_and_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("controller.dashboard.guard.asyncio.sleep", sleep)
    client = client_of(store, token="")
    for path in ("/api/studies", "/studies/s"):
        answer = client.get(path, headers={"Authorization": "Bearer wrong", "Accept": "application/json"})
        assert (answer.status_code, answer.json()["error"]) == (401, "wrong token")
    assert len(waits) == 2
    # Somebody who has entered already is not asked for another.
    assert client_of(store).get("/", headers={"Authorization": "Bearer wrong"}).status_code == 200
    assert len(waits) == 2


def test_methods_that_an_address_does_not_answer(store: Store) -> None:
    client = client_of(site_of(store, allow_actions=True))
    said = client.put("/api/studies/s/stop", headers={"Accept": "application/json"})
    assert (said.status_code, said.json()["error"]) == (405, "Not allowed: this address does not answer PUT")


def test_the_login_form_leads_on_to_this_server_only(store: Store) -> None:
    client = client_of(store, token="")
    for where, leads in [
        ("/studies/s?x=1", "/studies/s?x=1"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("javascript:alert(1)", "/"),
    ]:
        answer = client.post("/login", data={"token": TOKEN, "next": where}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, leads)
        assert "optuna-rq" in client.cookies


def test_leaving(store: Store) -> None:
    client = client_of(store)
    assert client.get("/").url.path == "/"
    answer = client.post("/logout", follow_redirects=False)
    assert answer.status_code == 303
    assert 'optuna-rq=""' in answer.headers["set-cookie"]


def test_programs_send_the_token_as_a_header(store: Store) -> None:
    client = client_of(store, token="")
    assert client.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/", headers={"Authorization": "Bearer x", "Accept": "*/*"}).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1:8080", ""])
def test_foreign_hosts(store: Store, host: str) -> None:
    answer = client_of(store).get("/", headers={"Host": host})
    assert answer.status_code == 403
    assert "--allow-host" in answer.text


SAME = {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize(
    ("options", "headers", "said"),
    [
        ({}, {}, "--allow-actions"),
        ({"allow_actions": True, "token": READ_TOKEN}, {}, "this address only shows"),
        ({"allow_actions": True}, {"X-CSRF-Token": ""}, "load it again"),
        ({"allow_actions": True}, {"X-CSRF-Token": "0" * 64}, "load it again"),
        ({"allow_actions": True}, {"Origin": "http://evil.example"}, "http://evil.example"),
        ({"allow_actions": True}, {"Origin": "null"}, "may not change"),
        ({"allow_actions": True}, {"Sec-Fetch-Site": "cross-site"}, "another site"),
        ({"allow_actions": True}, {"Sec-Fetch-Site": "same-site"}, "another site"),
        ({"allow_actions": True}, {}, ""),
        ({"allow_actions": True}, SAME, ""),
    ],
)
def test_what_changes_something(
    store: Store, options: dict[str, Any], headers: dict[str, str], said: str
) -> None:
    client = client_of(
        site_of(store, allow_actions=options.get("allow_actions", False)), token=options.get("token", TOKEN)
    )
    for method in ("POST", "PUT", "DELETE"):
        answer = client.request(method, "/api/none-such", json={}, headers=headers)
        # What passes the guard finds that there is no such address.
        assert answer.status_code == (403 if said else 404)
        assert said in answer.json()["error"]


def test_who_only_looks_sees_the_pages(store: Store) -> None:
    page = client_of(site_of(store, allow_actions=True), token=READ_TOKEN).get("/studies/s")
    assert page.status_code == 200
    assert "shared to look at" in page.text


def test_each_answer_has_its_rules(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(store)
    monkeypatch.setattr(store.studies, "names", lambda: 1 / 0)
    for path, status in [("/studies/s", 200), ("/none", 404), ("/static/page.js", 200), ("/", 500)]:
        answer = client.get(path)
        assert answer.status_code == status
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "ZeroDivisionError" in client.get("/").text


@pytest.mark.parametrize("removes", [True, False])
def test_behind_a_prefix(store: Store, removes: bool) -> None:
    client = client_of(store, prefix="/hpo/")
    page = client.get("/" if removes else "/hpo/")
    assert page.status_code == 200
    assert 'href="/hpo/studies/s"' in page.text
    assert 'content="/hpo/live"' in page.text
    assert client.get("/studies/s" if removes else "/hpo/studies/s").status_code == 200
    entering = client_of(store, token="", prefix="/hpo/")
    answer = entering.get("/" if removes else "/hpo/", follow_redirects=False)
    assert answer.headers["location"] == "/hpo/login"
    answer = entering.get(f"/?token={TOKEN}", follow_redirects=False)
    assert answer.headers["location"] == "/hpo/"
    assert "Path=/hpo" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "name", ["a/b", "..", ".", "a b?c#d", "50%", "~2F", "<script>", "café/☃", "a\\b", "tasks:1", "trials"]
)
def test_any_name_has_an_address(store: Store, name: str) -> None:
    import re

    store.studies.save(StudyRecord(name=name, created_at=2.0, metrics=(LOSS,)))
    client = client_of(store)
    first = re.search(r'href="(/studies/[^"]+)"', client.get("/").text)
    assert first
    page = client.get(first[1])
    assert page.status_code == 200
    assert f'<a href="{first[1]}">' in page.text
    assert "<script>" not in page.text.replace('<script type="module"', "")


def test_what_is_not_there(store: Store) -> None:
    client = client_of(store)
    page = client.get("/studies/other")
    assert page.status_code == 404
    assert "no study &#39;other&#39;" in page.text
    assert client.get("/?part=none").json()["error"] == "this page has no part 'none'"
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/..%2Fapp.py").status_code == 404
