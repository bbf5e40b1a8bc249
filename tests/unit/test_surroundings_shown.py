"""The page and the report show what a study and a task ran in; what workers wrote is text there."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from controller.insight.reproduction import repeat_of
from controller.report.insight.surroundings import MOST_ROWS, section
from tests.dashboard import client_of, page_store
from tests.made_studies import make_study
from tests.study_data import study_data
from worker.protocol import Store
from worker.protocol.recorded_surroundings import RecordedSurroundings
from worker.protocol.surroundings import GitState, Surroundings

__all__ = ["page_store"]
MARK = "<b>&\"'"
HERE = Surroundings(
    at=5.0, host="n1", python="CPython 3.11.7", packages={"numpy": "1.26.4"}, git=GitState(commit="c0ffee")
)


@pytest.fixture(scope="module")
def task(page_store: Store) -> str:
    """The first task of a study that has surroundings, whose worker wrote what it liked."""
    task_id = make_study(page_store, "seen", 6)[0]
    record = page_store.tasks.get(task_id)
    worker = record.worker.rpartition("/")[0]
    strange = replace(HERE, host=MARK, python=MARK, packages={MARK: MARK})
    recorded = RecordedSurroundings(first=HERE, diff={"text": f"+x = '{MARK}'"}, workers={worker: (strange,)})
    page_store.surroundings.write("seen", recorded)
    repeat = repeat_of(record, "q", 1.0)
    page_store.tasks.create(repeat)
    return task_id


def shown(store: Store, address: str) -> str:
    answer = client_of(store).get(address, headers={"accept": "text/html"})
    assert answer.status_code == 200
    assert MARK not in answer.text
    return " ".join(re.sub("<[^>]+>", " ", answer.text).split())


def test_a_tasks_page(page_store: Store, task: str) -> None:
    text = shown(page_store, f"/tasks/{task}")
    assert "What it ran in" in text
    assert "package numpy 1.26.4 –" in text
    assert re.search("Run again as [0-9a-f]{8} : it is created: nothing can be said yet", text)
    assert f"controller reproduce {task}" in text


def test_a_task_of_which_nothing_is_recorded(page_store: Store) -> None:
    other = make_study(page_store, "unseen", 3)[0]
    assert "What it ran in Not recorded" in shown(page_store, f"/tasks/{other}")
    text = shown(page_store, "/studies/unseen/insight/surroundings")
    assert "Its surroundings are not recorded: an earlier version began this study." in text


def test_a_studys_section(page_store: Store, task: str) -> None:
    text = shown(page_store, "/studies/seen/insight/surroundings")
    assert "git commit c0ffee" in text
    assert "package numpy 1.26.4 –" in text
    assert "What differed from the commit" in text


def test_the_reports_section() -> None:
    data = study_data(3)
    missing = section(data)
    assert missing is not None
    assert missing.text == ["Its surroundings are not recorded: an earlier version began this study."]
    many = {f"p{number}": "1" for number in range(100)}
    recorded = RecordedSurroundings(first=HERE, workers={"w": (replace(HERE, packages=many),)})
    found = section(data.with_surroundings(recorded))
    assert found is not None
    assert len(found.rows) == MOST_ROWS
    assert {"who": "study", "what": "host", "then": "n1", "here": None} in found.rows
    assert found.text[0].endswith("more differences: `controller surroundings`.")
