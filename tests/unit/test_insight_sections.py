"""Where sections of insight are shown: the page's keeper and routes, the report's two forms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from markdown_it import MarkdownIt

from controller.dashboard import sections as on_page
from controller.dashboard.keeping import PAUSE
from controller.dashboard.sections import Keeper, insight_sections, keeper_of
from controller.report import sections as in_report
from controller.report.facts import gather
from controller.report.markdown import sentence, to_markdown
from controller.report.sections import Section, insight_of, spans
from controller.report.writing import render
from tests.dashboard import client_of, page_store, site_of
from tests.made_studies import HOSTILE, make_study
from tests.study_data import study_data
from worker.protocol import Store
from worker.protocol.errors import BadInput

__all__ = ["page_store"]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


@pytest.fixture(autouse=True)
def _no_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take long, and have tests of their own."""
    monkeypatch.setattr("controller.insight.importance.has_forests", lambda: False)
    monkeypatch.setattr("controller.insight.importance.SHUFFLES", 20)


@dataclass
class Costly:
    """A section whose values take a while, by a clock of its own."""

    cost_s: float
    now: float = 0.0
    times: int = 0
    error: Exception | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def __call__(self, site: Any, record: Any) -> dict[str, Any]:
        self.times += 1
        self.now += self.cost_s
        if self.error is not None:
            raise self.error
        return {"times": self.times}


def keep(costly: Costly, store: Store) -> tuple[Keeper, Any]:
    section = on_page.Section(name="costly", title="Costly", values=costly)
    keeper, site, record = Keeper(lambda: costly.now), site_of(store), store.studies.get("kept")
    return keeper, lambda: keeper.found(site, record, section)


@pytest.fixture(scope="module", autouse=True)
def _study(page_store: Store) -> None:
    make_study(page_store, "kept", 40)


def test_a_costly_section_is_found_again_after_a_pause(page_store: Store) -> None:
    costly = Costly(cost_s=2.0)
    _, found = keep(costly, page_store)
    assert found().again_s == 0.0
    kept = found()
    assert (kept.value, kept.again_s) == ({"times": 1}, 2.0 * PAUSE)
    costly.now += 2.0 * PAUSE
    assert found().value == {"times": 2}


def test_a_cheap_section_is_always_new(page_store: Store) -> None:
    costly = Costly(cost_s=0.01)
    _, found = keep(costly, page_store)
    assert [found().value["times"] for _ in range(3)] == [1, 2, 3]


def test_a_section_that_fails_is_not_kept(page_store: Store) -> None:
    costly = Costly(cost_s=9.0, error=BadInput("no"))
    _, found = keep(costly, page_store)
    for times in (1, 2):
        with pytest.raises(BadInput):
            found()
        assert costly.times == times
    costly.error = None
    assert found().value == {"times": 3}


def test_every_section_has_a_template_and_answers(page_store: Store) -> None:
    client = client_of(page_store)
    page = client.get("/studies/kept/insight")
    assert page.status_code == 200
    names = [section.name for section in insight_sections()]
    assert len(names) == len(set(names))
    for name in names:
        assert f'id="{name}"' in page.text
        alone = client.get(f"/studies/kept/insight/{name}")
        part = client.get(f"/studies/kept/insight/{name}?part=section")
        assert (alone.status_code, part.status_code) == (200, 200), (name, alone.text)
        assert "<html" in alone.text
        assert "<html" not in part.text
        assert len(part.text.strip()) > 20, name


def test_what_programs_wrote_is_text(page_store: Store) -> None:
    make_study(page_store, "hostile", 60, hostile=True)
    for section in insight_sections():
        text = client_of(page_store).get(f"/studies/hostile/insight/{section.name}?part=section").text
        assert "<script>" not in text
        assert "<img" not in text


def test_a_section_says_why_it_has_no_answer(page_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(site: Any, record: Any) -> dict[str, Any]:
        raise BadInput("it would take <b>40</b> trials")

    none = on_page.Section(name="importance", title="None", values=refuse)
    monkeypatch.setattr("controller.dashboard.pages.insight.insight_sections", lambda: [none])
    answer = client_of(page_store).get("/studies/kept/insight/importance?part=section")
    assert answer.status_code == 200
    assert "it would take &lt;b&gt;40&lt;/b&gt; trials" in answer.text


@pytest.mark.parametrize("path", ["/studies/nosuch/insight", "/studies/kept/insight/nosuch"])
def test_what_is_not_there(page_store: Store, path: str) -> None:
    answer = client_of(page_store).get(path)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_a_site_has_one_keeper(page_store: Store) -> None:
    site = site_of(page_store)
    assert keeper_of(site) is keeper_of(site)
    assert keeper_of(site) is not keeper_of(site_of(page_store))


# The report


def test_both_forms_have_every_section() -> None:
    data = study_data(40)
    found = insight_of(data)
    assert found
    for form in ("html", "md"):
        text = render(data, form, acts=False)
        assert all(section.title in text for section in found)


def test_a_section_without_an_answer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: Any) -> None:
        raise BadInput("too few")

    for module in in_report.section_modules():
        monkeypatch.setattr(module, "section", refuse)
    assert insight_of(study_data(40)) == []


@pytest.mark.parametrize(
    "text", [*HOSTILE, "1. a", "# a", "@somebody", "www.a.com", "https://a.com", "a|b", "- x", "$x$"]
)
def test_a_sentence_is_no_markup(text: str) -> None:
    html = MARKDOWN.render(sentence(text))
    assert re.fullmatch(r"<p>(<code>@</code>|[^<])*</p>\s*", html), html
    # What GitHub makes links and mentions of, beside CommonMark.
    assert not re.search(r"www\.|https?://|(?<!`)@", sentence(text))


@pytest.mark.parametrize("name", ["lr", "a`b", "`", "``", "a|b", "</code><script>"])
def test_a_name_in_backquotes_breaks_out_of_nothing(name: str) -> None:
    html = MARKDOWN.render(sentence(f"`{name}` doesn't matter: fix it"))
    assert re.fullmatch(r"<p>(<code>[^<]*</code>|[^<])*</p>\s*", html), html


def test_spans() -> None:
    assert spans("`lr` and `x`.") == [("lr", True), (" and ", False), ("x", True), (".", False)]
    assert spans("a ` b") == [("a ` b", False)]
    assert spans("") == []


def test_a_table_of_the_report_is_text_in_both_forms() -> None:
    rows = [{"name": odd, "share": place / 2, "none": None} for place, odd in enumerate(HOSTILE)]
    section = Section(title=HOSTILE[0], text=[HOSTILE[1]], rows=rows)
    assert section.columns == ["name", "share", "none"]
    assert [section.is_numeric(name) for name in section.columns] == [False, True, True]
    html = MARKDOWN.render(to_markdown(gather(study_data(10), acts=False), [section]))
    assert "<script" not in html
    assert "<img" not in html
