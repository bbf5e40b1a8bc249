"""The page "Insight" in a browser: its sections fill themselves, each on its own."""

from __future__ import annotations

from typing import Any

import pytest

from controller.dashboard.sections import Section
from tests.dashboard import browser, page_store, served, tab
from tests.made_studies import make_study
from worker.protocol import Store
from worker.protocol.errors import BadInput

__all__ = ["browser", "page_store"]
pytestmark = pytest.mark.slow


def test_the_sections_fill_themselves(
    page_store: Store, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import expect

    from controller.dashboard.pages import insight

    def refuse(site: Any, record: Any) -> dict[str, Any]:
        raise BadInput("too few trials")

    real = insight.insight_sections()
    monkeypatch.setattr(
        insight, "insight_sections", lambda: [*real, Section(name="none", title="None", values=refuse)]
    )
    make_study(page_store, "insight", 60)
    with served(page_store) as at, tab(browser, at) as open_tab:
        page = open_tab.open("/studies/insight/insight")
        expect(page.locator("nav[aria-label=Study] a[aria-current]")).to_have_text("Insight")
        expect(page.locator("#importance tbody tr")).to_have_count(3)
        expect(page.locator("#none")).to_contain_text("too few trials")
