"""What matters, what follows, and what nobody can say: on studies whose answer is known."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from controller.insight import importance_forest
from controller.insight.importance import importance_of
from controller.insight.importance_advice import Advice, advise, value_at, widened
from controller.insight.importance_failures import failure_advice
from controller.insight.importance_forest import has_forests
from controller.insight.importance_sample import FEWEST, objective_of, sample_of
from controller.insight.importance_share import shares_of
from controller.results.space import Space
from controller.results.study_data import StudyData
from tests.importance_data import study_of, uniform, unit
from worker.protocol import Reason, Sign
from worker.protocol.errors import BadInput

FEW = 2
"""Bootstraps that are enough here."""


@pytest.fixture(autouse=True)
def _shuffled_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in 31 is still less than one in twenty."""
    monkeypatch.setattr("controller.insight.importance.SHUFFLES", 30)
    # Forests take long: `test_importance_known.py` has them.
    monkeypatch.setattr("controller.insight.importance.has_forests", lambda: False)


def noise(row: Any) -> float:
    """The same for the same row, and else anything."""
    return random.Random(repr(sorted(row.items()))).random()


def kinds(data: StudyData) -> dict[str, Advice]:
    return {one.parameter: one for one in advise(data, bootstraps=FEW).advice}


def test_the_answer_is_the_same_again() -> None:
    data = study_of({"x": unit()}, uniform(40, x=(0, 1)), lambda row: row["x"])
    importance_of.__globals__["_found"].cache_clear()
    first = importance_of(data, bootstraps=FEW)
    importance_of.__globals__["_found"].cache_clear()
    assert importance_of(data, bootstraps=FEW) == first


def test_without_scikit_learn_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.insight.importance.has_forests", has_forests)
    monkeypatch.setattr(importance_forest, "find_spec", lambda name: None)
    found = importance_of(study_of({"w": unit()}, uniform(40, w=(0, 1)), lambda row: row["w"]), bootstraps=0)
    assert found.parameters[0].matters == "yes"
    assert found.parameters[0].explains is None
    assert "pip install scikit-learn" in found.notes[-1]


# Conditional parameters, and studies that change


def test_trials_outside_todays_search_space_are_left_out() -> None:
    rows = uniform(30, x=(2, 3)) + uniform(50, x=(0, 1))
    found = importance_of(study_of({"x": unit()}, rows, lambda row: row["x"]), bootstraps=FEW)
    assert found.trials == 50
    assert found.notes[0] == "30 trials left out: outside today's search space"
    with pytest.raises(BadInput, match="only 10 of 40 trials lie in today's search space"):
        sample_of(study_of({"x": unit()}, rows[:40], lambda row: row["x"]))


# What follows


@pytest.mark.parametrize(
    ("space", "best", "low", "high"),
    [
        (unit(1e-4, 1e-2, log=True), 1e-2, 1e-4, 0.1),
        (unit(1e-4, 1e-2, log=True), 1e-4, 1e-5, 1e-2),
        (unit(2.0, 4.0), 4.0, 2.0, 5.0),
        ({"type": "int", "low": 1, "high": 9}, 9, 1, 13),
    ],
    ids=["above", "below", "linear", "whole"],
)
def test_best_at_the_edge_means_widen(space: dict[str, Any], best: float, low: float, high: float) -> None:
    draw = random.Random(1)
    rows = []
    for _ in range(100):
        place = draw.random()
        number = (
            space["low"] * (space["high"] / space["low"]) ** place
            if space.get("log")
            else space["low"] + place * (space["high"] - space["low"])
        )
        rows.append({"x": round(number) if space["type"] == "int" else number})
    found = kinds(study_of({"x": space}, rows, lambda row: abs(row["x"] - best) / best))["x"]
    assert found.kind == "widen"
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert ("upper" if best == space["high"] else "lower") in found.text


