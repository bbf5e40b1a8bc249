from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from controller.search.parameters import (
    DiscreteParameterRange,
    LogUniformParameterRange,
    Parameter,
    ParameterSet,
    SweepParameter,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from worker.protocol.errors import BadInput


def values(parameter: Parameter) -> list[Any]:
    return [row[parameter.name] for row in parameter.to_list()]


def test_steps_meet_the_end() -> None:
    assert values(UniformParameterRange("x", 0.0, 1.0, step_size=0.1))[-1] == pytest.approx(1.0)
    assert len(values(UniformParameterRange("x", 0.0, 1.0, step_size=0.1))) == 11
    assert values(UniformParameterRange("x", 0.0, 1.0, step_size=0.3)) == pytest.approx([0.0, 0.3, 0.6, 0.9])
    assert values(UniformIntegerParameterRange("x", 1, 10, step_size=3)) == [1, 4, 7, 10]
    assert values(UniformIntegerParameterRange("x", 2**53 - 2, 2**53)) == [2**53 - 2, 2**53 - 1, 2**53]
    assert values(LogUniformParameterRange("x", -2, 0, step_size=1)) == pytest.approx([0.01, 0.1, 1.0])


def test_without_the_maximum() -> None:
    assert len(values(UniformParameterRange("x", 0.0, 1.0, step_size=0.1, include_max_value=False))) == 10
    assert values(UniformIntegerParameterRange("x", 1, 10, step_size=3, include_max_value=False)) == [1, 4, 7]
    assert values(UniformIntegerParameterRange("x", 1, 9, step_size=3, include_max_value=False)) == [1, 4, 7]
    distribution = UniformParameterRange("x", 0.0, 1.0, include_max_value=False).distribution()
    assert isinstance(distribution, FloatDistribution)
    assert 0.99 < distribution.high < 1.0
    with pytest.raises(BadInput, match="empty"):
        UniformIntegerParameterRange("x", 1, 1, include_max_value=False).to_list()


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (UniformParameterRange("x", 0.1, 0.7, step_size=0.2), [0.1, 0.3, 0.5, 0.7]),
        (UniformParameterRange("x", 0, 0.7, step_size=0.1), [i / 10 for i in range(8)]),
        (UniformParameterRange("x", 0, 1, step_size=1 / 3), [0, 1 / 3, 2 / 3, 1]),
        (UniformParameterRange("x", 0, 1, step_size=2), [0]),
        (UniformParameterRange("x", 0, 1, step_size=0.3, include_max_value=False), [0, 0.3, 0.6, 0.9]),
        (UniformParameterRange("x", 1e-5, 1e-4, step_size=1e-5), [i * 1e-5 for i in range(1, 11)]),
        (UniformParameterRange("x", -1, 1, step_size=0.5, include_max_value=False), [-1, -0.5, 0, 0.5]),
        (UniformParameterRange("x", "0", "1", step_size="0.5"), [0, 0.5, 1]),
        (UniformParameterRange("x", numpy.float32(0), numpy.int64(1), step_size=0.5), [0, 0.5, 1]),
        (UniformIntegerParameterRange("x", 0, 10, step_size=4), [0, 4, 8]),
        (UniformIntegerParameterRange("x", 16, 128, step_size=16), list(range(16, 129, 16))),
        (UniformIntegerParameterRange("x", 16, 128, 16, include_max_value=False), list(range(16, 128, 16))),
        (UniformIntegerParameterRange("x", 3, 3), [3]),
        (UniformIntegerParameterRange("x", numpy.int64(1), 3.0, step_size=None), [1, 2, 3]),
        (LogUniformParameterRange("x", -3, -1, step_size=0.5), [10**e for e in (-3, -2.5, -2, -1.5, -1)]),
        (LogUniformParameterRange("x", 0, 3, 2, 1, include_max_value=False), [1, 2, 4]),
        (UniformParameterRange("x", 0, 50), [i / 2 for i in range(101)]),
        (UniformParameterRange("x", 0, 50, step_size=0, include_max_value=False), [i / 2 for i in range(100)]),
        (UniformParameterRange("x", 3, 3), [3]),
        (LogUniformParameterRange("x", 0, 1), [10 ** (i / 100) for i in range(101)]),
    ],
)  # fmt: skip
def test_the_values_of_a_grid(parameter: Parameter, expected: list[float]) -> None:
    found = values(parameter)
    assert found == pytest.approx(expected)
    kind = int if isinstance(parameter, UniformIntegerParameterRange) else float
    assert {type(value) for value in found} == {kind}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = {parameter.suggest(study.ask(), {})["x"] for _ in range(150)}
    stepped = getattr(parameter, "step_size", None) is not None
    if stepped:
        assert sorted(drawn) == pytest.approx(sorted(expected))
    else:
        assert min(expected) <= min(drawn) <= max(drawn) <= 50


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Equal, but for the last bits of floats."""
    return set(a) == set(b) and all(
        a[name] == (pytest.approx(b[name]) if isinstance(b[name], float) else b[name]) for name in a
    )


RANGES = [
    UniformParameterRange("x", -1.0, 2.0),
    UniformParameterRange("x", 0.0, 1.0, step_size=0.25),
    UniformParameterRange("x", 0.0, 1.0, step_size=0.25, include_max_value=False),
    UniformIntegerParameterRange("x", 1, 9, step_size=2),
    LogUniformParameterRange("x", -5, -1),
    LogUniformParameterRange("x", 0, 4, base=2),
    LogUniformParameterRange("x", 0, 4, base=2, step_size=1),
    DiscreteParameterRange("x", ["a", 1, 2.5, True, None]),
    DiscreteParameterRange("x", [[1, 2], {"a": 3}]),
    ParameterSet(
        [{"opt": "sgd", "momentum": UniformParameterRange("momentum", 0.0, 0.9)}, {"opt": "adam"}], name="x"
    ),
]
CONTINUOUS = [RANGES[0], RANGES[4], RANGES[5], RANGES[9]]


@pytest.mark.parametrize("parameter", RANGES, ids=lambda p: type(p).__name__)
def test_optuna_and_chance_draw_from_the_same_values(parameter: Parameter) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    parameter.seed(3)
    for _ in range(25):
        suggested = parameter.suggest(study.ask(), {})
        drawn = parameter.get_value()
        assert set(drawn) <= set(parameter.names)
        assert set(suggested) <= set(parameter.names)
        for name in set(parameter.names) - set(parameter.optional):
            assert name in suggested
        if parameter not in CONTINUOUS:
            grid = parameter.to_list()
            assert any(same(suggested, row) for row in grid)
            assert drawn in grid


@pytest.mark.parametrize("parameter", RANGES, ids=lambda p: type(p).__name__)
def test_a_parameter_survives_its_dict(parameter: Parameter) -> None:
    again = Parameter.from_dict(parameter.to_dict())
    assert type(again) is type(parameter)
    assert again.to_dict() == parameter.to_dict()
    assert again.names == parameter.names


MOST = 2**53


@pytest.mark.parametrize(
    ("low", "high", "step"), [(-MOST, MOST, 1), (0, MOST, 3), (MOST - 10, MOST, 1), (-MOST, -1, 1000)]
)
def test_whole_numbers_far_from_zero_are_exact(low: int, high: int, step: int) -> None:
    """What is given and what samplers choose is one number for the program and for Optuna's storage."""
    parameter = UniformIntegerParameterRange("x", low, high, step_size=step)
    distribution = parameter.distribution()
    assert isinstance(distribution, IntDistribution)
    last = low + (high - low) // step * step
    assert (distribution.low, distribution.high) == (low, last)
    assert low <= parameter.get_value()["x"] <= last
    given = [low, low + step, last - step, last]
    for sampler in (optuna.samplers.RandomSampler(seed=1), optuna.samplers.TPESampler(seed=1)):
        study = optuna.create_study(sampler=sampler)
        for value in given:
            study.enqueue_trial(parameter.encode({"x": value}))
        asked = []
        for _ in range(20):
            trial = study.ask()
            asked.append(parameter.suggest(trial, {})["x"])
            study.tell(trial, float(asked[-1] % 7))
        assert asked[:4] == given
        assert all(low <= value <= last and (value - low) % step == 0 for value in asked)
        # Optuna's storages, this one too, hold the float of each.
        assert [trial.params["x"] for trial in study.get_trials()] == asked
    for value in (last + step, low - step, *([low + 1] if step > 1 else [])):
        with pytest.raises(BadInput, match="is not possible"):
            parameter.encode({"x": value})


