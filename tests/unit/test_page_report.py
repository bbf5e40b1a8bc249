"""The report, as the dashboard offers it."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.dashboard import client_of, page_store
from tests.made_studies import make_study
from worker.protocol import Store

__all__ = ["page_store"]
NAME = 'a "study"\u2028</script>; filename="x.exe'


@pytest.fixture(scope="module", autouse=True)
def _study(page_store: Store) -> None:
    make_study(page_store, NAME, 20, points=5)


def test_the_page_leads_to_both_forms(page_store: Store) -> None:
    client = client_of(page_store)
    page = client.get(f"/studies/{quote(NAME.replace('/', '~2F'))}/report")
    assert page.status_code == 200
    links = [part.split('"')[0] for part in page.text.split('href="') if "/report/" in part.split('"')[0]]
    assert len(links) == 2
    for link, begins, kind in zip(links, ("<!doctype html>", "## Study "), ("html", "markdown"), strict=True):
        answer = client.get(link)
        assert answer.status_code == 200
        assert answer.text.startswith(begins)
        assert answer.headers["Content-Type"] == f"text/{kind}; charset=utf-8"
        # Never a page of this site: it has scripts.
        said = answer.headers["Content-Disposition"]
        assert said.startswith('attachment; filename="a')
        assert said.count('"') == 2
        assert said.isascii()
        assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path", ["/studies/nosuch/report", "/studies/nosuch/report/html", "/studies/{}/report/pdf"]
)
def test_what_is_not_there(page_store: Store, path: str) -> None:
    answer = client_of(page_store).get(path.format(quote(NAME.replace("/", "~2F"))))
    assert answer.status_code == 404
    assert "Traceback" not in answer.text