@pytest.mark.parametrize(
    ("space", "upper", "expected"),
    [
        (Space(kind="float", low=0.0, high=0.9), True, (0.0, 1.0)),
        (Space(kind="float", low=0.0, high=1.0), True, (0.0, 1.0)),
        (Space(kind="float", low=0.0, high=2.0), False, (0.0, 2.0)),
        (Space(kind="float", low=-1.0, high=1.0), False, (-2.0, 1.0)),
        (Space(kind="int", low=1, high=3, step=1), False, (1, 3)),
        (Space(kind="int", low=2, high=10, step=4), True, (2, 14)),
        (Space(kind="float", low=0.1, high=0.5, step=0.1), True, (0.1, 0.7)),
    ],
)
def test_what_is_a_count_or_a_fraction_stays_one(
    space: Space, upper: bool, expected: tuple[float, float]
) -> None:
    assert widened(space, upper=upper) == pytest.approx(expected)


def test_a_range_that_is_mostly_bad_is_narrowed() -> None:
    rows = uniform(150, x=(0, 1))
    found = kinds(study_of({"x": unit()}, rows, lambda row: abs(row["x"] - 0.4)))["x"]
    assert found.kind == "narrow"
    assert found.low is not None
    assert found.high is not None
    assert 0.2 < found.low < 0.36
    assert 0.44 < found.high < 0.6


def test_rounding_goes_outwards() -> None:
    space = Space(kind="float", low=0.0, high=1.0)
    assert value_at(space, 0.123, down=True) == 0.12
    assert value_at(space, 0.123, down=False) == 0.13
    whole = Space(kind="int", low=1, high=100, log=True)
    assert value_at(whole, 0.5, down=True) == 10
    assert isinstance(value_at(whole, 0.5, down=True), int)


@pytest.mark.parametrize(("sign", "edge"), [(Sign.MIN, "lower"), (Sign.MAX, "upper")])
def test_the_best_are_at_the_end_that_the_goal_says(sign: Sign, edge: str) -> None:
    data = study_of({"x": unit(-2.0, 2.0)}, uniform(60, x=(-2, 2)), lambda row: row["x"])
    metric = replace(data.objectives[0], sign=sign)
    assert f"{edge} edge" in kinds(replace(data, study=replace(data.study, metrics=(metric,))))["x"].text


# Failures


def failing(why: Any, *, trials: int = 80, reason: Reason = Reason.OUT_OF_MEMORY) -> StudyData:
    draw = random.Random(4)
    rows = [
        {"batch": draw.choice([32, 64, 128, 512]), "opt": draw.choice(["a", "b"]), "lr": draw.random()}
        for _ in range(trials)
    ]
    space = {"batch": {"choices": [32, 64, 128, 512]}, "opt": {"choices": ["a", "b"]}, "lr": unit()}
    return study_of(space, rows, lambda row: row["lr"], failed=why, reason=reason)


def test_failures_on_one_value() -> None:
    (found,) = failure_advice(failing(lambda row: "CUDA out of memory" if row["batch"] == 512 else ""))
    assert found.parameter == "batch"
    assert "`batch` of 512 or more" in found.text or "`batch = 512`" in found.text
    assert found.failures == found.of == found.tried
    assert "CUDA out of memory" in found.text
    assert "out of memory" in found.text


def test_failures_on_two_values_together() -> None:
    (found,) = failure_advice(
        failing(lambda row: "no" if row["batch"] == 64 and row["opt"] == "b" else "", trials=120)
    )
    assert "`batch = 64`" in found.text
    assert '`opt = "b"`' in found.text
    assert found.tried == found.failures


def test_failures_beyond_a_value() -> None:
    (found,) = failure_advice(failing(lambda row: "nan" if row["lr"] > 0.8 else ""))
    assert found.parameter == "lr"
    assert "or more" in found.text


def test_failures_by_chance_say_nothing() -> None:
    draw = random.Random(9)
    assert failure_advice(failing(lambda row: "flaky" if draw.random() < 0.15 else "")) == []


def test_no_value_is_to_blame_for_a_lost_worker() -> None:
    data = failing(lambda row: "lost" if row["batch"] == 512 else "", reason=Reason.WORKER_LOST)
    assert failure_advice(data) == []


# What nobody can say


def test_too_few_trials_say_how_many_it_takes() -> None:
    data = study_of({"x": unit()}, uniform(FEWEST - 3, x=(0, 1)), lambda row: row["x"])
    with pytest.raises(BadInput, match="17 trials with a result: what matters takes 20, 3 more"):
        importance_of(data)


