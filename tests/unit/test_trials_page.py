"""The table of trials and trials side by side: what the pages say, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest

from controller.dashboard.pages import trials
from tests.dashboard import READ_TOKEN, client_of, site_of
from tests.fakes import record
from tests.made_studies import HOSTILE, make_study
from worker.protocol import Status, Store

if TYPE_CHECKING:
    from starlette.testclient import TestClient

TRIALS = "/studies/s/trials"


@pytest.fixture(scope="module")
def store() -> Store:
    found = Store(fakeredis.FakeRedis(decode_responses=True))
    make_study(found, "s", 120, points=2)
    return found


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[TestClient]:
    with client_of(store) as found:
        yield found


def rows_of(client: TestClient, **query: Any) -> Any:
    answer = client.get("/api/studies/s/trials", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_first_page(client: TestClient) -> None:
    answer = client.get(TRIALS)
    assert answer.status_code == 200
    assert "1–50 of <strong data-matching>120</strong>" in answer.text
    assert answer.text.count('<tr data-key="') == 50
    assert ">119</a>" in answer.text
    assert "page 1 of 3" in answer.text
    for name in ("trial", "status", "loss/validation", "General/lr", "General/optimizer"):
        assert f">{name}</a>" in answer.text


@pytest.mark.parametrize(
    ("query", "first", "count"),
    [
        ({"sort": "trial", "count": 25}, 0, 25),
        ({"sort": "trial", "page": 5, "count": 25}, 100, 20),
        ({"status": "failed", "sort": "trial"}, None, None),
        ({"where": 'lr < 0.01 and status == "completed"', "sort": "lr"}, None, None),
        ({"sort": "-loss/validation"}, None, 50),
    ],
)
def test_pages_and_files_say_the_same(
    client: TestClient, query: dict[str, Any], first: int | None, count: int | None
) -> None:
    page = client.get(TRIALS, params=query)
    assert page.status_code == 200
    found = rows_of(client, count=50, **query) if "count" not in query else rows_of(client, **query)
    assert page.text.count('<tr data-key="') == len(found["rows"])
    assert page.text.index(f'data-key="{found["rows"][0]["task"]}"') < page.text.index(
        f'data-key="{found["rows"][1]["task"]}"'
    )
    assert f"<strong data-matching>{found['matching']}</strong>" in page.text
    if first is not None:
        assert found["rows"][0]["trial"] == first
    if count is not None:
        assert len(found["rows"]) == count


def test_a_filter_is_kept_in_every_link(client: TestClient) -> None:
    where = 'lr < 0.05 and optimizer == "sgd"'
    page = client.get(TRIALS, params={"where": where, "columns": ["trial", "lr"], "count": "25"}).text
    assert "lr &lt; 0.05 and optimizer == &#34;sgd&#34;" in page
    links = [part.split('"')[0] for part in page.split('href="')[1:]]
    sorting = [link for link in links if "sort=lr" in link]
    assert len(sorting) == 1
    assert all(part in sorting[0] for part in ("where=lr", "columns=trial", "columns=lr", "count=25"))
    assert any("format=csv" in link and "where=lr" in link for link in links)


def test_all_that_matches_as_csv(client: TestClient) -> None:
    answer = client.get(
        "/api/studies/s/trials",
        params={"format": "csv", "where": "trial < 100", "columns": ["trial", "optimizer", "tags"]},
    )
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 100
    assert list(rows[0]) == ["task", "trial", "optimizer", "tags"]
    assert rows[0]["trial"] == "99"


def test_json_of_what_is_shown(client: TestClient) -> None:
    found = rows_of(client, where="trial in (3, 4)", columns=["trial", "lr"], sort="trial")
    assert (found["total"], found["matching"], found["columns"]) == (120, 2, ["trial", "lr"])
    assert [row["trial"] for row in found["rows"]] == [3, 4]
    assert len(rows_of(client)["rows"]) == 120


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"where": "lr <"}, "The filter can&#39;t be read at column 5"),
        ({"where": "lrr < 1"}, "there is no lrr; did you mean lr?"),
        ({"where": "__import__('os')"}, "there are no functions"),
        ({"sort": "lrr"}, "sort: there is no lrr; did you mean lr?"),
        ({"columns": "lrr"}, "columns: there is no lrr; did you mean lr?"),
        ({"status": "done"}, "status &#39;done&#39;: use one of created"),
        ({"page": "0"}, "page &#39;0&#39;: a whole number"),
        ({"page": "9" * 40}, "a whole number"),
        ({"count": "-1"}, "count &#39;-1&#39;"),
    ],
)
def test_what_is_refused_says_what_and_where(client: TestClient, query: dict[str, str], problem: str) -> None:
    answer = client.get(TRIALS, params=query)
    assert answer.status_code == 400
    assert problem in answer.text
    assert "Traceback" not in answer.text
    if "where" in query:
        assert 'aria-invalid="true"' in answer.text
        assert "<mark>" in answer.text
    elsewhere = client.get("/api/studies/s/trials", params=query, headers={"Accept": "application/json"})
    assert elsewhere.status_code == 400
    assert elsewhere.json()["error"]


def test_unknown_studies_and_tasks(client: TestClient) -> None:
    assert client.get("/studies/none/trials").status_code == 404
    assert client.get("/studies/none/compare").status_code == 404
    for tasks, problem in (
        ("", "no tasks were chosen"),
        ("f" * 32, "has no task"),
        (",".join(f"{number:032x}" for number in range(21)), "20 fit beside each other"),
    ):
        answer = client.get("/studies/s/compare", params={"tasks": tasks})
        assert answer.status_code == (404 if tasks == "f" * 32 else 400)
        assert problem in answer.text


def test_only_the_live_part(client: TestClient) -> None:
    text = client.get(TRIALS, params={"part": "rows", "where": "lr < 9"}).text
    assert "<html" not in text
    assert text.count('<tr data-key="') == 50


def test_actions_are_off_unless_allowed(client: TestClient, store: Store) -> None:
    (task, *_) = store.studies.tasks("s")
    assert "Tag the chosen" not in client.get(TRIALS).text
    for one in (
        client,
        client_of(store, token=READ_TOKEN),
        client_of(site_of(store, allow_actions=True), token=READ_TOKEN),
    ):
        assert one.post("/api/studies/s/label", json={"tasks": task, "tags": "a"}).status_code == 403
    assert store.tasks.get(task).tags is None


def test_tags_and_notes_from_the_page(store: Store) -> None:
    tasks = store.studies.tasks("s")[:3]
    with client_of(site_of(store, allow_actions=True)) as client:
        assert "Tag the chosen" in client.get(TRIALS).text

        def post(**fields: Any) -> Any:
            return client.post("/api/studies/s/label", json=fields)

        assert rows_of(client, where='"good" in tags')["matching"] == 0
        answer = post(tasks=tasks[:2], tags="good, second look, -bad, +plus")
        assert answer.json() == {"done": "2 trials: tags changed"}
        assert post(tasks=tasks[0], note="<b>late</b>").json() == {"done": "1 trial: noted"}
        found = rows_of(client, where='"good" in tags', sort="trial")
        assert [row["tags"] for row in found["rows"]] == [["good", "second look", "plus"]] * 2
        assert found["rows"][0]["note"] == "<b>late</b>"
        page = client.get(TRIALS, params={"where": '"late" in note'}).text
        assert "&lt;b&gt;late" in page
        assert '<span class="tag">second look</span>' in page
        assert post(tasks=tasks[0], note="").json() == {"done": "1 trial: no note any more"}
        log = [(entry.kind, entry.by != "", entry.task) for entry in store.study_log.last("s")]
        assert log == [
            ("tag", True, tasks[0]),
            ("tag", True, tasks[1]),
            ("tag", True, tasks[0]),
            ("tag", True, tasks[0]),
        ]
        for fields, problem in (
            ({"tags": "a"}, "no trials were chosen"),
            ({"tasks": tasks, "tags": " , "}, "no tags were written"),
            ({"tasks": [*tasks, "f" * 32], "tags": "a"}, "has no task"),
            ({"tasks": tasks, "tags": "x" * 101}, "tag "),
            ({"tasks": tasks, "note": "\x00"}, "control character"),
        ):
            answer = post(**fields)
            assert answer.status_code == 400
            assert problem in answer.json()["error"]


def test_a_task_is_tagged_and_noted_on_its_own_page(store: Store) -> None:
    task = record(study="", trial=-1)
    store.tasks.create(task)
    of_study = store.studies.tasks("s")[5]
    with client_of(site_of(store, allow_actions=True)) as client:
        for one in (task.id, of_study):
            answer = client.post(f"/api/tasks/{one}/label", json={"tags": "good, <b>"})
            assert answer.json() == {"done": f"task {one[:8]}: tags changed"}
            answer = client.post(f"/api/tasks/{one}/label", json={"note": "two\nlines <i>"})
            assert answer.json() == {"done": f"task {one[:8]}: noted"}
            page = client.get(f"/tasks/{one}").text
            assert '<span class="tag">&lt;b&gt;</span>' in page
            assert "two\nlines &lt;i&gt;" in page
            assert "Note it" in page
        assert client.post(f"/api/tasks/{'f' * 32}/label", json={"note": "x"}).status_code == 404
    with client_of(store) as client:
        assert "Note it" not in client.get(f"/tasks/{of_study}").text
        assert client.post(f"/api/tasks/{of_study}/label", json={"note": "x"}).status_code == 403


def test_side_by_side(client: TestClient, store: Store) -> None:
    tasks = store.studies.tasks("s")[:3]
    answer = client.get("/studies/s/compare", params={"tasks": ",".join(tasks)})
    assert answer.status_code == 200
    page = answer.text
    assert page.index("Parameters that differ") < page.index("Values") < page.index("About the trials")
    assert page.count('class="good">best') == 1
    found = client.get("/api/studies/s/compare", params={"tasks": tasks}).json()
    assert (found["tasks"], found["trials"]) == (tasks, [0, 1, 2])
    assert len(set(found["parameters_that_differ"]["General/lr"])) == 3
    curves = client.get("/studies/s/compare/curves", params={"tasks": tasks}).json()
    assert {trace["name"].split(" (")[0] for trace in curves["data"]} == {"trial 0", "trial 1", "trial 2"}


def test_rows_that_are_still_being_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "PATIENCE_S", 0.0)
    with client_of(store) as client:
        site = client.app.state.site  # type: ignore[attr-defined] # Starlette's
        rows = site.rows.of(store, store.studies.get("s"))
        with rows._warming:  # as if another thread read them
            text = client.get(TRIALS, params={"where": "lr < 9"}).text
            assert "All trials are read once" in text
            assert '<tr data-key="' not in text
            assert client.get(TRIALS).text.count('<tr data-key="') == 50  # from the index all the same
        rows.warm()
        assert client.get(TRIALS, params={"where": "lr < 9"}).text.count('<tr data-key="') == 50


def test_a_hostile_study_is_shown_as_text() -> None:
    store = Store(fakeredis.FakeRedis(decode_responses=True))
    name = HOSTILE[1]
    tasks = make_study(store, name, 40, hostile=True)
    store.labels.tag(tasks[0], ["<i>", "{{ 7 * 7 }}"])
    with client_of(store) as client:
        listed = client.get("/api/studies/x/trials")
        assert listed.status_code == 404
        page = client.get(client.app.url_path_for("trials", name=name))  # type: ignore[attr-defined] # Starlette's
        side = client.get(client.app.url_path_for("compare", name=name), params={"tasks": tasks[:5]})  # type: ignore[attr-defined] # Starlette's
        for answer in (page, side):
            assert answer.status_code == 200
            for text in ("<script>alert", "<img", "<i>", "\x1b", "\u202e", " 49"):
                assert text not in answer.text.replace(" 49</", ""), text


def test_an_empty_study(store: Store) -> None:
    make_study(store, "empty", 0)
    with client_of(store) as client:
        page = client.get("/studies/empty/trials")
        assert (page.status_code, "There are no trials yet." in page.text) == (200, True)
        page = client.get("/studies/empty/trials", params={"where": "lr < 1"})
        assert (page.status_code, "There are no trials yet." in page.text) == (200, True)
        found = client.get("/api/studies/empty/trials").json()
        assert (found["total"], found["rows"]) == (0, [])
        assert json.dumps(found)


def test_statuses_are_offered(client: TestClient) -> None:
    page = client.get(TRIALS).text
    assert all(f'<option value="{status.value}"' in page for status in Status)
