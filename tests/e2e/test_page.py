"""The page in a real browser: entering, what is live, Redis away and back, the policy, keyboard, phone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import HTMLResponse
from starlette.routing import Route

from controller.dashboard.site import as_json
from tests.dashboard import Served, Tab, served, tab
from tests.fakes import LOSS
from tests.made_studies import make_study
from tests.proxy import BreakingProxy
from tests.redisserver import RedisServer
from worker.protocol import Store, StudyRecord, StudyState
from worker.protocol.connection import connect

NUMBERS = list(range(12))
FIGURES = {
    "curves": {"type": "scatter", "mode": "lines+markers", "x": NUMBERS, "y": NUMBERS},
    "colors": {
        "type": "scatter", "mode": "markers", "x": NUMBERS, "y": NUMBERS,
        "marker": {"color": NUMBERS, "colorscale": "Viridis", "showscale": True},
    },
    "contour": {"type": "contour", "z": [NUMBERS, NUMBERS[::-1], NUMBERS]},
    "bars": {"type": "bar", "orientation": "h", "x": NUMBERS, "y": NUMBERS},
}  # fmt: skip
"""Traces that set styles in all of Plotly's ways, as it draws them under the page's policy."""


def figure(request: Any) -> Any:
    name = request.path_params["figure"]
    return as_json({"data": [FIGURES[name]], "layout": {"title": {"text": name}}})


def figures(request: Any) -> Any:
    drawn = "".join(f'<div data-figure="/figure/{name}"></div>' for name in FIGURES)
    page = request.app.state.site.render(request, "problem.html", title="", text="", away=False)
    return HTMLResponse(page.body.decode().replace("</main>", f"{drawn}</main>"))


@pytest.fixture(scope="module")
def page_of(page_store: Store) -> Iterator[Served]:
    page_store.studies.save(StudyRecord(name="first", created_at=1.0, metrics=(LOSS,)))
    routes = [Route("/figure/{figure}", figure), Route("/figures", figures)]
    with served(page_store, routes=routes) as found:
        yield found


def test_it_is_entered_by_its_address_and_is_live(browser: Any, page_of: Served, page_store: Store) -> None:
    from playwright.sync_api import expect

    with tab(browser, page_of) as open_tab:
        page = open_tab.page
        expect(page.get_by_role("link", name="first")).to_be_visible()
        assert page.url == f"{page_of.url}/"
        page_store.studies.save(StudyRecord(name="second", created_at=2.0, metrics=(LOSS,)))
        expect(page.get_by_role("link", name="second")).to_be_visible()
        page.get_by_role("link", name="second").click()
        expect(page.get_by_text("interrupted")).to_be_visible()
        page_store.studies.save(
            StudyRecord(name="second", created_at=2.0, metrics=(LOSS,), state=StudyState.COMPLETED)
        )
        expect(page.get_by_text("completed", exact=True)).to_be_visible()


def test_figures_are_drawn_under_the_policy(browser: Any, page_of: Served) -> None:
    from playwright.sync_api import expect

    with tab(browser, page_of, viewport={"width": 800, "height": 4000}) as open_tab:
        page = open_tab.open("/figures")
        expect(page.locator("[data-figure][data-drawn]")).to_have_count(len(FIGURES))
        # Plotly's own style sheet and what it sets on elements work: neither is a text in the page.
        marks = page.locator("[data-figure='/figure/colors'] .point")
        assert marks.count() == len(NUMBERS)
        colors = {mark.evaluate("mark => getComputedStyle(mark).fill") for mark in marks.all()}
        assert len(colors) == len(NUMBERS)
        assert page.evaluate("getComputedStyle(document.querySelector('.modebar')).position") == "absolute"
        fills = page.locator("[data-figure='/figure/colors'] .cbfill").first
        assert fills.evaluate("fill => getComputedStyle(fill).fill") != "rgb(0, 0, 0)"


def test_search_and_order_change_the_page_in_place(browser: Any, page_of: Served, page_store: Store) -> None:
    from playwright.sync_api import expect

    make_study(page_store, "digits", 12)
    with tab(browser, page_of) as open_tab:
        page = open_tab.page
        field = page.get_by_role("searchbox")
        field.press_sequentially("digi")
        expect(page.get_by_role("link", name="first")).to_have_count(0)
        expect(page.get_by_role("link", name="digits")).to_be_visible()
        assert page.url == f"{page_of.url}/?q=digi"
        # What changes elsewhere leaves alone what is typed, and where.
        make_study(page_store, "digits-2", 3)
        expect(page.get_by_role("link", name="digits-2")).to_be_visible()
        expect(field).to_be_focused()
        expect(field).to_have_value("digi")
        page.get_by_role("link", name="Trials").click()
        expect(page.get_by_role("columnheader", name="Trials")).to_have_attribute("aria-sort", "descending")
        assert page.locator("tbody tr").first.get_attribute("data-key") == "digits"
        page.reload()
        expect(page.get_by_role("searchbox")).to_have_value("digi")
        page.go_back()
        expect(page.get_by_role("columnheader", name="Trials")).not_to_have_attribute(
            "aria-sort", "descending"
        )


def test_redis_away_and_back(browser: Any, redis_server: RedisServer, page_store: Store) -> None:
    from playwright.sync_api import expect

    proxy = BreakingProxy(redis_server.port)
    store = Store(connect(f"redis://127.0.0.1:{proxy.port}/0", patience_s=0, timeout_s=5.0))
    with served(store) as found, tab(browser, found) as seen, tab(browser, found) as opened:
        expect(seen.page.locator("#rows")).to_be_visible()
        proxy.refuse()
        expect(seen.page.get_by_role("status")).to_contain_text("Redis is away")
        # A page that is opened meanwhile says so, too.
        page = opened.open("/")
        expect(page.get_by_role("heading", name="Redis is away")).to_be_visible()
        expect(page.get_by_text("comes back by itself.", exact=False).last).to_be_visible()
        page_store.studies.save(StudyRecord(name="meanwhile", created_at=3.0, metrics=(LOSS,)))
        proxy.heal()
        for one in (seen, opened):
            expect(one.page.get_by_role("link", name="meanwhile")).to_be_visible()
            expect(one.page.get_by_role("status")).to_have_count(0)
            assert [problem for problem in one.problems if "503" not in problem] == []
            one.problems.clear()
    proxy.close()


def test_a_server_that_ends_and_comes_back(browser: Any, page_store: Store) -> None:
    from playwright.sync_api import expect

    with contextlib.ExitStack() as first:
        found = first.enter_context(served(page_store))
        seen = Tab(browser, found)
        expect(seen.page.locator("#rows")).to_be_visible()
        # The stream is open: a change is seen.
        page_store.studies.save(StudyRecord(name="before", created_at=4.0, metrics=(LOSS,)))
        expect(seen.page.get_by_role("link", name="before")).to_be_visible()
        assert seen.problems == []
    expect(seen.page.get_by_role("status")).to_contain_text("The server can't be reached")
    page_store.studies.save(StudyRecord(name="after", created_at=5.0, metrics=(LOSS,)))
    with served(page_store, port=int(found.url.rpartition(":")[2])):
        expect(seen.page.get_by_role("link", name="after")).to_be_visible()
        expect(seen.page.get_by_role("status")).to_have_count(0)
        seen.context.close()


def test_keyboard(browser: Any, page_of: Served) -> None:
    from playwright.sync_api import expect

    with tab(browser, page_of) as open_tab:
        page = open_tab.page
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("searchbox")).to_be_focused()
        page.get_by_role("link", name="first").focus()
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "what has the focus is marked"
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="first")).to_be_visible()


CONTRAST = """() => {
    const light = (color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).map((part) => part / 255).map(
            (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (!/, 0\\)$/.test(color)) return color;
        }
    };
    const low = [];
    for (const node of document.querySelectorAll("body *")) {
        if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
        if (!node.checkVisibility()) continue;
        const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) low.push(`${node.tagName}.${node.className}: ${ratio.toFixed(2)}`);
    }
    return [...new Set(low)];
}"""
"""Elements whose text is hard to read: less than the contrast that WCAG's AA asks for."""


