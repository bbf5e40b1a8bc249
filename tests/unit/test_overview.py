"""The page of all studies, and what it is made of."""

from __future__ import annotations

import math
import re
from typing import Any

import fakeredis
import pytest

from controller.dashboard.pages import studies as page
from controller.dashboard.small_drawings import points_of, shares
from controller.results.overview import (
    COURSE_POINTS,
    StudyLine,
    Unreadable,
    Used,
    course,
    overview,
)
from controller.results.top import find_top
from tests.dashboard import client_of
from tests.fakes import ACCURACY, LOSS
from tests.made_studies import make_study
from worker.protocol import Status, Store, StudyRecord, StudyState, keys


@pytest.fixture
def store() -> Store:
    return Store(fakeredis.FakeRedis(decode_responses=True))


def save(store: Store, name: str, created_at: float = 1.0, **fields: Any) -> None:
    fields = {"metrics": (LOSS,), "state": StudyState.RUNNING, **fields}
    store.studies.save(StudyRecord(name=name, created_at=created_at, **fields))


def line_of(store: Store, name: str) -> StudyLine:
    (found,) = overview(store, [name])
    assert isinstance(found, StudyLine)
    return found


def test_a_study_as_top_and_status_know_it(store: Store) -> None:
    make_study(store, "s", 40)
    line = line_of(store, "s")
    counts = store.studies.status_counts("s")
    assert line.tasks == counts
    assert line.trials == 40
    best = find_top(store, store.studies.get("s"), 1).details[0]
    assert line.best_task == best["task_id"]
    assert line.best == best["metrics"]["loss/validation"]["value"]
    assert line.per_hour == pytest.approx(40 * 3600 / line.elapsed_s)
    assert line.remaining_s == 0.0


def test_studies_that_do_nothing_yet_or_never_did(store: Store) -> None:
    save(store, "empty", metrics=())
    save(store, "new", budget={"jobs": {"used": 0, "limit": 10}, "concurrent": {"used": 1, "limit": 4}})
    empty, new = overview(store, ["empty", "gone", "new"])
    assert isinstance(empty, StudyLine)
    assert isinstance(new, StudyLine)
    assert (empty.name, empty.best, empty.per_hour, empty.objectives) == ("empty", None, None, ())
    assert new.state == "interrupted", "no controller acts on it"
    assert new.budgets == (Used(kind="trials", used=0, limit=10, is_time=False),)
    store.redis.set(keys.study_lock("new"), "me")
    assert line_of(store, "new").state == "running"


def test_a_record_that_cannot_be_read_spoils_no_others(store: Store) -> None:
    save(store, "good")
    save(store, "bad")
    store.redis.hset(keys.study("bad"), "metrics", "{")
    good, bad = overview(store, ["good", "bad"])
    assert isinstance(good, StudyLine)
    assert isinstance(bad, Unreadable)
    text = client_of(store).get("/").text
    assert "bad" in text
    assert '<td colspan="7" class="bad">' in text
    assert client_of(store).get("/?sort=best").status_code == 200


@pytest.mark.parametrize(
    ("budget", "kinds"),
    [
        ({"jobs": {"used": 5, "limit": 10}, "iterations": {"used": 7, "limit": 100}}, ["iterations"]),
        ({"wall_clock": {"used": 30, "limit": 60, "unit": "minutes"}}, ["wall clock"]),
        ({"jobs": {"used": 5, "limit": None}, "compute_time": {}}, []),
        ({"jobs": {"used": 12, "limit": 10}}, ["trials"]),
        ({"jobs": {"used": 0, "limit": 0}}, ["trials"]),
    ],
)
def test_budgets(store: Store, budget: Any, kinds: list[str]) -> None:
    save(store, "s", budget=budget)
    found = line_of(store, "s").budgets
    assert [one.kind for one in found] == kinds
    assert all(0 <= one.share <= 1 for one in found)


@pytest.mark.parametrize(("metric", "sign"), [(LOSS, 1), (ACCURACY, -1)])
def test_the_course_of_the_best_value(store: Store, metric: Any, sign: int) -> None:
    save(store, "s", metrics=(metric,))
    values = [5.0, 7.0, 4.0, 4.5, 1.0]
    for trial, value in enumerate(values):
        store.redis.zadd(keys.study_tasks("s"), {f"t{trial}": trial})
        store.redis.zadd(keys.rank("s"), {f"t{trial}": metric.score(value)})
    store.redis.zadd(keys.study_tasks("s"), {"running": 9})
    store.redis.zadd(keys.rank("s"), {"somebody-elses": -100.0})
    found = course(store, "s", metric.sign.maximizes)
    assert found == ((5.0, 5.0, 4.0, 4.0, 1.0) if sign > 0 else (5.0, 7.0, 7.0, 7.0, 7.0))


