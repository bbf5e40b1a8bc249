"""The page in a real browser: entering, what is live, Redis away and back, the policy, keyboard, phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import HTMLResponse
from starlette.routing import Route

from controller.dashboard.site import as_json
from tests.dashboard import Served, served, tab
from tests.fakes import LOSS
from worker.protocol import Store, StudyRecord, StudyState

NUMBERS = list(range(12))
FIGURES = {
    "curves": {"type": "scatter", "mode": "lines+markers", "x": NUMBERS, "y": NUMBERS},
    "colors": {
        "type": "scatter", "mode": "markers", "x": NUMBERS, "y": NUMBERS,
        "marker": {"color": NUMBERS, "colorscale": "Viridis", "showscale": True},
    },
    "contour": {"type": "contour", "z": [NUMBERS, NUMBERS[::-1], NUMBERS]},
    "heatmap": {"type": "heatmap", "z": [NUMBERS, NUMBERS[::-1]]},
    "bars": {"type": "bar", "orientation": "h", "x": NUMBERS, "y": NUMBERS},
    "histogram": {"type": "histogram", "x": NUMBERS},
    "box": {"type": "box", "y": NUMBERS},
}  # fmt: skip
"""A trace of each type that a page may use, as Plotly draws it under the page's policy."""


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
