"""The report in a real browser, from a file, without a server and without a network."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.report.writing import render
from tests.dashboard import browser
from tests.e2e.harness import wait_for
from tests.made_studies import HOSTILE
from tests.study_data import LOSS, SIZE, study_data
from worker.protocol import Reason, Status

pytestmark = pytest.mark.slow

__all__ = ["browser"]
MOST_BYTES = 8_000_000


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """The report as a page of the browser, once all is drawn. Fails on whatever the browser complains of."""
    context = browser.new_context(offline=True, accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(60_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
    page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: problems.append(request.url) if is_elsewhere(request.url) else None)
    try:
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        yield page
        assert page.locator("#problem").is_hidden()
        assert problems == []
    finally:
        context.close()


def is_elsewhere(url: str) -> bool:
    return not url.startswith(("file:", "blob:", "data:"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study in which programs and users have written what they could."""
    data = study_data(120, points=8, name="</script><script>alert(1)</script>", note=HOSTILE[1])
    tasks = list(data.tasks)
    for place, text in enumerate(HOSTILE):
        record = replace(
            tasks[place].record, status=Status.FAILED, reason_class=Reason.OBJECTIVE_ERROR, reason=text,
            worker=f"{text}/0",
        )  # fmt: skip
        tasks[place] = replace(tasks[place], record=record)
    sweep = {
        "study": {"name": HOSTILE[0]},
        "sampler": {"type": HOSTILE[1], HOSTILE[3]: HOSTILE[4]},
        "parameters": {HOSTILE[0]: {"choices": list(HOSTILE)}},
    }
    study = replace(
        data.study, sweep=sweep, reason=HOSTILE[1], environment={"versions": {HOSTILE[0]: HOSTILE[1]}}
    )
    path = tmp_path_factory.mktemp("hostile") / "report.html"
    path.write_text(render(replace(data, study=study, tasks=tuple(tasks)), "html", acts=False))
    return path


