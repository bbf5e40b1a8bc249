"""The study page in a real browser: its figures, what is chosen of them, and that they stay live."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from controller.figures import FIGURES
from tests.dashboard import Served, served, tab
from tests.e2e.harness import wait_for
from tests.study_data import LOSS, SIZE, made_up
from worker.protocol import Status, Store, StudyState
from worker.protocol.copies import write_tasks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::optuna.exceptions.ExperimentalWarning"),
]
DRAWN = "[data-figure][data-drawn]:not([data-busy])"


@pytest.fixture(scope="module")
def page_of(page_store: Store) -> Iterator[Served]:
    for name, metrics in (("s", (LOSS,)), ("two", (LOSS, SIZE))):
        study, copies = made_up(60, 20, name=name, metrics=metrics)
        place = 0 if name == "s" else 1
        copies = [replace(c, record=replace(c.record, id=f"{place}{c.record.trial:031x}")) for c in copies]
        page_store.studies.save(replace(study, sweep={"study": {"name": name}}))
        write_tasks(page_store, copies)
    with served(
        page_store, routes=[Route("/tasks/{id}", lambda request: PlainTextResponse("a task"))]
    ) as found:
        yield found


def figure(page: Any, name: str) -> Any:
    """A figure's element, drawn."""
    panel = page.locator(f"#{name}")
    panel.scroll_into_view_if_needed()
    panel.locator(DRAWN).wait_for()
    return panel.locator("[data-figure]")


def said_by(found: Any, script: str) -> Any:
    return found.evaluate(f"(e) => {script}")


PHONE = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}


@pytest.mark.parametrize(
    ("options", "names"),
    [({}, list(FIGURES)), (PHONE, ["best", "curves", "parallel", "slices"])],
    ids=["wide", "phone"],
)
def test_every_figure_is_drawn_under_the_policy(
    browser: Any, page_of: Served, options: dict[str, Any], names: list[str]
) -> None:
    with tab(browser, page_of, **options) as open_tab:
        page = open_tab.open("/studies/two")
        for name in names:
            found = figure(page, name)
            assert said_by(found, "e.querySelectorAll('.main-svg').length") > 0, name
            assert "WebGL" not in found.inner_text()
            assert said_by(found, "e.data.length") > 0, name
            assert not said_by(
                found,
                "Object.keys(e.layout).some((k) => /^xaxis/.test(k) && e.layout[k].automargin === true)",
            )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_curves_are_chosen_and_the_address_keeps_it(browser: Any, page_of: Served) -> None:
    with tab(browser, page_of) as open_tab:
        page = open_tab.open("/studies/s")
        curves = figure(page, "curves")
        assert said_by(curves, "e.data.length") == 20
        page.select_option("#curves select[name=top]", "5")
        page.locator(f"#curves {DRAWN}[data-figure*='top=5']").wait_for()
        wait_for(lambda: said_by(curves, "e.data.length") == 5, "five curves")
        page.check("#curves input[name=logy]")
        wait_for(lambda: said_by(curves, "e.layout.yaxis.type") == "log", "a log axis")
        rough = said_by(curves, "e.data[0].y[1]")
        page.locator("#curves input[name=smooth]").fill("0.9")
        wait_for(lambda: said_by(curves, "e.data[0].y[1]") > rough, "smooth curves")
        assert parse_qs(urlsplit(page.url).query) == {
            "metric": ["loss"], "top": ["5"], "by": ["iteration"], "logy": ["1"], "smooth": ["0.9"],
        }  # fmt: skip
        page.reload()
        curves = figure(page, "curves")
        wait_for(lambda: said_by(curves, "e.layout.yaxis.type") == "log", "a log axis after reloading")
        assert said_by(curves, "e.data.length") == 5
        page.locator("#curves input[name=smooth]").fill("0")
        wait_for(lambda: said_by(curves, "e.data[0].y[1]") == rough, "the curves as they are")
        # Trials that are no numbers are refused in words.
        field = page.locator("#curves input[name=trials]")
        field.fill("3, x")
        field.press("Enter")
        page.get_by_text("trials: 'x' is no number").wait_for()
        open_tab.problems.clear()  # the browser's own line about the answer 400
        field.fill("3, 5-6")
        field.press("Enter")
        wait_for(lambda: said_by(curves, "e.data.length") == 3, "three curves")
        wait_for(lambda: page.locator("#banner").is_hidden(), "the message goes")


