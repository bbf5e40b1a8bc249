"""What matters in studies whose answer is known; recorded ones among them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from controller.insight.importance import importance_of
from controller.insight.importance_advice import Advice, advise
from controller.results.study_data import StudyData
from tests.importance_data import recorded, study_of, uniform, unit

pytestmark = pytest.mark.slow
FEW = 2
"""Bootstraps that are enough here."""


@pytest.fixture(autouse=True)
def _shuffled_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in 31 is still less than one in twenty."""
    monkeypatch.setattr("controller.insight.importance.SHUFFLES", 30)


def noise(row: Any) -> float:
    """The same for the same row, and else anything."""
    return random.Random(repr(sorted(row.items()))).random()


def kinds(data: StudyData) -> dict[str, Advice]:
    return {one.parameter: one for one in advise(data, bootstraps=FEW).advice}


def conditional(trials: int = 160) -> StudyData:
    draw = random.Random(3)
    rows: list[dict[str, Any]] = []
    for _ in range(trials):
        row: dict[str, Any] = {"opt": draw.choice(["sgd", "adam"]), "x": draw.random()}
        if row["opt"] == "sgd":
            row["momentum"] = draw.random()
        rows.append(row)
    space = {
        "opt": {"choices": ["sgd", "adam"]},
        "x": unit(),
        "momentum": unit(when={"opt": ["sgd"]}),
    }
    return study_of(space, rows, lambda row: row["x"] * 0.1 + abs(row.get("momentum", 0.5) - 0.9))


def test_what_matters_is_told_from_what_does_not() -> None:
    rows = uniform(120, x=(0, 1), y=(0, 1), z=(0, 1))
    found = importance_of(
        study_of({n: unit() for n in "xyz"}, rows, lambda row: (row["x"] - 0.5) ** 2 + 0.01 * noise(row)),
        bootstraps=FEW,
    )
    assert found.parameters[0].name == "x"
    by_name = {one.name: one for one in found.parameters}
    assert by_name["x"].matters == "yes"
    assert {by_name["y"].matters, by_name["z"].matters} <= {"no", "unclear"}
    assert "no" in (by_name["y"].matters, by_name["z"].matters)
    assert sum(one.share.value for one in found.parameters) == pytest.approx(1.0)
    for one in found.parameters:
        assert 0 <= one.share.low <= one.share.value <= one.share.high <= 1
    explains = by_name["x"].explains
    assert explains is not None
    assert explains.low > 0.5
    assert found.predicts is not None
    assert found.predicts > 0.5


def test_pure_noise_is_said_to_be_noise() -> None:
    rows = uniform(100, seed=5, x=(0, 1), y=(0, 1))
    advised = advise(study_of({n: unit() for n in "xy"}, rows, noise), bootstraps=FEW)
    assert all(one.matters != "yes" for one in advised.importance.parameters)
    assert advised.importance.pairs == ()
    assert any("fANOVA says little" in note for note in advised.importance.notes)
    assert {one.kind for one in advised.advice} <= {"fix"}


def test_two_that_have_to_fit_each_other_are_a_pair() -> None:
    rows = uniform(120, x=(-1, 1), y=(-1, 1))
    space = {name: unit(-1.0) for name in "xy"}
    joined = importance_of(study_of(space, rows, lambda row: row["x"] * row["y"]), bootstraps=FEW)
    assert [pair.names for pair in joined.pairs] == [("x", "y")]
    assert joined.pairs[0].explains.low > 0.2
    added = importance_of(study_of(space, rows, lambda row: row["x"] + row["y"]), bootstraps=FEW)
    assert added.pairs == ()


def test_a_conditional_parameter_counts_where_it_exists() -> None:
    momentum = importance_of(conditional(), bootstraps=FEW).of("momentum")
    assert momentum is not None
    assert momentum.where == 'opt = "sgd"'
    assert 60 < momentum.trials < 100
    assert momentum.matters == "yes"
    assert momentum.explains is not None
    assert momentum.explains.value > 0.7


# Recorded studies


def test_a_recorded_study_says_what_to_widen_and_what_to_fix() -> None:
    advised = advise(recorded("boosting"), bootstraps=FEW)
    rate = next(one for one in advised.advice if one.parameter == "learning_rate")
    assert (rate.kind, rate.high) == ("widen", 0.1)
    assert {one.parameter for one in advised.advice if one.kind == "fix"} >= {"lambda_l2", "num_leaves"}


def test_of_a_recorded_study_with_pruning_the_learner_matters() -> None:
    found = importance_of(recorded("curves"), bootstraps=FEW)
    assert (found.parameters[0].name, found.parameters[0].matters) == ("learner", "yes")
    assert found.pairs == ()


def test_a_recorded_study_says_which_choices_fail_together() -> None:
    advised = advise(recorded("models"), bootstraps=FEW)
    failures = next(one for one in advised.advice if one.kind == "failures")
    assert '`penalty = "l1"` and `solver = "lbfgs"`' in failures.text
    by_name = {one.name: one for one in advised.importance.parameters}
    assert by_name["gamma"].where == 'model = "svm"'
    assert by_name["gamma"].trials == 40