@pytest.mark.parametrize(("scheme", "width"), [("dark", 390), ("light", 1280)])
def test_a_phone_and_dark(browser: Any, page_of: Served, page_store: Store, scheme: Any, width: int) -> None:
    make_study(page_store, "a-name-as-long-as-" + "some-give-them-" * 8, 5, hostile=True)
    with tab(browser, page_of, viewport={"width": width, "height": 800}, color_scheme=scheme) as open_tab:
        for path in ("/", "/studies/first", "/studies/none-such", "/login?wrong=1"):
            page = open_tab.open(path)
            assert page.evaluate("document.scrollingElement.scrollWidth") <= width, path
            assert page.evaluate(CONTRAST) == [], path
        assert [problem for problem in open_tab.problems if "none-such" not in problem] == []
        open_tab.problems.clear()
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert dark == (scheme == "dark")


MORPH = """async ([before, after, act]) => {
    const { morph } = await import("/static/morph.js");
    const box = document.createElement("div");
    box.innerHTML = before;
    document.body.append(box);
    const kept = new Map([...box.querySelectorAll("[data-key], [id]")].map((one) => [one.dataset.key ?? one.id, one]));
    for (const [selector, property, value] of act) box.querySelector(selector)[property] = value;
    box.querySelector("input")?.focus();
    morph(box, after);
    const same = [...box.querySelectorAll("[data-key], [id]")].map((one) => kept.get(one.dataset.key ?? one.id) === one);
    const found = { html: box.innerHTML, same, focused: document.activeElement.nodeName, value: box.querySelector("input")?.value };
    box.remove();
    return found;
}"""