def test_failed_only_says_why_they_failed() -> None:
    data = study_of({"x": unit()}, uniform(30, x=(0, 1)), lambda row: 0.0, failed=lambda row: "no such file")
    with pytest.raises(BadInput, match=r"no trial has a result, 30 failed \(no such file\)"):
        importance_of(data)


def test_where_all_are_alike_nothing_matters() -> None:
    rows = uniform(30, x=(0, 1))
    with pytest.raises(BadInput, match="the same value of loss"):
        importance_of(study_of({"x": unit()}, rows, lambda row: 1.0))
    with pytest.raises(BadInput, match="no parameter of study 's' differs"):
        importance_of(
            study_of({"x": {"choices": [1]}}, [{"x": 1} for _ in range(30)], lambda row: id(row) % 9973)
        )


def test_of_several_objectives_one_is_chosen() -> None:
    rows = uniform(60, x=(0, 1), y=(0, 1))
    data = study_of({n: unit() for n in "xy"}, rows, lambda row: row["x"], second=lambda row: float(row["y"]))
    with pytest.raises(BadInput, match="2 objectives; choose one with --objective: loss, size"):
        objective_of(data, None)
    with pytest.raises(BadInput, match="no objective 'nosuch'; there are: loss, size"):
        objective_of(data, "nosuch")
    for named, first in (("loss", "x"), ("1", "y"), ("size", "y")):
        assert importance_of(data, objective_of(data, named), bootstraps=0).parameters[0].name == first


def test_an_interval_holds_its_value() -> None:
    (share,) = shares_of([0.9], [[0.1], [0.2], [0.3]])
    assert share.low < 0.2
    assert share.high == 0.9
    (alone,) = shares_of([0.4], [])
    assert (alone.low, alone.high) == (0.4, 0.4)


def test_one_absurd_value_decides_nothing() -> None:
    rows = uniform(80, x=(0, 1), y=(0, 1))

    def value(row: Any) -> float:
        return 1e30 if row is rows[7] else row["x"]

    found = importance_of(study_of({n: unit() for n in "xy"}, rows, value), bootstraps=FEW)
    assert found.parameters[0].name == "x"
    assert found.parameters[0].matters == "yes"


def test_pruned_trials_count() -> None:
    """Of those that were let go on, all have a good x: among them it would seem not to matter."""
    rows = uniform(120, x=(0, 1), y=(0, 1))
    data = study_of(
        {n: unit() for n in "xy"}, rows, lambda row: row["x"], pruned=lambda row: bool(row["x"] > 0.2)
    )
    found = importance_of(data, bootstraps=FEW)
    assert found.trials == 120
    assert found.parameters[0].name == "x"
    assert any("pruned trials count" in note for note in found.notes)


def test_parameters_that_came_and_went() -> None:
    rows = [{"old": row["a"], "x": row["b"]} for row in uniform(40, a=(0, 1), b=(0, 1))]
    rows += [{"new": row["a"], "x": row["b"]} for row in uniform(40, seed=2, a=(0, 1), b=(0, 1))]
    found = importance_of(study_of({"x": unit(), "new": unit()}, rows, lambda row: row["x"]), bootstraps=FEW)
    new, old = found.of("new"), found.of("old")
    assert new is not None
    assert old is not None
    assert (new.where, old.where) == ("since trial 40", "up to trial 39")
    assert "no longer searched: `old`" in found.notes


def test_choices_that_the_best_never_have_are_left_out() -> None:
    draw = random.Random(2)
    rows = [{"kind": draw.choice("abcd"), "x": draw.random()} for _ in range(120)]
    space = {"kind": {"choices": list("abcd")}, "x": unit()}
    found = kinds(study_of(space, rows, lambda row: {"a": 0.0, "b": 0.05}.get(row["kind"], 3) + row["x"] / 9))
    assert found["kind"].kind == "narrow"
    assert set(found["kind"].values) <= {"a", "b"}


def test_what_does_not_matter_is_fixed_at_the_bests() -> None:
    rows = uniform(120, seed=2, x=(0, 1), dull=(0, 1))
    found = kinds(study_of({"x": unit(), "dull": unit()}, rows, lambda row: abs(row["x"] - 0.4)))["dull"]
    assert found.kind == "fix"
    best = min(rows, key=lambda row: abs(row["x"] - 0.4))
    assert found.values == (best["dull"],)
