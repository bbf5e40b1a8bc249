"""The page's section on a study's replay."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy

from controller.dashboard.insight import replay as section
from tests.dashboard import client_of, page_store
from tests.made_studies import make_study
from tests.replaying import Studied, sweep_of
from worker.protocol import Store, StudyRecord

__all__ = ["page_store"]
ADDRESS = "/studies/{}/insight/replay?part=section"


def test_it_says_whether_decisions_come_out_again(
    page_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/trials"
    sweep = sweep_of(sampler={"type": "random", "seed": 1}, parameters={"a": {"choices": ["<b>", "c"]},
                     "x": {"type": "float", "low": 0.0, "high": 1.0}})  # fmt: skip
    studied = Studied(url)
    studied.start(sweep)
    studied.run(6)
    studied.finish()
    record = StudyRecord(name="s", created_at=1.0, metrics=(), storage=url, sweep=sweep.to_dict())
    page_store.studies.save(record)
    page = client_of(page_store)
    shown = page.get(ADDRESS.format("s"))
    assert shown.status_code == 200
    assert "identical over " in shown.text

    with sqlalchemy.create_engine(url).begin() as connection:
        change = "UPDATE trial_params SET param_value = 1 - param_value WHERE param_name = 'a'"
        connection.execute(sqlalchemy.text(change))
    shown = client_of(page_store).get(ADDRESS.format("s"))  # another page: one keeps what took long
    assert "(trial 0, asked): the sampler suggests other parameters" in shown.text
    assert "&lt;b&gt;" in shown.text
    assert "<b>" not in shown.text

    monkeypatch.setattr(section, "MOST_TRIALS", 5)
    assert "more than a page replays" in client_of(page_store).get(ADDRESS.format("s")).text


def test_a_study_without_a_storage_or_a_log_has_an_answer(page_store: Store, tmp_path: Path) -> None:
    page = client_of(page_store)
    make_study(page_store, "nowhere", 3)
    shown = page.get(ADDRESS.format("nowhere"))
    assert (shown.status_code, "in no storage" in shown.text) == (200, True)
    make_study(page_store, "older", 3, storage=f"sqlite:///{tmp_path}/older")
    shown = page.get(ADDRESS.format("older"))
    assert (shown.status_code, "have no log of decisions" in shown.text) == (200, True)