def test_a_long_course_is_thinned_and_keeps_its_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, "s")
    store.redis.zadd(keys.study_tasks("s"), {f"t{trial}": trial for trial in range(1000)})
    store.redis.zadd(keys.rank("s"), {f"t{trial}": 1000 - trial for trial in range(1000)})
    found = course(store, "s", False)
    assert len(found) == COURSE_POINTS
    assert (found[0], found[-1]) == (1000.0, 1.0)
    assert list(found) == sorted(found, reverse=True)
    monkeypatch.setattr("controller.results.overview.COURSE_OF", 999)
    assert course(store, "s", False) == ()


@pytest.mark.parametrize(
    ("values", "points"),
    [
        ([], ""),
        ([1.0], ""),
        ([1.0, 0.0], "0.0,2.0 100.0,22.0"),
        ([3.0, 3.0], "0.0,12.0 100.0,12.0"),
        ([1e308, -1e308], "0.0,2.0 100.0,22.0"),
        ([math.nan, 1.0, math.inf, 0.0], "0.0,2.0 100.0,22.0"),
    ],
)
def test_points(values: list[float], points: str) -> None:
    assert points_of(values) == points


def test_shares_fill_the_bar() -> None:
    found = shares({"a": 1, "b": 0, "c": 3})
    assert [(part["name"], part["x"], part["width"]) for part in found] == [
        ("a", "0.00", "25.00"),
        ("c", "25.00", "75.00"),
    ]
    assert shares({"a": 0}) == []


def names(text: str) -> list[str]:
    return re.findall(r'<tr data-key="([^"]*)"', text)


def test_order_search_and_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PER_PAGE", 2)
    make_study(store, "digits", 10)
    make_study(store, "Mnist", 30)
    save(store, "old", created_at=5.0, metrics=(ACCURACY,))
    save(store, "new", created_at=4e9, reason="paused by hand")
    client = client_of(store)

    def shown(query: str) -> list[str]:
        answer = client.get(f"/{query}")
        assert answer.status_code == 200, answer.text
        return names(answer.text)

    assert shown("")[0] == "new"
    assert shown("?page=2")[-1] == "old"
    assert shown("?order=asc")[0] == "old"
    assert shown("?sort=name") + shown("?sort=name&page=2") == ["digits", "Mnist", "new", "old"]
    assert shown("?sort=trials&order=desc") == ["Mnist", "digits"]
    assert shown("?q=MNI") == ["Mnist"]
    assert shown("?q=accuracy") == ["old"]
    assert shown("?q=interrupted&sort=name") == ["new", "old"]
    assert shown("?q=none-such") == []
    assert "No study matches “none-such”." in client.get("/?q=none-such").text
    for query, said in [
        ("sort=x%27y", "no order"),
        ("page=0", "no number"),
        ("page=-1", "no number"),
        ("page=²", "no number"),
    ]:
        answer = client.get(f"/?{query}")
        assert (answer.status_code, said in answer.text) == (400, True)


def test_a_part_of_the_page_is_what_the_page_has(store: Store) -> None:
    make_study(store, "s", 10)
    client = client_of(store)
    whole, part = client.get("/?sort=name").text, client.get("/?sort=name&part=rows").text
    assert part.strip() in whole
    assert part.lstrip().startswith('<div class="wide">')
    assert "part=" not in re.sub(r'data-live="[^"]*"', "", whole)


def test_the_same_as_json(store: Store) -> None:
    make_study(store, "s", 10)
    save(store, "empty", metrics=())
    found = {row["study"]: row for row in client_of(store).get("/api/studies").json()}
    assert found["s"]["tasks"]["completed"] == store.studies.status_counts("s")[Status.COMPLETED]
    assert found["s"]["best_task"] == line_of(store, "s").best_task
    assert found["empty"]["best"] is None


def test_a_course_is_read_again_only_after_a_change(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(store, "s", 10)
    asked: list[str] = []

    def counted(store: Store, name: str, maximizes: bool) -> Any:
        asked.append(name)
        return course(store, name, maximizes)

    monkeypatch.setattr(page, "course", counted)
    monkeypatch.setattr(page.COURSES, "KEPT", 1)
    page.COURSES._kept.clear()
    line = line_of(store, "s")
    first = page.COURSES.of(store, line)
    assert page.COURSES.of(store, line_of(store, "s")) == first
    assert asked == ["s"]
    store.studies.delete("s")
    make_study(store, "s", 12)
    page.COURSES.of(store, line_of(store, "s"))
    assert asked == ["s", "s"]
    make_study(store, "t", 3)
    page.COURSES.of(store, line_of(store, "t"))
    assert list(page.COURSES._kept) == ["t"]
