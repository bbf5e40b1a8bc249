"""Good sweeps: what they become, how they are stored, and when two search the same space."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from controller.sweep import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    Sweep,
    describe_difference,
    parse_sweep,
)

REMOVED = object()


def base() -> dict[str, Any]:
    return {
        "study": {"name": "digits", "metric": {"name": "accuracy/validation", "goal": "maximize"}},
        "objective": {"function": "examples.digits:train"},
        "parameters": {
            "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
            "layers": {"type": "int", "low": 1, "high": 4},
            "opt": {"choices": ["sgd", "adam"]},
            "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"opt": "sgd"}},
        },
        "budget": {"max_trials": 20},
    }


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base sweep with values replaced by dotted key."""
    data = base()
    for key, value in changes.items():
        *tables, last = key.split(".")
        table = data
        for name in tables:
            table = table.setdefault(name, {})
        if value is REMOVED:
            del table[last]
        else:
            table[last] = copy.deepcopy(value)
    return data


TWO_METRICS = [{"name": "loss", "goal": "minimize"}, {"name": "acc", "goal": "maximize"}]

GOOD: list[dict[str, Any]] = [
    {},
    {"parameters.lr": {"type": "float", "low": 0.1, "high": 0.1}},
    {"parameters.layers": {"type": "int", "low": 2.0, "high": 1e3}},
    {"parameters.layers": {"type": "int", "low": 1, "high": 64, "log": True}},
    {"parameters.layers": {"type": "int", "low": 1, "high": 9, "step": 8}},
    {"parameters.seed": 3, "parameters.flag": True, "parameters.x": ["a", None, 1.5, False]},
    {"parameters.momentum.when": {"opt": ["sgd", "adam"], "layers": 2}},
    {"parameters.flag": [True, False], "parameters.extra": {"choices": [1, 2], "when": {"flag": True}}},
    {"objective": {"optuna": "pkg.mod:objective"}, "parameters": {}},
    {"objective": {"command": "t --lr={lr} {layers} {opt} {momentum} {task_id} {trial}"}},
    {"objective": {"command": ["t", "{{x}} {lr}{layers}", "{opt}", "{momentum}"]}},
    {"budget": {"wall_clock": "1h30m"}},
    {"budget": {"total_compute": 3600}},
    {"budget": {}, "sampler": {"type": "brute-force"}, "parameters": {"x": [1, 2]}},
    {"budget": {}, "sampler": {"type": "grid"}, "parameters": {"x": {"type": "float", "low": 0, "high": 1,
                                                                      "step": 0.5}, "y": [1]}},
    {"sampler": {"type": "tpe", "seed": 1, "n_startup_trials": 20, "x0": {"lr": [0.1]}}},
    {"pruner": {"type": "successive-halving", "reduction_factor": 3}},
    {"study.metric": TWO_METRICS, "pruner": {"type": "none"}, "study.project": "vision"},
    {"budget": {"max_trials": 9, "max_iterations": 5, "min_iterations": 5, "max_failures": 1,
                "time_per_trial": "500ms"}, "queue": {"name": "gpu"}},
    {"objective": {"command": "t", "env": {"A": "1"}}, "parameters.x": 1, "objective.command": ["t",
     "{x}{lr}{opt}{layers}{momentum}"]},
]  # fmt: skip


@pytest.mark.parametrize("changes", GOOD, ids=range(len(GOOD)))
def test_a_good_sweep_round_trips_through_json(changes: dict[str, Any]) -> None:
    sweep = parse_sweep(changed(changes), "s.toml")
    stored = json.loads(json.dumps(sweep.to_dict(), allow_nan=False))
    again = parse_sweep(stored, "stored")
    assert again == sweep
    assert again.to_dict() == sweep.to_dict()
    assert again.search_space_fingerprint() == sweep.search_space_fingerprint()
    assert describe_difference(stored, sweep.to_dict()) == ""


def test_values_are_what_the_file_says() -> None:
    sweep = parse_sweep(
        changed(
            {
                "parameters.seed": 3,
                "parameters.flags": [True, 2, 2.5, None],
                "budget.time_per_trial": "1h30m",
                "budget.total_compute": 90,
                "sampler": {"type": "nsga2", "seed": 5, "population_size": 10},
                "pruner": {"type": "asha", "min_resource": 2},
            }
        ),
        "s.toml",
    )
    assert sweep.parameters["lr"] == FloatParameter(low=1e-5, high=0.1, log=True)
    assert sweep.parameters["layers"] == IntParameter(low=1, high=4)
    assert sweep.parameters["seed"] == ChoiceParameter(choices=(3,))
    flags = sweep.parameters["flags"]
    assert isinstance(flags, ChoiceParameter)
    assert [type(choice) for choice in flags.choices] == [bool, int, float, type(None)]
    assert sweep.parameters["momentum"].when == {"opt": ("sgd",)}
    assert sweep.conditional_parameters == ("momentum",)
    assert (sweep.budget.time_per_trial_s, sweep.budget.total_compute_s, sweep.budget.wall_clock_s) == (
        5400.0,
        90.0,
        None,
    )
    assert (sweep.sampler.type, sweep.sampler.seed, sweep.sampler.options) == (
        "nsgaii",
        5,
        {"population_size": 10},
    )
    assert sweep.pruner is not None
    assert (sweep.pruner.type, sweep.pruner.options) == ("asha", {"min_resource": 2})
    assert sweep.objective.kind == "function"
    assert sweep.queue.name == "default"