def test_a_figure_is_live_and_a_point_opens_its_task(
    browser: Any, page_of: Served, page_store: Store
) -> None:
    with tab(browser, page_of) as open_tab:
        streams: list[str] = []
        open_tab.page.on(
            "request", lambda request: streams.append(request.url) if "/live" in request.url else None
        )
        page = open_tab.open("/studies/s")
        best = figure(page, "best")
        assert sum("study=s" in url for url in streams) == 1, "no script runs twice"
        before = said_by(best, "e.data[0].x.length")
        running = f"{59:032x}"
        page_store.transitions.finish(
            running, 1, Status.COMPLETED, worker=page_store.tasks.get(running).worker, reason="",
        )  # fmt: skip
        wait_for(lambda: said_by(best, "e.data[0].x.length") == before + 1, "the new result")
        page_store.studies.save(
            replace(page_store.studies.get("s"), state=StudyState.COMPLETED, reason="all done")
        )
        page.get_by_text("all done").wait_for()
        said_by(best, "e.emit('plotly_click', {points: [{customdata: 59}]})")
        page.wait_for_url(f"**/tasks/{running}")


def test_parameters_and_objective_are_chosen(browser: Any, page_of: Served) -> None:
    with tab(browser, page_of) as open_tab:
        page = open_tab.open("/studies/two")
        page.select_option("select[name=objective]", "1")
        page.wait_for_url("**objective=1")
        assert said_by(figure(page, "values"), "e.layout.xaxis.title.text") == "size"
        contour = figure(page, "contour")
        page.select_option("#contour select[name=x]", "layers")
        page.select_option("#contour select[name=y]", "optimizer")
        titles = "[e.layout.xaxis.title.text, e.layout.yaxis.title.text].join()"
        wait_for(lambda: said_by(contour, titles) == "layers,optimizer", "the contour")
        assert said_by(figure(page, "rank"), titles) == "layers,optimizer"


def test_ranges_of_parallel_coordinates(browser: Any, page_of: Served) -> None:
    with tab(browser, page_of, viewport={"width": 1200, "height": 900}) as open_tab:
        page = open_tab.open("/studies/s")
        found = figure(page, "parallel")
        panel = page.locator("#parallel")
        matching, summary = panel.locator("[data-matching]"), panel.locator("summary")
        # By the keyboard: open the fields, and move the lowest value of a parameter up.
        summary.focus()
        page.keyboard.press("Enter")
        panel.get_by_label("lr, lowest").focus()
        for _ in range(3):
            page.keyboard.press("PageUp")
        expect(matching).to_have_text(re.compile(r"^\d+ of 4\d trials$"))
        inside = int(matching.inner_text().split()[0])
        assert 0 < inside < 44
        page.wait_for_url("**ranges=**")
        ranges = json.loads(parse_qs(urlsplit(page.url).query)["ranges"][0])
        assert list(ranges) == ["lr"]
        # Trials outside fade behind the others; the axis shows its range.
        assert said_by(found, "e.data[0].hoverinfo") == "skip"
        assert (
            said_by(found, "e.data.slice(1).reduce((n, t) => n + t.x.filter((x) => x === null).length, 0)")
            == inside
        )
        assert said_by(found, "e.layout.shapes.length") == 1
        # A choice among others; the table shows the same trials.
        panel.get_by_label("adam").check()
        expect(matching).not_to_have_text(re.compile(f"^{inside} of"))
        both = int(matching.inner_text().split()[0])
        page.wait_for_url("**adam**")
        address = page.url
        panel.get_by_role("link", name="These trials in the table").click()
        expect(page.locator("[data-matching]")).to_have_text(str(both))
        # The address has it all; a mouse drags a range, a click takes none away and opens the trial.
        page = open_tab.open(urlsplit(address).path + "?" + urlsplit(address).query)
        figure(page, "parallel")
        expect(matching).to_have_text(re.compile(f"^{both} of"))
        panel.get_by_role("button", name="All trials").click()
        expect(matching).to_be_empty()
        page.wait_for_url(lambda url: "ranges" not in url)
        area = found.locator(".nsewdrag").bounding_box()
        x = area["x"] + area["width"] * 3.3 / 3.6  # the last axis, the objective's
        page.mouse.move(x, area["y"] + area["height"] * 0.9)
        page.mouse.down()
        page.mouse.move(x, area["y"] + area["height"] * 0.5, steps=4)
        page.mouse.up()
        expect(matching).to_have_text(re.compile(r"^\d+ of 4\d trials$"))
        assert 0 < int(matching.inner_text().split()[0]) < 44
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        best = area["y"] + area["height"] * 1.08 / 1.18  # where the best value lies
        page.mouse.click(x, best)
        page.wait_for_url("**/tasks/*")
