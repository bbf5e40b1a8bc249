"""Every page of the dashboard over a study whose programs wrote what they shouldn't: crawled, and in a browser."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import expect

from tests.dashboard import Served, browser, client_of, page_store, served, site_of, tab  # noqa: F401 - fixtures
from tests.made_studies import HOSTILE, make_study
from worker.protocol import Store

NAMES = ("<script>alert(1)</script>", 'a/b?c#d "e"', "..", "新しい %41")
"""Studies that a person might name so, or somebody who means harm."""
MOST = 150
"""Pages that a crawl looks at."""


@pytest.fixture(scope="module")
def hostile(page_store: Store) -> Iterator[Served]:  # noqa: F811 - a fixture
    for name in NAMES:
        make_study(page_store, name, 12, points=3, hostile=True)
    make_study(page_store, "empty", 0)
    with served(site_of(page_store, allow_actions=True)) as found:
        yield found


class Page(HTMLParser):
    """What of a page could do harm, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and "src" not in given:
            self.wrong.append("a script within the page")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.wrong.append(f"<{tag} {name}={value!r:.80}>")
            if name in ("href", "src", "action") and not (value or "").startswith(
                ("/", "?", "#", "http://localhost:8080/")
            ):
                self.wrong.append(f"<{tag} {name}={value!r:.80}>")
        for name in ("href", "src", "data-live", "data-figure"):
            link = given.get(name) or "#"
            if not link.startswith("#"):
                self.links.append(link)


def test_every_page_shows_what_programs_wrote_as_text(hostile: Served, page_store: Store) -> None:  # noqa: F811 - a fixture
    client = client_of(site_of(page_store, allow_actions=True))
    kinds: dict[str, int] = {}
    seen, waiting, wrong = {"/"}, deque(["/"]), []
    looked = 0
    while waiting and looked < MOST:
        address = waiting.popleft()
        looked += 1
        answer = client.get(address)
        if answer.status_code != 200:
            wrong.append(f"{address}: {answer.status_code}")
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        if answer.headers.get("content-disposition", "").startswith("attachment"):
            continue  # a report to download, which tests of its own look at
        if "'unsafe" in answer.headers["content-security-policy"]:
            wrong.append(f"{address}: its policy allows what is unsafe")
        page = Page(answer.text)
        wrong += [f"{address}: {text}" for text in page.wrong]
        wrong += [f"{address}: unescaped {text!r:.40}" for text in HOSTILE[:2] if text in answer.text]
        if re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e]", answer.text):
            wrong.append(f"{address}: control characters")
        for link in page.links:
            parts = urlsplit(urljoin(f"http://localhost:8080{address}", link))
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            # A few of each kind: the same page of another task or study, or with another choice.
            kind = _kind(target)
            if target in seen or "/optuna" in target or "/static/" in target or kinds.get(kind, 0) >= 14:
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
            seen.add(target)
            waiting.append(target)
    assert wrong == []
    assert "/studies/S" in kinds


def test_no_page_complains_in_a_browser(browser: Any, hostile: Served, page_store: Store) -> None:  # noqa: F811 - fixtures
    client = client_of(page_store)
    with tab(browser, hostile) as open_tab:
        dialogs: list[str] = []
        open_tab.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for link in _one_of_each_kind(client):
            page = open_tab.open(link)
            if page.locator("[data-figure]").count():
                expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=30_000)
            open_tab.check()
        assert dialogs == []


def _one_of_each_kind(client: Any) -> list[str]:
    """Addresses of pages, one of each kind, as far as two clicks lead to."""
    found: dict[str, str] = {}
    waiting = [("/", 0)]
    while waiting:
        address, clicks = waiting.pop(0)
        kind = _kind(address)
        if kind in found or "/optuna" in address or "/static/" in address:
            continue
        answer = client.get(address)
        is_page = answer.headers["content-type"].startswith("text/html")
        if is_page and "content-disposition" not in answer.headers:
            found[kind] = address
            if clicks < 2:
                waiting += [(link, clicks + 1) for link in Page(answer.text).links]
    return list(found.values())


def _kind(address: str) -> str:
    """An address without what names a study or task, and without its query."""
    path = re.sub(r"(/studies/)[^/?]+", r"\1S", address.partition("?")[0])
    return re.sub(r"[0-9a-f]{32}", "T", path)