def test_defaults_prune_nothing_and_sample_with_tpe() -> None:
    sweep = parse_sweep(base(), "s.toml")
    assert sweep.pruner is None
    assert (sweep.sampler.type, sweep.sampler.seed, sweep.sampler.options) == ("tpe", None, {})
    assert parse_sweep(changed({"pruner.type": "nop"}), "s.toml").pruner is None


def test_a_command_in_one_text_is_split_as_a_shell_would() -> None:
    sweep = parse_sweep(changed({"objective": {"command": "t '{lr} {layers}' {opt}{momentum}"}}), "s.toml")
    assert sweep.objective.command == ("t", "{lr} {layers}", "{opt}{momentum}")


def test_a_sweep_is_frozen() -> None:
    sweep = parse_sweep(base(), "s.toml")
    with pytest.raises(Exception, match="frozen"):
        sweep.budget.max_trials = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        sweep.pruner = None  # type: ignore[misc]


def fingerprint(changes: Mapping[str, Any]) -> str:
    return parse_sweep(changed(changes), "s.toml").search_space_fingerprint()


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": {"max_trials": 7}},
        {"sampler": {"type": "random", "seed": 3}},
        {"pruner": {"type": "median"}},
        {"queue": {"name": "gpu"}},
        {"study.name": "other", "study.project": "p"},
        {"objective": {"optuna": "a:b"}},
        {"parameters.layers": {"high": 4.0, "low": 1, "type": "int", "step": 1, "log": False}},
        {"parameters.momentum.when": {"opt": ["sgd"]}},
        {"study.metric": [{"goal": "maximize", "name": "accuracy/validation"}]},
        {"parameters": dict(sorted(base()["parameters"].items(), key=lambda item: item[0] == "momentum"))},
    ],
)
def test_the_fingerprint_ignores_what_is_not_search_space(changes: dict[str, Any]) -> None:
    assert fingerprint(changes) == fingerprint({})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"parameters.lr.high": 0.2}, "parameters.lr.high: 0.1 → 0.2"),
        ({"parameters.lr.log": False}, "parameters.lr.log: true → false"),
        ({"parameters.layers.step": 3}, "parameters.layers.step: 1 → 3"),
        ({"parameters.momentum.step": 0.33}, "parameters.momentum.step: none → 0.33"),
        ({"parameters.momentum": REMOVED}, "parameters.momentum: only in the stored study"),
        ({"parameters.new": [1]}, "parameters.new: only in the sweep file"),
        ({"parameters.opt": ["adam", "sgd"]}, 'parameters.opt.choices: ["sgd", "adam"] → ["adam", "sgd"]'),
        ({"parameters.layers": [1, 2]}, "parameters.layers: int from 1 to 4 → choices [1, 2]"),
        ({"parameters.momentum.when": REMOVED}, 'parameters.momentum.when: {"opt": ["sgd"]} → none'),
        (
            {"study.metric": {"name": "loss", "goal": "minimize"}},
            "study.metric: accuracy/validation (maximize) → loss (minimize)",
        ),
        (
            {"parameters.lr.high": 0.2, "parameters.momentum": REMOVED},
            "parameters.lr.high: 0.1 → 0.2; parameters.momentum: only in the stored study",
        ),
    ],
)
def test_another_search_space_has_another_fingerprint_and_is_described(
    changes: dict[str, Any], line: str
) -> None:
    assert fingerprint(changes) != fingerprint({})
    old, new = (parse_sweep(changed(each), "s.toml").to_dict() for each in ({}, changes))
    assert describe_difference(old, new) == line


def test_equal_numbers_of_another_type_are_another_choice() -> None:
    one, true = (parse_sweep(changed({"parameters.x": [value]}), "s.toml") for value in (1, True))
    assert one.search_space_fingerprint() != true.search_space_fingerprint()
    assert describe_difference(one.to_dict(), true.to_dict()) == "parameters.x.choices: [1] → [true]"


def test_the_fingerprint_is_stable_across_releases() -> None:
    """Studies on disk carry it: a change here makes every stored study look like another search space."""
    sweep: Sweep = parse_sweep(base(), "s.toml")
    assert sweep.search_space_fingerprint() == (
        "ef2e5a80c8d9ea6e531c2f884eeabdcdf4c704db1861f6e80da4ef96989445fa"
    )


def test_parsing_leaves_the_data_alone() -> None:
    data = changed(
        {"sampler": {"type": "brute-force", "avoid_premature_stop": True}, "parameters": {"x": [1]}}
    )
    before = copy.deepcopy(data)
    parse_sweep(data, "s.toml")
    assert data == before
