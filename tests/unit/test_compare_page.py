"""The page that compares two searches, and the section "When to stop", without a browser."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.insight.stopping import standing
from controller.report.insight.stopping import section
from tests.dashboard import client_of, page_store, site_of
from tests.made_studies import HOSTILE, make_study
from tests.unit.test_compare import study
from worker.protocol import Store

__all__ = ["page_store"]
NAMES = HOSTILE[:2]


@pytest.fixture(scope="module", autouse=True)
def _studies(page_store: Store) -> None:
    for name in ("a-1", "a-2", "b-1", *NAMES):
        make_study(page_store, name, 40, hostile=name in NAMES)


def test_two_searches_on_the_page(page_store: Store) -> None:
    client = client_of(site_of(page_store))
    form = client.get("/compare")
    assert form.status_code == 200
    assert '<option value="a-1">' in form.text
    page = client.get("/compare", params={"a": "a-*", "b": "b-1"})
    assert "2 and 1 studies can" in page.text
    assert page.text.count("data-figure=") == 2
    found = client.get("/api/compare", params={"a": "a-*", "b": "b-1"}).json()
    assert [row["side"] for row in found["studies"]] == ["A", "A", "B"]
    for over in ("trials", "cost"):
        drawn = client.get("/compare/figure", params={"a": "a-*", "b": "b-1", "over": over}).json()
        assert [trace["name"] for trace in drawn["data"] if "name" in trace] == ["A: 2 studies", "B: b-1"]
        assert len(drawn["data"]) == 4  # the interval of the first
    wrong = client.get("/compare", params={"a": "a-*", "b": "nope"})
    assert wrong.status_code == 200
    assert "nope" in wrong.text
    assert client.get("/api/compare", params={"a": "a-1"}).status_code == 400
    path = client.get("/compare", params={"a": "/etc/passwd.gz", "b": "a-1"})
    assert "no study" in path.text  # no file of the server


@pytest.mark.parametrize("name", NAMES)
def test_what_studies_are_called_is_text(page_store: Store, name: str) -> None:
    page = client_of(site_of(page_store)).get("/compare", params={"a": name, "b": "b-1"})
    assert page.status_code == 200
    assert "data-figure=" in page.text
    assert "<script>alert" not in page.text
    assert "<img" not in page.text


def test_where_rules_would_have_ended_a_study(page_store: Store) -> None:
    values = [5.0, 4.0, *[6.0] * 12, 1.0, *[2.0] * 10]
    found = standing(study("s", values))
    assert (found.trial, found.since, found.best) == (14, 10, 1.0)
    (rule,) = found.rules
    assert (rule.rule, rule.ended, rule.best, rule.is_best) == ("no improvement in 10 trials", 12, 4.0, False)
    assert rule.saved == pytest.approx(1 - 12 / 25)
    shown = section(study("s", values))
    assert shown is not None
    assert "the best is loss 1 of trial 14; 10 of 25 trials have ended since." in shown.text
    assert section(study("s", [])) is None
    page = client_of(site_of(page_store)).get("/studies/a-1/insight/stopping")
    assert page.status_code == 200
    assert "trials have ended since" in page.text


def test_a_plateau_is_told_on_the_page(page_store: Store) -> None:
    record = page_store.studies.get("b-1")
    course = {"ended": 80, "since": 60, "failed": 0, "best": 0.5, "trial": 19}
    page_store.studies.save(replace(record, state="paused", course=course))
    page = client_of(site_of(page_store)).get("/studies/b-1")
    assert "plateau: " in page.text
    assert "the last 60 of 80 trials have not improved it" in page.text
