"""Optuna's storage by URL, and the study in it that is not ours to continue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import IntegrityError

from controller.search.study import open_study, refuse_other_trials
from worker.protocol.errors import BadInput
from worker.trials.storage import open_storage

MINIMIZE = [optuna.study.StudyDirection.MINIMIZE]


def study_in(path: Path) -> optuna.Study:
    pruner, sampler = optuna.pruners.NopPruner(), optuna.samplers.RandomSampler(seed=1)
    return open_study(open_storage(f"sqlite:///{path}"), "s", MINIMIZE, sampler, pruner)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "use sqlite:///PATH, journal:///PATH, mysql+pymysql://USER@HOST/DATABASE"),
        ("sqlite:///proc/nowhere/o.db", None),
        ("sqlite:////proc/nowhere/o.db", "No such file or directory"),
        ("sqlite:////proc/o.db", "unable to open"),
        ("sqlite://", "it keeps nothing: name a file"),
        ("sqlite:///:memory:", "it keeps nothing: name a file"),
        ("journal:///proc/nowhere/x", "No such file or directory"),
        ("redis://u:hidden-word@h/0", "redis"),
        ("oracle+oracledb://u:hidden-word@h/db", "its driver 'oracledb' isn't installed"),
        ("mysql+mysqldb://u:hidden-word@h/db", "use mysql+pymysql://… and pip install 'optuna-rq[mysql]'"),
        ("surelynot://u:hidden-word@h/db", "surelynot"),
        ("postgresql+psycopg2://u:hidden@word@h:port/db", "storage postgresql+psycopg2://u:***@h:port/db"),
    ],
)
def test_storages_that_can_not_be_used(
    url: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if message is None:  # a relative path, made
        open_storage(url)
        assert (tmp_path / "proc/nowhere/o.db").is_file()
        return
    with pytest.raises(BadInput) as caught:
        open_storage(url)
    said = str(caught.value)
    assert message in said
    assert said.startswith("storage ")
    assert len(said.splitlines()) == 1
    assert "hidden" not in said


def test_a_study_of_other_directions(tmp_path: Path) -> None:
    study_in(tmp_path / "o.db")
    storage = open_storage(f"sqlite:///{tmp_path}/o.db")
    with pytest.raises(BadInput, match="optimizes minimize, not maximize"):
        open_study(
            storage,
            "s",
            [optuna.study.StudyDirection.MAXIMIZE],
            optuna.samplers.RandomSampler(),
            optuna.pruners.NopPruner(),
        )


def test_trials_of_another_search_space(tmp_path: Path) -> None:
    study = study_in(tmp_path / "o.db")
    space = {"x": FloatDistribution(0.0, 1.0), "c": CategoricalDistribution(["a", "b"])}
    refuse_other_trials(study, space)
    trial = study.ask(dict(space))
    study.tell(trial, 1.0)
    refuse_other_trials(study, space)
    # Another range is fine for Optuna, and so are parameters that come or go.
    refuse_other_trials(study, {"x": FloatDistribution(-5.0, 5.0), "new": IntDistribution(1, 2)})
    for other in ({"x": IntDistribution(0, 1)}, {"c": CategoricalDistribution(["a", "z"])}):
        (name,) = other
        with pytest.raises(BadInput, match=f"trials with another parameter '{name}'"):
            refuse_other_trials(study, {**space, **other})


def test_another_process_creates_the_tables_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna wraps the database's error where it comes with a commit."""
    opened: list[str] = []

    class Racing(RDBStorage):
        def __init__(self, url: str, **options: Any) -> None:
            opened.append(url)
            if len(opened) == 1:
                raise StorageInternalError("An exception is raised during the commit.") from IntegrityError(
                    "INSERT INTO version_info", {}, Exception("UNIQUE constraint failed")
                )
            super().__init__(url, **options)

    monkeypatch.setattr("worker.trials.storage.RDBStorage", Racing)
    assert open_storage(f"sqlite:///{tmp_path}/new.db").get_all_studies() == []
    assert len(opened) == 2