@pytest.fixture(scope="module")
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The hostile report, opened once in the dark."""
    with opened(browser, report, color_scheme="dark", viewport={"width": 1000, "height": 800}) as found:
        yield found


def cells(page: Any, column: str) -> list[str]:
    """The shown texts of one column of the table of trials."""
    names = page.locator("#table thead th").all_text_contents()
    place = names.index(column) + 1
    found: list[str] = page.locator(f"#table tbody td:nth-child({place})").all_text_contents()
    return found


def test_a_hostile_study_is_shown_as_text(page: Any) -> None:
    assert page.locator("h1").inner_text().startswith("</script><script>alert(1)</script>")
    assert page.title().startswith("</script>")
    plots = page.locator(".plot")
    assert plots.count() >= 10
    # Each is drawn, and can be worked with.
    assert page.locator(".plot.js-plotly-plot .modebar").count() == plots.count()
    assert page.locator("img, iframe, object, embed, a[href^='javascript']").count() == 0
    assert page.locator("[onload], [onerror]").count() == 0
    assert set(cells(page, "reason")) >= {text for text in HOSTILE if text.isprintable() and len(text) < 200}
    # A plot takes some tags for markup, such as links; in names they are text.
    assert page.locator(".plot svg a").count() == 0


def test_the_table_sorts(page: Any) -> None:
    header = page.locator("#table thead button", has_text=re.compile("^loss$"))
    for reverse, sort in ((False, "ascending"), (True, "descending")):
        header.click()
        assert page.locator(f"#table th[aria-sort={sort}]").text_content() == "loss"
        values = [float(text) for text in cells(page, "loss") if text]
        assert len(values) >= 90
        assert values == sorted(values, reverse=reverse)
    assert page.locator("#count").text_content() == "1 to 100 of 120 trials"
    page.locator("#after").click()
    assert page.locator("#count").text_content() == "101 to 120 of 120 trials"
    page.locator("#before").click()


FILTERS = {
    "": set(range(120)),
    "0 <= trial < 3 or `trial` == 119": {0, 1, 2, 119},
    "-trial >= -1": {0, 1},
    "rank is None and trial < 3": {0, 1, 2},  # failed
    "rank is not None and not trial < 118": {118},
    "rank > 0 and trial > 117": {118},
    'optimizer in ["adam", 3] and trial < 4': {1, 3},
    '"ada" in optimizer and trial < 4': {1, 3},
    "trial not in [0, 1] and trial < 4": {2, 3},
    "trial == 1 or rank < 0": {1},
    "trial < 4 and lr < 'x'": set(),  # not comparable
    "trial < 4 and not lr < 'x'": set(),
    "trial < 3 and `parameter/note` == None": set(),
    "status == 'in_progress'": {119},
    "IN_PROGRESS node1": {119},  # words, wherever they stand
}
MISTAKES = {
    "lr <": "it ends too early",
    "lrr < 1": "there is no column lrr",
    "lr < 1 )": '")" is out of place',
    "(lr < 1": '")" is missing',
    "lr < ; 1": "can't be read from here on: ; 1",
    "alert(1) == 1": "there is no column alert",
}


def test_the_table_filters(page: Any, tmp_path: Path) -> None:
    field, problem = page.locator("#filter"), page.locator("#filter-problem")
    for text, expected in FILTERS.items():
        field.fill(text)
        assert problem.is_hidden(), (text, problem.text_content())
        found = cells(page, "trial")
        if len(expected) <= 100:
            assert {int(number) for number in found} == expected, text
        count = "120 trials" if len(expected) == 120 else f"{len(expected)} of 120 trials"
        assert str(page.locator("#count").text_content()).endswith(count), text
    for text, said in MISTAKES.items():
        field.fill(text)
        assert problem.text_content() == f"The filter: {said}."
    field.fill("trial < 2 or trial == 5")
    with page.expect_download() as download:
        page.locator("#csv").click()
    download.value.save_as(tmp_path / "trials.csv")
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert sorted(row["trial"] for row in rows) == ["0", "1", "5"]
    assert {row["trial"]: row["reason"] for row in rows}["5"] == "'=1+1"
    field.fill("")


def colors(page: Any) -> tuple[str, str]:
    """Of the page's background and of a plot's text."""
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    text = page.evaluate("getComputedStyle(document.querySelector('.plot .xtitle')).fill")
    return back, text


def test_light_dark_and_print(page: Any) -> None:
    light, dark = ("rgb(255, 255, 255)", "rgb(28, 33, 40)"), ("rgb(20, 24, 29)", "rgb(227, 231, 236)")
    assert colors(page) == dark
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert colors(page) == light
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert colors(page) == dark
    page.locator("#theme").click()
    assert colors(page) == light
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator("#filter").is_hidden()
    page.emulate_media(media="screen")


def test_a_phone_and_the_keyboard(page: Any) -> None:
    page.set_viewport_size({"width": 375, "height": 700})
    wide = "Math.max(...[...document.querySelectorAll('.plot .main-svg')].map(one => one.clientWidth))"
    wait_for(lambda: page.evaluate(wide) < 375, "the plots to shrink", 60)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    button = page.locator("button[data-toggle=log]").first
    axis = f"document.getElementById('{button.get_attribute('data-figure')}').layout.yaxis.type"
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.evaluate(axis) == "log"
    page.keyboard.press("Enter")
    assert page.evaluate(axis) != "log"


def test_learning_curves_by_time_and_smoothed(page: Any) -> None:
    button = page.locator("button[data-toggle=time]").first
    plot = f"document.getElementById('{button.get_attribute('data-figure')}')"
    curve = f"{plot}.data.find(one => one.name.startsWith('completed'))"

    def shown(axis: str) -> list[float | None]:
        found: list[float | None] = page.evaluate(
            f"Array.from({curve}.{axis}, value => Number.isFinite(value) ? value : null)"
        )
        return found

    iterations, values = shown("x"), shown("y")
    assert iterations[:9] == [*range(8), None]
    button.click()
    assert page.evaluate(f"{plot}.layout.xaxis.title.text") == "minutes since the trial's start"
    assert shown("x")[:8] == pytest.approx([place * 50 / 8 / 60 for place in range(8)], abs=1e-3)
    slider = page.locator("[data-smooth]").first
    slider.focus()
    page.keyboard.press("End")
    wait_for(lambda: shown("y") != values, "the smoothed curve")
    smooth = shown("y")
    # Each curve begins where it did, then follows slowly; the gaps between two of them stay.
    assert [smooth[0], smooth[8], smooth[9]] == [pytest.approx(values[0]), None, pytest.approx(values[9])]
    assert (values[1] or 0) < (smooth[1] or 0) < (values[0] or 0)
    page.keyboard.press("Home")
    button.click()
    wait_for(lambda: shown("y") == values, "the curve as it was")
    assert shown("x") == iterations


def test_without_a_script_the_facts_are_there(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(report.as_uri())
        assert page.get_by_text("need JavaScript").is_visible()
        assert page.locator("h2#best + div tbody tr").count() == 10
    finally:
        context.close()


@pytest.mark.slow
def test_a_thousand_trials(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(study_data(1000, points=100, slots=16, metrics=(LOSS, SIZE)), "html", acts=False))
    assert path.stat().st_size < MOST_BYTES
    with opened(browser, path) as page:
        assert page.locator("#count").text_content() == "1 to 100 of 1000 trials"
        assert page.locator(".plot.js-plotly-plot").count() == page.locator(".plot").count()
