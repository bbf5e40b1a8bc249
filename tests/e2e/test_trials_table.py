"""The table of trials in a real browser: filtered, sorted, live, tagged, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from controller.dashboard.pages import trials
from tests.dashboard import Served, served, site_of, tab
from tests.fakes import record
from tests.made_studies import HOSTILE, METRIC, make_study
from worker.protocol import Status, Store, TaskSpec

pytestmark = pytest.mark.slow

TRIALS = "/studies/s/trials"


@pytest.fixture(scope="module")
def page_of(page_store: Store) -> Iterator[Served]:
    pytest.importorskip("playwright")
    from playwright.sync_api import expect

    expect.set_options(timeout=30_000)
    make_study(page_store, "s", 120, points=20)
    with served(site_of(page_store, allow_actions=True)) as found:
        yield found


def rows(page: Any) -> Any:
    return page.locator("table.trials tbody tr[data-key]")


def test_it_is_filtered_sorted_and_live(browser: Any, page_of: Served, page_store: Store) -> None:
    from playwright.sync_api import expect

    with tab(browser, page_of) as open_tab:
        page = open_tab.open(TRIALS)
        expect(rows(page)).to_have_count(50)
        matching = page.locator("[data-matching]")
        expect(matching).to_have_text("120")
        page.keyboard.press("Tab")
        page.get_by_label("Filter").fill('lr < 0.001 and status == "completed"')
        page.keyboard.press("Enter")
        expect(page.get_by_label("Filter")).to_have_value('lr < 0.001 and status == "completed"')
        expect(matching).not_to_have_text("120")
        count = int(matching.inner_text())
        assert "where=lr" in page.url
        page.get_by_role("link", name="General/lr").click()
        expect(page.get_by_role("columnheader", name="General/lr")).to_have_attribute(
            "aria-sort", "ascending"
        )
        arrow = (
            "heads => heads.map((a) => getComputedStyle(a, '::after').content).filter((c) => c !== 'none')"
        )
        assert page.locator("thead a").evaluate_all(arrow) == ['" ↑"'], "one column is the sorted one"
        values = [float(text) for text in page.locator("tbody td.number:nth-child(5)").all_inner_texts()]
        assert values == sorted(values)
        spec = TaskSpec(parameters={"General/lr": 1e-9}, metrics=(METRIC,))
        page_store.tasks.create(record(trial=500, status=Status.COMPLETED, spec=spec))
        expect(matching).to_have_text(str(count + 1))
        expect(rows(page).first.get_by_role("link")).to_have_text("500")
        page.get_by_label("Status", exact=True).select_option("failed")
        expect(page.get_by_text("No trial matches.")).to_be_visible()
        page.get_by_role("link", name="all trials").click()
        expect(matching).to_have_text("121")


def test_a_wrong_filter_says_where(browser: Any, page_of: Served) -> None:
    from playwright.sync_api import expect

    with tab(browser, page_of) as open_tab:
        page = open_tab.open(TRIALS)
        page.get_by_label("Filter").fill("layers > 2 and lrr < 1")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("column 16: there is no lrr; did you mean lr?")
        expect(page.locator("mark")).to_have_text("lrr < 1")
        assert [problem.split(":")[0] for problem in open_tab.problems] == ["400", "error"]
        open_tab.problems.clear()
        page.get_by_label("Filter").fill("layers > 2 and lr < 1")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(rows(page).first).to_be_visible()


def test_columns_stay_in_the_address(browser: Any, page_of: Served) -> None:
    from playwright.sync_api import expect

    with tab(browser, page_of) as open_tab:
        page = open_tab.open(f"{TRIALS}?count=25")
        page.get_by_text("Columns", exact=True).click()
        for name in ("worker", "reason", "note"):
            page.locator(".choices").get_by_label(name, exact=True).uncheck()
        page.locator(".choices").get_by_label("attempt", exact=True).check()
        page.get_by_role("button", name="Show these").click()
        expect(page.get_by_role("columnheader", name="attempt")).to_be_visible()
        expect(page.get_by_role("columnheader", name="worker")).to_have_count(0)
        page.get_by_role("link", name="next").click()
        expect(page.get_by_text("page 2 of 5")).to_be_visible()
        expect(page.get_by_role("columnheader", name="attempt")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        text = download.value.path().read_text()
        assert text.startswith("task,trial,status,")
        assert text.count("\n") == 1 + int(page.locator("[data-matching]").inner_text())


def test_chosen_trials_are_tagged_and_compared(browser: Any, page_of: Served, page_store: Store) -> None:
    from playwright.sync_api import expect

    with tab(browser, page_of) as open_tab:
        page = open_tab.open(f"{TRIALS}?where=trial+<+3&sort=trial")
        for number in (0, 1, 2):
            page.get_by_label(f"Choose {number}", exact=True).check()
        page.get_by_placeholder("good, -bad").fill("good, look again")
        page.get_by_role("button", name="Tag the chosen").click()
        expect(page.locator("#banner")).to_have_text("3 trials: tags changed")
        expect(page.locator(".tag", has_text="look again")).to_have_count(3)
        expect(page.get_by_role("button", name="Compare the chosen (3)")).to_be_visible()  # the choice stays
        page.get_by_placeholder("a note").fill("<b>late</b>")
        page.get_by_role("button", name="Note on the chosen").click()
        expect(page.get_by_role("cell", name="<b>late</b>")).to_have_count(3)
        assert len(page_store.study_log.last("s")) == 6
        page.get_by_role("row").nth(1).get_by_role("link").click()
        expect(page.get_by_role("heading", name="Trial 0")).to_be_visible()
        page.get_by_role("textbox", name="Tags").fill("-good, kept")
        page.get_by_role("button", name="Tag it").click()
        expect(page.locator(".tag")).to_have_text(["look again", "kept"])
        page.go_back()
        for number in (0, 1, 2):
            page.get_by_label(f"Choose {number}", exact=True).check()
        page.get_by_role("button", name="Compare the chosen (3)").click()
        expect(page.get_by_role("rowgroup").filter(has_text="Parameters that differ")).to_be_visible()
        expect(page.locator("[data-figure][data-drawn]")).to_be_visible()
        expect(page.locator("[data-figure] .scatterlayer .trace")).to_have_count(3)
        (best,) = page.locator("td.best").all()
        expect(best).to_contain_text("best")


def test_rows_that_are_read_first_come_by_themselves(
    browser: Any, page_of: Served, page_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import expect

    make_study(page_store, "other", 30)
    monkeypatch.setattr(trials, "PATIENCE_S", 0.0)
    table = page_of.site.rows.of(page_store, page_store.studies.get("other"))
    with tab(browser, page_of) as open_tab:
        with table._warming:  # as if another thread read them
            page = open_tab.open("/studies/other/trials?where=lr+<+1")
            expect(page.get_by_text("All trials are read once")).to_be_visible()
        expect(rows(page)).to_have_count(30)
        expect(page.get_by_role("button", name="Compare the chosen")).to_be_visible()


def test_a_hostile_study_on_a_phone_in_the_dark(browser: Any, page_of: Served, page_store: Store) -> None:
    from playwright.sync_api import expect

    tasks = make_study(page_store, HOSTILE[1], 30, hostile=True)
    with tab(browser, page_of, viewport={"width": 390, "height": 800}, color_scheme="dark") as open_tab:
        page = open_tab.page
        page.get_by_role("link", name=HOSTILE[1]).click()
        page.get_by_role("link", name="Trials").click()
        expect(rows(page)).to_have_count(30)
        for path in ("", page.url.replace("/trials", "/compare") + f"?tasks={','.join(tasks[:12])}"):
            if path:
                page.goto(path)
                page.locator("[data-figure]").scroll_into_view_if_needed()
                expect(page.locator("[data-figure][data-drawn]")).to_be_visible()
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0
        assert page.evaluate("window.alerted") is None
