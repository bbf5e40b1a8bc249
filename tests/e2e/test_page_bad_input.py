"""What somebody mistypes, as a browser shows it: tokens, studies, tasks, addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.dashboard import TOKEN, Served, served
from tests.made_studies import make_study
from worker.protocol import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page_of(page_store: Store) -> Iterator[Served]:
    make_study(page_store, "known", 3, points=2)
    with served(page_store) as found:
        yield found


@pytest.fixture
def page(browser: Any, page_of: Served) -> Iterator[Any]:
    """A page that nobody has entered by, whose scripts may not fail."""
    context = browser.new_context()
    found = context.new_page()
    wrong: list[str] = []
    found.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        yield found
    finally:
        context.close()
    assert wrong == []


def test_a_wrong_token_then_the_right_one(page: Any, page_of: Served) -> None:
    page.goto(f"{page_of.url}/studies/known?token=wrong")
    expect(page.get_by_text("That token is wrong.")).to_be_visible()
    assert "known" not in page.content()
    page.goto(f"{page_of.url}/studies/known/trials?sort=lr")
    token = page.get_by_label("Token")
    token.fill("wrong as well")
    token.press("Enter")
    expect(page.get_by_text("That token is wrong.")).to_be_visible()
    page.goto(f"{page_of.url}/studies/known/trials?sort=General/lr")
    token.fill(TOKEN)
    token.press("Enter")
    # It leads where somebody wanted to go.
    page.wait_for_url("**/studies/known/trials?sort=General/lr")
    expect(page.get_by_role("columnheader", name="General/lr")).to_have_attribute("aria-sort", "ascending")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/studies/knwon", 404, "no study 'knwon' in this Redis; there are: known"),
        ("/studies/knwon/trials", 404, "no study 'knwon'"),
        ("/tasks/" + "0" * 32, 404, "no task"),
        ("/tasks/7", 404, "an id has 32 hexadecimal digits"),
        ("/nothing", 404, "there is nothing at this address"),
        ("/studies/known/trials?page=x", 400, "a whole number from 1 is wanted"),
        ("/?sort=nothing", 400, "there are created, name"),
    ],
)
def test_what_is_not_there(page: Any, page_of: Served, path: str, status: int, said: str) -> None:
    page.goto(page_of.door)
    answer = page.goto(page_of.url + path)
    assert answer.status == status
    expect(page.locator("main")).to_contain_text(said)
    # It is a page like others: it leads on.
    page.get_by_role("link", name="Studies").click()
    expect(page.get_by_role("link", name="known")).to_be_visible()


def test_a_filter_that_can_not_be_read(page: Any, page_of: Served) -> None:
    page.goto(page_of.door)
    page.goto(f"{page_of.url}/studies/known/trials?where=lr+<<+0.1")
    expect(page.get_by_role("alert")).to_contain_text("The filter can't be read at column")
    expect(page.locator("#where")).to_have_attribute("aria-invalid", "true")
