"""The workers page and a study's control page in a real browser, on a study that runs, with a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.dashboard import Served, served, site_of, tab
from tests.e2e.cli import Cli, folder_of
from tests.e2e.harness import started, wait_for
from worker.protocol import Store, keys

pytestmark = pytest.mark.slow

OBJECTIVES = """
import pathlib, time

def waits(task, lr, opt):
    task.report_scalar("loss", "", lr, 0)
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
"""
WHO = "the page with the full token, from 127.0.0.1"


@pytest.fixture(scope="module")
def study(page_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A study with one trial at once, and its worker ``w``."""
    head = redis_of(page_store)
    with folder_of(tmp_path_factory.mktemp("study"), OBJECTIVES) as cli:
        sweep = cli.sweep(
            objective={"function": "obj:waits"},
            parameters={
                "lr": {"type": "float", "low": 0.0, "high": 1.0},
                "opt": {"choices": ["sgd", "adam"]},
            },
            budget={"max_trials": 5, "max_concurrent": 1, "wall_clock": "90m", "lease": 9},
        )
        log = cli.folder / "log"
        with (
            started("worker", "--name", "w", cwd=cli.folder, log=log, **head),
            started("controller", "start", sweep, cwd=cli.folder, log=log, **head),
        ):
            wait_for(lambda: "trial 0 started" in log.read_text(), "the first trial")
            yield cli


def redis_of(store: Store) -> dict[str, str]:
    about = store.redis.connection_pool.connection_kwargs
    return {"REDIS_URL": f"redis://{about['host']}:{about['port']}/{about['db']}"}


@pytest.fixture(scope="module")
def page_of(page_store: Store, study: Cli) -> Iterator[Served]:
    expect.set_options(timeout=30_000)
    with served(site_of(page_store, allow_actions=True)) as found:
        yield found


def accept(page: Any) -> None:
    page.once("dialog", lambda dialog: dialog.accept())


def test_a_worker_is_paused_and_resumed(browser: Any, page_of: Served, page_store: Store) -> None:
    with tab(browser, page_of) as open_tab:
        page = open_tab.open("/workers")
        worker = page.locator("article.worker")
        expect(worker).to_contain_text("1 of 1")
        expect(worker.get_by_role("link", name="s", exact=True)).to_be_visible()
        worker.get_by_label("Reason").fill("<b>new disk</b>")
        worker.get_by_role("button", name="Pause w").click()
        expect(page.locator("#banner")).to_contain_text("worker w takes no new jobs: <b>new disk</b>")
        expect(worker.locator(".state")).to_have_text("paused")
        expect(worker).to_contain_text(f"by {WHO}: <b>new disk</b>")
        expect(worker).to_contain_text("1 of 1")  # what runs goes on
        worker.get_by_role("button", name="Resume w").click()
        expect(worker.locator(".state")).to_have_text("running")
        expect(worker.get_by_role("button", name="Pause w")).to_be_visible()


def test_a_study_is_changed(browser: Any, page_of: Served, page_store: Store) -> None:
    with tab(browser, page_of) as open_tab:
        page = open_tab.open("/studies/s")
        page.get_by_role("link", name="Control").click()
        page.get_by_label("max_trials").fill("2h")
        page.get_by_role("button", name="Set the limits").click()
        expect(page.locator("#banner")).to_contain_text('budget.max_trials: must be a whole number, got "2h"')
        open_tab.problems = [line for line in open_tab.problems if "400" not in line]
        page.get_by_label("max_trials").fill("7")
        page.get_by_label("wall_clock").fill("2h")
        page.get_by_role("button", name="Set the limits").click()
        expect(page.locator("#banner")).to_contain_text("max_trials 5 → 7, wall_clock 1 h 30 min → 2 h")
        row = page.locator("tr[data-key=jobs]")
        expect(row).to_contain_text("7")
        # It is live: what the controller says comes by itself.
        expect(page.locator("main")).to_contain_text(f"max_trials is 7, as {WHO} has set it instead of 5")
        accept(page)
        page.get_by_role("button", name="Take the edits back").click()
        expect(page.locator("#banner")).to_contain_text("edits taken back")
        expect(row).to_contain_text("5")
        page.get_by_label("lr").fill("0.125")
        page.get_by_label("opt").select_option("adam")
        page.get_by_role("button", name="Try it next").click()
        expect(page.locator("#banner")).to_contain_text('lr=0.125, opt="adam": its controller tries it next')
        expect(page.locator("main")).to_contain_text('tried next: {"lr": 0.125, "opt": "adam"}')
        expect(page.get_by_label("lr")).to_have_value("")
        page.get_by_role("button", name="Pause the study").click()
        expect(page.get_by_role("button", name="Resume the study")).to_be_visible()
        page.get_by_role("button", name="Resume the study").click()
        expect(page.get_by_role("button", name="Pause the study")).to_be_visible()


def test_a_phone_and_the_keyboard(browser: Any, page_of: Served) -> None:
    with tab(browser, page_of, viewport={"width": 390, "height": 800}, color_scheme="dark") as open_tab:
        for path in ("/workers", "/studies/s/control"):
            page = open_tab.open(path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        page.get_by_label("max_trials").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == "max_concurrent"


def test_a_study_is_stopped_once_that_is_confirmed(
    browser: Any,
    page_of: Served,
    page_store: Store,
) -> None:
    with tab(browser, page_of) as open_tab:
        page = open_tab.open("/studies/s/control")
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.get_by_role("button", name="Stop the study").click()
        assert not page_store.redis.exists(keys.study_request("s"))
        accept(page)
        page.get_by_role("button", name="Stop the study").click()
        expect(page.locator(".state.stopped")).to_be_visible()
        expect(page.get_by_role("button", name="Stop the study")).to_have_count(0)
        expect(page.locator("main")).to_contain_text("its controller was asked to stop it")
