"""What parameters were chosen from, in words."""

from __future__ import annotations

from typing import Any

import pytest

from controller.results.space import Space, space_of_distribution, spaces_of
from controller.results.task_parts import parameter_rows
from controller.search.parameters import (
    DiscreteParameterRange,
    LogUniformParameterRange,
    Parameter,
    ParameterSet,
    SweepParameter,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from tests.fakes import record
from worker.protocol import StudyRecord, TaskSpec

SWEEP: dict[str, tuple[dict[str, Any], str]] = {
    "float": ({"type": "float", "low": 0.0, "high": 1.0}, "0.0 to 1.0"),
    "log": ({"type": "float", "low": 1e-05, "high": 0.1, "log": True}, "1e-05 to 0.1, on a log scale"),
    "step": ({"type": "float", "low": 0.0, "high": 1.0, "step": 0.25}, "0.0 to 1.0 in steps of 0.25"),
    "int": ({"type": "int", "low": 1, "high": 4}, "1 to 4, whole numbers"),
    "int steps": ({"type": "int", "low": 8, "high": 64, "step": 8}, "8 to 64 in steps of 8"),
    "choices": ({"choices": ["sgd", None, [1, 2], True]}, '"sgd", null, [1, 2], true'),
    "many": ({"choices": list(range(1000))}, "one of 1000 choices"),
    "when": (
        {"type": "float", "low": 0.0, "high": 0.9, "when": {"opt": ["sgd", "x"]}},
        '0.0 to 0.9; when opt = "sgd" or "x"',
    ),
    "hostile": ({"choices": ["\x1b[2J\n<script>"]}, '"\\u001b[2J\\n<script>"'),
}


@pytest.mark.parametrize("name", SWEEP)
def test_a_sweep_files_parameter_in_words(name: str) -> None:
    table, words = SWEEP[name]
    assert [space.text for space in spaces_of({"parameters": {"p": table}})["p"]] == [words]


RANGES: list[tuple[Parameter, str]] = [
    (UniformParameterRange("p", 0, 1), "0.0 to 1.0"),
    (UniformParameterRange("p", 0, 1, 0.5, include_max_value=False), "0.0 to 1.0 (without it) in steps of 0.5"),
    (UniformIntegerParameterRange("p", 1, 9), "1 to 9, whole numbers"),
    (UniformIntegerParameterRange("p", 0, 9, step_size=3), "0 to 9 in steps of 3"),
    (LogUniformParameterRange("p", -3, -1), "0.001 to 0.1, on a log scale"),
    (
        LogUniformParameterRange("p", -3, -1, step_size=1),
        "0.001 to 0.1, on a log scale, exponents of 10 in steps of 1",
    ),
    (DiscreteParameterRange("p", ["a", 2]), '"a", 2'),
    (
        ParameterSet([{"p": 1, "q": UniformParameterRange("q", 0, 1)}], name="s"),
        "1, with others of set s",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "words"), RANGES, ids=lambda value: str(value)[:40])
def test_a_programs_range_in_words(given: Parameter, words: str) -> None:
    found = spaces_of({"parameters": {given.name: given.to_dict()}})
    assert [space.text for space in found["p"]] == [words]


def test_a_sweep_parameter_of_a_record() -> None:
    from optuna.distributions import IntDistribution

    given = SweepParameter("p", IntDistribution(1, 8, log=True), {"opt": ["a"]})
    (space,) = spaces_of({"parameters": {"p": given.to_dict()}})["p"]
    assert space.text == '1 to 8, whole numbers, on a log scale; when opt = "a"'


@pytest.mark.parametrize("sweep", [{}, {"parameters": 3}, {"parameters": {"p": 1}}, {"parameters": {"p": {"type": "int"}}},
                                   {"parameters": {"p": {"choices": 3}}}, {"parameters": {"p": {"low": "x", "high": [], "type": "float"}}}])  # fmt: skip
def test_what_can_not_be_read_says_nothing(sweep: dict[str, Any]) -> None:
    assert [space.text for spaces in spaces_of(sweep).values() for space in spaces] in ([], ["int"], [""])


def test_places() -> None:
    linear, log = Space(kind="float", low=0, high=10), Space(kind="float", low=1e-4, high=1, log=True)
    assert [linear.place(value) for value in (0, 5, 10, 11, -1, "5", True, None)] == [
        0.0, 0.5, 1.0, None, None, None, None, None,
    ]  # fmt: skip
    assert log.place(1e-2) == pytest.approx(0.5)
    assert Space(kind="int", low=3, high=3).place(3) is None
    assert Space(kind="choices", choices=(1,)).place(1) is None


def test_a_distribution_of_optunas() -> None:
    import json

    from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json

    for distribution, words in (
        (FloatDistribution(0.1, 1, log=True), "0.1 to 1.0, on a log scale"),
        (CategoricalDistribution(["a", "b"]), '"a", "b"'),
    ):
        found = space_of_distribution(json.loads(distribution_to_json(distribution)))
        assert found is not None
        assert found.text == words
    assert space_of_distribution({"name": "FloatDistribution"}) is None


def study(**changes: Any) -> StudyRecord:
    return StudyRecord(name="s", created_at=1.0, metrics=(), **changes)


def test_a_tasks_parameters() -> None:
    sweep = {
        "parameters": {
            "lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
            "opt": {"choices": ["sgd", "adam"]},
            "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"opt": ["sgd"]}},
        }
    }
    spec = TaskSpec(
        parameters={"epochs": 3, "lr": 0.01, "opt": "adam", "General/seed": 7},
        searched=("lr", "opt"),
        connected=("General/seed",),
    )
    rows = parameter_rows(record(spec=spec), study(sweep=sweep))
    assert [(row.name, row.origin, row.text) for row in rows] == [
        ("lr", "searched", "0.01"),
        ("opt", "searched", "adam"),
        ("epochs", "fixed", "3"),
        ("General/seed", "connected", "7"),
        ("momentum", "absent", ""),
    ]
    assert rows[0].place == pytest.approx(0.5)
    assert rows[1].space == '"sgd", "adam"'
    assert [rows[2].space, rows[3].space] == ["", ""]
    assert rows[4].space == '0.0 to 0.9; when opt = "sgd"'
    assert [row.origin for row in parameter_rows(record(study="", spec=spec), None)] == ["fixed"] * 3 + [
        "connected"
    ]


def test_what_an_objective_asked_for_as_it_ran() -> None:
    spec = TaskSpec(objective={"kind": "optuna", "target": "m:f"}, parameters={"x": 0.5})
    (row,) = parameter_rows(record(spec=spec), study(), {"x": Space(kind="float", low=0, high=1)})
    assert (row.origin, row.space, row.place) == ("searched", "0 to 1", 0.5)
