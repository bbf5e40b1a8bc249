"""The page for tests: over a store, by HTTP in the same process, on a port, and in a real browser.

| helper | gives |
|---|---|
| `page_store` | a store over an empty real Redis, one for a module |
| `client_of` | Starlette's test client, which has the token: for what a page says |
| `served` | the page on a free port: for a browser |
| `browser` | Chromium, one for a module |
| `tab` | a page of it, which fails on any message of the console, script error or failed request |

A missing Chromium skips a test, and fails it where ``CI=true``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.harness import wait_for
from tests.redisserver import RedisServer

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from controller.dashboard.site import Site
    from worker.protocol import Store

TOKEN = "the-token-of-the-tests"
READ_TOKEN = "the-token-that-only-looks"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def page_store(redis_server: RedisServer) -> Store:
    """A store over the shared Redis, emptied once: tests of the module share what they put there."""
    from worker.protocol import Store
    from worker.protocol.connection import connect

    with redis_server.client() as client:
        client.flushall()
    return Store(connect(redis_server.url(), patience_s=0, timeout_s=10.0))


def site_of(store: Store, **options: Any) -> Site:
    """The site over a store; `options` are `Site`'s."""
    from controller.dashboard.site import Site

    return Site(lambda: store, **options)


def app_of(site: Site, *, prefix: str = "", routes: Sequence[Any] = (), **rules: Any) -> Any:
    """The application with the tokens of the tests.

    Args:
        routes: more of them, for what no page has yet.
        rules: those of `controller.dashboard.guard.Rules`.
    """
    from controller.dashboard.access import Tokens
    from controller.dashboard.app import create_app
    from controller.dashboard.guard import Rules
    from controller.dashboard.hosts import accepted_hosts

    given = {
        "tokens": Tokens(full=TOKEN, read=READ_TOKEN),
        "hosts": accepted_hosts("127.0.0.1"),
        "allow_actions": site.allow_actions,
        **rules,
    }
    app = create_app(site, Rules(**given), prefix)
    app.router.routes.extend(routes)
    return app


def client_of(store_or_site: Any, *, token: str = TOKEN, **options: Any) -> TestClient:
    """A client of the page that has entered. Its ``post`` sends the header that pages send.

    Args:
        store_or_site: a `Store`, or a `Site` with other options.
        token: another one, such as `READ_TOKEN`; empty for a client that hasn't entered.
        options: those of `app_of`.
    """
    from starlette.testclient import TestClient

    from controller.dashboard.access import Role, Tokens
    from controller.dashboard.site import Site

    site = store_or_site if isinstance(store_or_site, Site) else site_of(store_or_site)
    tokens = Tokens(full=TOKEN, read=READ_TOKEN)
    client = TestClient(
        app_of(site, **options),
        base_url="http://localhost:8080",
        raise_server_exceptions=False,
        headers={"Accept": "text/html"},
    )
    if token:
        role = tokens.role_of(token) or Role.FULL
        client.cookies.set("optuna-rq", tokens.cookie(role))
        client.headers["X-CSRF-Token"] = tokens.csrf(role)
    return client


@dataclass(frozen=True, kw_only=True)
class Served:
    """A page on a port."""

    url: str
    """Its address without a path, such as ``http://127.0.0.1:41234``."""
    site: Site

    @property
    def door(self) -> str:
        """The address with the token, as the command prints it."""
        return f"{self.url}/?token={TOKEN}"


@contextlib.contextmanager
def served(store_or_site: Any, *, port: int = 0, **options: Any) -> Iterator[Served]:
    """The page on a free port of the loopback interface, by the server that the command uses.

    Args:
        port: one that is known to be free, for a server that comes back.
        options: those of `app_of`.
    """
    import uvicorn

    from controller.dashboard.site import Site

    site = store_or_site if isinstance(store_or_site, Site) else site_of(store_or_site)
    server = uvicorn.Server(
        uvicorn.Config(
            app_of(site, **options),
            host="127.0.0.1",
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=1,
            proxy_headers=False,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started or not thread.is_alive(), "the page's server")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(url=f"http://127.0.0.1:{port}", site=site)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the page's server doesn't end"


def need_chromium() -> None:
    """Skip the test, or fail it where ``CI=true``, when there is no Chromium."""
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"no {CHROMIUM}: apt install chromium", pytrace=False)
        pytest.skip(f"no {CHROMIUM}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, as Playwright drives it."""
    need_chromium()
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # on a busy machine, five seconds are nothing
    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield found
        finally:
            found.close()


class Tab:
    """One page of a browser, in a session of its own, that has entered.

    Args:
        options: those of Playwright's ``new_context``, such as ``viewport``, ``color_scheme``.
    """

    def __init__(self, browser: Any, served: Served, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.served = served
        self.problems: list[str] = []
        self.page.set_default_timeout(30_000)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("console", self._console)
        self.page.on("response", self._response)
        self.page.goto(served.door)

    def open(self, path: str) -> Any:
        """Go to a path of the page. Returns Playwright's page."""
        self.page.goto(self.served.url + path)
        return self.page

    def check(self) -> None:
        """Fail on anything that the browser has complained of, such as what the policy has refused."""
        problems, self.problems = self.problems, []
        assert problems == []

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") or message.text.startswith("WARN"):  # Plotly's
            self.problems.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")


@contextlib.contextmanager
def tab(browser: Any, served: Served, **options: Any) -> Iterator[Tab]:
    """A `Tab` that is closed afterwards, and checked unless the test has failed by itself."""
    found = Tab(browser, served, **options)
    try:
        yield found
        found.check()
    finally:
        found.context.close()