def test_a_float_takes_whole_numbers_that_it_holds() -> None:
    parameter = UniformParameterRange("x", 0, 2**60)
    assert parameter.encode({"x": 2**59}) == {"x": float(2**59)}
    with pytest.raises(BadInput, match="x: 576460752303423489 is not exact as a float"):
        parameter.encode({"x": 2**59 + 1})
    for beyond in (10**400, 2**61 + 1, float("inf"), float("nan"), True, "1"):
        with pytest.raises(BadInput, match="is not possible; a number from 0.0 to"):
            parameter.encode({"x": beyond})


def test_a_seed_repeats_itself() -> None:
    def draw(seed: int) -> list[Any]:
        parameter = UniformParameterRange("x", 0, 1)
        parameter.seed(seed)
        return [parameter.get_value()["x"] for _ in range(5)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniformParameterRange("x", 2, 1), "above"),
        (lambda: UniformParameterRange("x", 0, float("nan")), "finite"),
        (lambda: UniformParameterRange("x", 0, 1, step_size=-0.1), "step_size -0.1 must be above 0"),
        (lambda: UniformParameterRange("x", 0, 1, step_size=float("inf")), "step_size inf must be above 0"),
        (lambda: UniformParameterRange("x", 0, 1, step_size=float("nan")), "step_size nan must be above 0"),
        (lambda: UniformIntegerParameterRange("x", 0, 1, step_size=0), "step_size 0 must be above 0"),
        (lambda: UniformParameterRange("x", "low", 1), "min_value 'low' must be a number"),
        (lambda: UniformParameterRange("x", 0, None), "max_value None must be a number"),
        (lambda: UniformParameterRange("x", 0, True), "max_value True must be a number"),
        (lambda: UniformIntegerParameterRange("x", 0, "9.5"), "max_value '9.5' must be a whole number"),
        (lambda: UniformIntegerParameterRange("x", 1.5, 3), "whole"),
        (lambda: UniformIntegerParameterRange("x", 0, float("inf")), "max_value inf must be a whole number"),
        (lambda: UniformIntegerParameterRange("x", 0, True), "max_value True must be a whole number"),
        (
            lambda: UniformIntegerParameterRange("x", 0, 2**53 + 1),
            r"max_value: 9007199254740993 is past 2\^53",
        ),
        (lambda: UniformIntegerParameterRange("x", -(2**60), 0), r"min_value: .* is past 2\^53"),
        (lambda: UniformIntegerParameterRange("x", 0, 9, step_size=2**60), r"step_size: .* is past 2\^53"),
        (lambda: UniformIntegerParameterRange("x", 0, 10**400), r"past 2\^53"),
        (lambda: UniformIntegerParameterRange("x", float("nan"), 1), "min_value nan must be a whole number"),
        (lambda: UniformIntegerParameterRange("x", -(2**53), 1, step_size=2), r"wider than 2\^53"),
        (lambda: UniformParameterRange("x", 0, 2**53 + 1), "9007199254740993 is not exact as a float"),
        (lambda: UniformIntegerParameterRange("x", None, 1), "min_value None must be a whole number"),
        (lambda: UniformIntegerParameterRange("x", 0, "9"), "max_value '9' must be a whole number"),
        (lambda: UniformParameterRange("x", 0, None), "None must be a number"),
        (lambda: UniformParameterRange("x", 0, [1]), r"\[1\] must be a number"),
        (lambda: UniformParameterRange("x", 0, 10**400), "too large for a float"),
        (lambda: LogUniformParameterRange("x", 0, 400), "10 \\*\\* 400.0 is too large for a float"),
        (lambda: LogUniformParameterRange("x", 1, 2, base=1), "base"),
        (lambda: LogUniformParameterRange("x", 1, 2, base="e"), "base 'e' must be a number"),
        (lambda: DiscreteParameterRange("x", []), "no values"),
        (lambda: DiscreteParameterRange("x", "adam"), "values must be a list, not 'adam'"),
        (lambda: DiscreteParameterRange("x", {"a": 1}), "values must be a list"),
        (lambda: DiscreteParameterRange("x", [max]), "JSON can't hold <built-in function max>"),
        (lambda: DiscreteParameterRange("x", [{1, 2}]), "JSON can't hold {1, 2}"),
        (lambda: DiscreteParameterRange("x", [[{"a": object}]]), "JSON can't hold"),
        (lambda: ParameterSet([]), "no combinations"),
        (lambda: Parameter.from_dict({"type": "Odd"}), "unknown"),
    ],
)
def test_what_can_not_be(make: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make()


def test_a_condition_decides_who_gets_a_parameter() -> None:
    parameter = SweepParameter("m", FloatDistribution(0, 1), {"opt": ["sgd"], "flag": [True]})
    trial = optuna.create_study().ask()
    assert parameter.suggest(trial, {"opt": "adam", "flag": True}) == {}
    assert parameter.suggest(trial, {"flag": True}) == {}
    assert parameter.suggest(trial, {"opt": "sgd", "flag": 1}) == {}  # 1 == True in Python, not here
    assert set(parameter.suggest(trial, {"opt": "sgd", "flag": True})) == {"m"}
    assert parameter.optional == ["m"]


def test_the_grid_of_a_sweep_parameter() -> None:
    assert values(SweepParameter("x", IntDistribution(1, 7, step=3))) == [1, 4, 7]
    assert values(SweepParameter("x", FloatDistribution(0, 0.5, step=0.25))) == [0.0, 0.25, 0.5]
    assert values(SweepParameter("x", CategoricalDistribution(["a", None]))) == ["a", None]
    with pytest.raises(BadInput, match="parameters.x"):
        SweepParameter("x", FloatDistribution(0, 1)).to_list()


def test_values_of_an_array() -> None:
    for array in (numpy.arange(3), numpy.linspace(0.0, 1.0, 3), numpy.array([True, False])):
        parameter = DiscreteParameterRange("x", array)
        assert values(parameter) == array.tolist()
        assert all(type(value) in (int, float, bool) for value in values(parameter))
    with pytest.raises(BadInput, match="no values"):
        DiscreteParameterRange("x", numpy.array([]))


def test_values_that_json_holds_in_its_own_way() -> None:
    given = [Path("a/b"), (1, 2), {"sizes": (numpy.int64(3), None)}, numpy.float32(0.5), "text"]
    parameter = DiscreteParameterRange("x", tuple(given))
    assert values(parameter) == ["a/b", [1, 2], {"sizes": [3, None]}, 0.5, "text"]
    assert values(DiscreteParameterRange("x", range(3))) == [0, 1, 2]