def test_what_is_live_changes_only_what_differs(browser: Any, page_of: Served) -> None:
    with tab(browser, page_of) as open_tab:

        def morphed(before: str, after: str, *act: Any) -> Any:
            return open_tab.page.evaluate(MORPH, [before, after, list(act)])

        row = '<p data-key="{0}" class="{1}">{0}</p>'
        rows = "".join(row.format(key, "old") for key in "abc")
        for keys in ("abc", "cab", "b", "", "xaybz", "cba"):
            after = "".join(row.format(key, "new") for key in keys)
            found = morphed(rows, after)
            assert found["html"] == after
            assert found["same"] == [key in "abc" for key in keys]
        for before, after in [
            ("text", "other"), ("<b>a</b>text", "text<b>a</b>"), ("<b>a</b>", "<i>a</i>"), ("", "<p>x</p>"),
            ("<p>x</p>", ""), ('<p title="a" class="b">', '<p class="c"></p>'), ("<ul><li>1<li>2</ul>", "<ul><li>2</li></ul>"),
        ]:  # fmt: skip
            assert morphed(before, after)["html"] == after
        # What a person types, has opened or what scripts have drawn stays.
        found = morphed(
            '<p>1</p><input id="i"><details id="d"><summary>s</summary></details>',
            '<p>2</p><input id="i" value="theirs"><details id="d"><summary>t</summary></details>',
            ["input", "value", "typed"], ["details", "open", True],
        )  # fmt: skip
        assert (found["value"], found["focused"], found["same"]) == ("typed", "INPUT", [True, True])
        assert '<details id="d" open=""><summary>t</summary></details>' in found["html"]
        drawn = '<div data-figure="/figure/bars" id="f"><svg></svg></div><p>2</p>'
        assert morphed(drawn.replace("2", "1"), drawn.replace("<svg></svg>", ""))["html"] == drawn
        kept = '<div data-keep="" id="f">mine</div>'
        assert morphed(kept, kept.replace("mine", "theirs"))["html"] == kept
