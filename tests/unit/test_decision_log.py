"""The log of decisions: what is written of trials and studies, in which order, and how it is read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from controller.search.decision_log import (
    ASKED,
    BUDGET,
    ENDED,
    LAUNCHED,
    LOG,
    PRUNED,
    REPORTED,
    TOLD,
    Decision,
    DecisionLog,
    decisions_of,
    decisions_of_trial,
    settings_until,
    told_sum,
)
from controller.search.parameters import UniformParameterRange
from controller.search.report_parts import CHUNK
from controller.search.search import Search
from controller.search.trial_cache import cached
from worker.optuna_internals import storage_of, study_id
from worker.protocol.errors import BadInput
from worker.trials.storage import open_storage


def search_in(url: str, pruner: optuna.pruners.BasePruner | None = None) -> Search:
    study = optuna.create_study(
        storage=open_storage(url),
        study_name="s",
        sampler=optuna.samplers.RandomSampler(seed=1),
        pruner=pruner or optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    search = Search(cached(study), [UniformParameterRange("x", 0.0, 1.0)])
    search.running()
    return search


def stored(url: str) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=open_storage(url))


def log_of(url: str) -> list[Decision]:
    study = stored(url)
    return decisions_of(study.trials, storage_of(study).get_study_system_attrs(study_id(study)))


def kinds(url: str) -> list[tuple[str, int | None]]:
    return [(found.kind, found.trial) for found in log_of(url)]


@pytest.fixture(params=["sqlite", "journal"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}:///{tmp_path}/trials"


def test_decisions_are_kept_in_their_order(url: str) -> None:
    search = search_in(url)
    first, second = search.ask_several(2)
    search.note(second.number, LAUNCHED)
    search.report(second.number, 1, 0.5)
    search.report(first.number, 1, 0.25)
    search.report(second.number, 2, 0.5)
    search.log.record(BUDGET, {"limit": "max_trials", "to": 3})
    search.note(first.number, ENDED)
    search.tell(first.number, TrialState.COMPLETE, [0.25], why={"task": "completed"})
    search.flush()

    assert kinds(url) == [
        (ASKED, 0), (ASKED, 1), (LAUNCHED, 1), (REPORTED, 1), (REPORTED, 0), (REPORTED, 1), (BUDGET, None),
        (ENDED, 0), (TOLD, 0),
    ]  # fmt: skip
    found = log_of(url)
    assert [decision.n for decision in found] == list(range(9))
    assert [decision.why["step"] for decision in found if decision.kind == REPORTED] == [1, 1, 2]
    told = found[-1].why
    assert (told["state"], told["task"]) == ("COMPLETE", "completed")
    assert told["sum"] == told_sum(stored(url).trials[0].params, [0.25])
    assert found[-1].as_dict()["trial"] == 0
    assert "trial" not in found[6].as_dict()


def test_a_pruner_that_gives_up_is_logged_behind_the_report(url: str) -> None:
    search = search_in(url, optuna.pruners.ThresholdPruner(upper=1.0))
    number = search.ask_several(1)[0].number
    assert not search.report(number, 1, 0.5)
    assert search.report(number, 2, 1.5)
    search.flush()
    assert kinds(url) == [(ASKED, 0), (REPORTED, 0), (REPORTED, 0), (PRUNED, 0)]
    assert log_of(url)[-1].why["step"] == 2


def test_a_continued_study_goes_on_behind_what_was_written(url: str) -> None:
    killed = search_in(url)
    killed.ask_several(2)
    for step in range(CHUNK + 3):
        killed.report(0, step, 0.1)
    killed.flush()
    killed.report(0, 500, 0.1)  # is not written
    killed.note(1, ENDED)

    search = search_in(url)
    search.report(0, 501, 0.1)
    search.tell(0, TrialState.COMPLETE, [0.1])
    search.tell(1, TrialState.FAIL)
    search.flush()
    found = log_of(url)
    assert [decision.n for decision in found] == list(range(len(found)))
    steps = [decision.why["step"] for decision in found if decision.kind == REPORTED]
    assert steps == [*range(CHUNK + 3), 501]
    assert [(decision.kind, decision.trial) for decision in found[-2:]] == [(TOLD, 0), (TOLD, 1)]


def test_reports_take_few_characters_and_come_back_as_they_were(url: str) -> None:
    search = search_in(url)
    search.ask_several(3)
    rng = random.Random(0)
    expected: list[tuple[int, int]] = []
    steps = {0: iter(range(1, 400)), 1: iter(range(0, 4000, 10)), 2: iter(rng.sample(range(1000), 400))}
    for _ in range(300):
        number = rng.choice([0, 1, 2])
        step = next(steps[number])
        search.report(number, step, 1.0)
        expected.append((number, step))
        if rng.random() < 0.1:
            search.flush()
    search.flush()
    found = [decision for decision in log_of(url) if decision.kind == REPORTED]
    assert [(decision.trial, decision.why["step"]) for decision in found] == expected
    times = [decision.at for decision in found if decision.trial == 0]
    assert times == sorted(times)
    # One after the other they take almost nothing.
    alone = search_in(f"{url}-2")
    alone.ask_several(1)
    for step in range(1000):
        alone.report(0, step, 1.0)
    alone.flush()
    attributes = stored(f"{url}-2").trials[0].system_attrs
    parts = [str(value) for key, value in attributes.items() if key.startswith(f"{LOG}:")]
    assert sum(map(len, parts)) < 2000


def test_only_settings_that_changed_are_written(url: str) -> None:
    log = DecisionLog(search_in(url).study)
    log.begun({"sampler": {"type": "tpe"}, "pruner": {}})
    log.begun({"sampler": {"type": "tpe"}, "pruner": {}})
    log.begun({"sampler": {"type": "tpe"}, "pruner": {"type": "asha"}})
    found = log_of(url)
    assert [decision.why for decision in found] == [
        {"settings": {"sampler": {"type": "tpe"}, "pruner": {}}},
        {},
        {"settings": {"pruner": {"type": "asha"}}},
    ]
    assert settings_until(found, 1) == {"sampler": {"type": "tpe"}, "pruner": {}}
    assert settings_until(found) == {"sampler": {"type": "tpe"}, "pruner": {"type": "asha"}}


def test_nothing_is_written_for_a_storage_that_takes_one_value_at_a_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/trials"
    study = optuna.create_study(storage=open_storage(url), study_name="s")
    search = Search(study, [UniformParameterRange("x", 0.0, 1.0)], reports=False)
    search.ask_several(1)
    search.log.record(BUDGET)
    search.tell(0, TrialState.FAIL)
    assert log_of(url) == []


@pytest.mark.parametrize(
    "attributes",
    [
        {LOG: 5},
        {LOG: [[1, 2]]},
        {LOG: [["a", 1.0, "asked"]]},
        {f"{LOG}:0": [1, 2, 3.0, 9, 4.0, "1", 0]},
        {f"{LOG}:0": [1, 2, 3.0, 2, 4.0, "1*1000000", 0]},
        {f"{LOG}:0": [1, 2, 3.0, 2, 4.0, "__import__", 0]},
    ],
)
def test_what_is_no_log_is_named(attributes: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="trial 7"):
        decisions_of_trial(7, attributes)


def test_an_older_study_has_no_log(url: str) -> None:
    study = optuna.create_study(storage=open_storage(url), study_name="s")
    study.enqueue_trial({"x": 0.5})
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert log_of(url) == []
    search = search_in(url)
    search.ask_several(1)
    assert [(decision.n, decision.trial) for decision in log_of(url)] == [(0, 2)]
