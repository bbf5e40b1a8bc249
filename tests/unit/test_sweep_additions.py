"""Known configurations, constraints, older studies, and samplers and pruners around others."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from controller.search.samplers import make_pruner, make_sampler
from controller.session.sweep_objects import constraints_of, parameters_of
from controller.sweep import load_sweep, parse_sweep
from worker.protocol.errors import BadInput

BASE: dict[str, Any] = {
    "study": {"name": "s", "metric": {"name": "loss", "goal": "minimize"}},
    "objective": {"function": "m:f"},
    "parameters": {
        "lr": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1},
        "layers": {"type": "int", "low": 1, "high": 4},
        "opt": {"choices": ["sgd", "adam"]},
        "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"opt": "sgd"}},
    },
    "budget": {"max_trials": 3},
}


def sweep(**sections: Any) -> dict[str, Any]:
    data = copy.deepcopy(BASE)
    for name, section in sections.items():
        name = name.rstrip("_")
        data[name] = {**data[name], **section} if isinstance(section, dict) and name in data else section
    return data


GOOD = sweep(
    study={
        "constraints": [{"name": "memory/peak", "max": 8e9}, {"name": "f1", "min": 0.5}],
        "start_from": "older",
        "allow_duplicates": True,
        "report": "out/report.HTML",
    },
    try_=[{"lr": 0.3, "opt": "sgd", "momentum": 0.5}, {"layers": 2.0}, {"momentum": 0.1}],
    sampler={"type": "partial_fixed", "fixed": {"layers": 2}, "base": {"type": "random"}},
    pruner={"type": "patient", "patience": 3, "wrapped": {"type": "median", "n_startup_trials": 1}},
)


def test_a_good_sweep_round_trips() -> None:
    read = parse_sweep(GOOD, "s.toml")
    assert [dict(known) for known in read.tries] == GOOD["try"]
    assert constraints_of(read) == [{"metric": "memory/peak", "max": 8e9}, {"metric": "f1", "min": 0.5}]
    assert (read.study.start_from, read.study.allow_duplicates) == ("older", True)
    again = parse_sweep(read.to_dict(), "again")
    assert again.to_dict() == read.to_dict()
    assert list(read.to_dict())[:4] == ["study", "objective", "parameters", "try"]
    assert read.search_space_fingerprint() == parse_sweep(BASE, "s").search_space_fingerprint()
    make_sampler(read.sampler.type, read.sampler.options, 1, parameters_of(read))
    assert read.pruner
    make_pruner(read.pruner.type, read.pruner.options)


def test_types_inside_get_their_one_true_name() -> None:
    nested = {
        "sampler": {
            "type": "partial-fixed",
            "fixed": {"lr": 0.1},
            "base": {"type": "nsga2", "population_size": 8},
        },
        "pruner": {"type": "patient", "patience": 1, "wrapped": {"type": "successive-halving"}},
    }
    data = sweep(**nested)
    before = copy.deepcopy(data)
    read = parse_sweep(data, "s")
    assert data == before
    assert read.sampler.options["base"] == {"type": "nsgaii", "population_size": 8}
    assert read.pruner
    assert read.pruner.options == {"patience": 1, "wrapped": {"type": "asha"}}
    make_sampler(read.sampler.type, read.sampler.options, 1, parameters_of(read))
    make_pruner(read.pruner.type, read.pruner.options)
    assert parse_sweep(read.to_dict(), "again") == read


def test_optional_parts_may_be_left_out() -> None:
    read = parse_sweep(
        sweep(
            sampler={"type": "partial_fixed", "fixed": {"lr": 0.3}},
            pruner={"type": "patient", "patience": 3, "min_delta": 0.0},
        ),
        "s",
    )
    assert "base" not in read.sampler.options
    assert read.pruner
    assert "wrapped" not in read.pruner.options
    assert (read.tries, read.study.constraints, read.study.start_from) == ((), (), None)
    assert not read.study.allow_duplicates


def test_one_and_true_are_different_configurations() -> None:
    flags = {"flag": {"choices": [True, False]}, "which": {"choices": [0, 1]}}
    known = [{"flag": True, "which": 1}, {"flag": False, "which": 1}]
    read = parse_sweep(sweep(parameters=flags, try_=known), "s")
    assert [dict(each) for each in read.tries] == known
    with pytest.raises(BadInput) as caught:
        parse_sweep(sweep(parameters=flags, try_=[{"flag": 1}, {"flag": True}]), "s")
    assert caught.value.problems == ('s: try[0].flag: "flag" is never 1: its choices are [true, false]',)


def test_a_grid_may_have_tries_and_a_choice_any_size() -> None:
    data = sweep(sampler={"type": "grid"}, try_=[{"a": 2}])
    data["parameters"] = {"a": [1, 2]}
    assert parse_sweep(data, "s").tries == ({"a": 2},)
    data = sweep(parameters={"n": [0, 10**400]}, try_=[{"n": 10**400}])
    assert parse_sweep(data, "s").tries == ({"n": 10**400},)


@pytest.mark.parametrize("sampler", ["random", "qmc", "cmaes", "tpe", "gp"])
def test_any_sampler_may_have_constraints(sampler: str) -> None:
    study = {"constraints": [{"name": "a", "max": 1}, {"name": "a", "min": 0}]}
    assert len(parse_sweep(sweep(study=study, sampler={"type": sampler}), "s").study.constraints) == 2


def test_places_count_what_can_not_be_read() -> None:
    bounds = [3, {"name": "a", "max": 1.0}, {"name": "a", "max": 2.0}]
    with pytest.raises(BadInput) as caught:
        parse_sweep(
            sweep(study={"constraints": bounds}, try_=[{"layers": 1}, {"lr": float("nan")}, {"layers": 1.0}]),
            "s",
        )
    assert caught.value.problems == (
        "s: study.constraints[0]: must be a table, got 3",
        's: study.constraints[2].name: "a" has a max already',
        "s: try[1].lr: must be a finite number, got nan",
        "s: try[2]: the same as try[0]",
    )


def test_mistakes_are_reported_together() -> None:
    with pytest.raises(BadInput) as caught:
        parse_sweep(
            sweep(
                study={
                    "name": 7,
                    "constraints": [{"mx": 1, "name": "a"}, {"name": "a", "max": 1}, {"name": "a", "max": 2}],
                },
                try_=[{"lrr": 1, "lr": 3}, 5],
                sampler={"type": "partial_fixed", "fixed": {"layer": 1}, "base": {"type": "grid"}},
                pruner={"type": "patient", "patience": 1, "wrapped": {"type": "medain"}},
            ),
            "s",
        )
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "study.constraints[0].mx",
        "study.name",
        "study.constraints[2].name",
        "try[1]",
        "try[0].lrr",
        "try[0].lr",
        "sampler.base.type",
        "sampler.fixed.layer",
        "pruner.wrapped.type",
    ]


def test_the_same_in_toml_and_yaml(tmp_path: Path) -> None:
    toml = tmp_path / "s.toml"
    toml.write_text(
        """
[study]
name = "s"
metric = { name = "loss", goal = "minimize" }
constraints = [{ name = "memory/peak", max = 8e9 }]
[objective]
function = "m:f"
[parameters]
lr = { type = "float", low = 0.0, high = 0.5 }
[[try]]
lr = 0.25
[[try]]
lr = 0.5
[budget]
max_trials = 2
"""
    )
    yaml = tmp_path / "s.yaml"
    yaml.write_text(
        """
study: {name: s, metric: {name: loss, goal: minimize}, constraints: [{name: memory/peak, max: 8.0e+9}]}
objective: {function: "m:f"}
parameters: {lr: {type: float, low: 0.0, high: 0.5}}
try: [{lr: 0.25}, {lr: 0.5}]
budget: {max_trials: 2}
"""
    )
    assert load_sweep(toml, ()).to_dict() == load_sweep(yaml, ()).to_dict()


TWO = [{"name": "loss", "goal": "minimize"}, {"name": "acc", "goal": "maximize"}]
EVEN = {"type": "int", "low": 0, "high": 10**10, "step": 2}


def partial(base: object) -> dict[str, Any]:
    return {"type": "partial_fixed", "fixed": {"lr": 0.1}, "base": base}


def patient(wrapped: object) -> dict[str, Any]:
    return {"type": "patient", "patience": 2, "wrapped": wrapped}


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"try_": [{"lrr": 0.1}]}, 's: try[0].lrr: unknown parameter; did you mean "lr"?'),
    ({"try_": [{"lr": 0.9}]}, 's: try[0].lr: "lr" is never 0.9: it goes from 0.0 to 0.5'),
    ({"try_": [{"lr": 0.25}]}, "in steps of 0.1"),
    ({"try_": [{"layers": 2.5}]}, "it is a whole number"),
    ({"try_": [{"opt": "adamw"}]}, 'did you mean "adam"'),
    ({"try_": [{"opt": "adam", "momentum": 0.5}]}, '"momentum" is there only if "opt" is ["sgd"]'),
    ({"try_": [{"lr": 0.1}, {"lr": 0.1}]}, "s: try[1]: the same as try[0]"),
    ({"try_": [{}]}, "s: try[0]: names no parameter"),
    ({"try_": {"lr": 0.1}}, "write [[try]], with two brackets"),
    ({"try_": [3]}, "s: try[0]: must be a table of parameter to value"),
    ({"try_": [{"lr": [0.1]}]}, 's: try[0].lr: "lr" is never [0.1]: it is a number'),
    ({"try_": [{"lr": float("nan")}]}, "s: try[0].lr: must be a finite number, got nan"),
    ({"try_": [{"lr": 0.30000005}]}, "in steps of 0.1"),
    ({"try_": [{"layers": True}]}, '"layers" is never true: it is a number'),
    ({"try_": [{"lr": 0.1, "layers": 1}, {"layers": 1.0, "lr": 0.1}]}, "s: try[1]: the same as try[0]"),
    (
        {"try_": [{"even": 2 * 10**9 + 1}], "parameters": {"even": EVEN}},
        "it goes from 0 in steps of 2",
    ),
    ({"tries": [{"lr": 0.1}]}, 's: tries: unknown section; did you mean "try"?'),
    ({"study": {"constraints": {"name": "a"}}}, "s: study.constraints: must be a list"),
    (
        {"study": {"constraints": [{"name": "a"}]}},
        "s: study.constraints[0]: needs exactly one of max and min",
    ),
    ({"study": {"constraints": [{"name": "a", "max": 1.0, "min": 0.0}]}}, "exactly one of max and min"),
    (
        {"study": {"constraints": [{"name": "a", "mx": 1.0}]}},
        's: study.constraints[0].mx: unknown key; did you mean "max"',
    ),
    (
        {"study": {"constraints": [{"name": "a", "max": 1.0}, {"name": "a", "max": 2.0}]}},
        '"a" has a max already',
    ),
    (
        {"study": {"constraints": [{"name": "a"}, {"name": "a", "min": 1.0}]}},
        "s: study.constraints[0]: needs",
    ),
    (
        {"study": {"constraints": [{"name": "", "max": 1.0}]}},
        "s: study.constraints[0].name: must not be empty",
    ),
    (
        {"study": {"constraints": [{"name": "a", "max": True}]}},
        "constraints[0].max: must be a number, got true",
    ),
    ({"study": {"constraints": [{"name": "a", "min": float("inf")}]}}, "[0].min: must be a finite number"),
    ({"study": {"warm_start": "older"}}, 's: study.warm_start: unknown key; did you mean "start_from"?'),
    ({"study": {"start_from": "s"}}, "s: study.start_from: is this study itself"),
    ({"study": {"start_from": ""}}, "s: study.start_from: must not be empty"),
    ({"study": {"allow_duplicates": "yes"}}, "s: study.allow_duplicates"),
    ({"sampler": {"type": "partial_fixed"}}, "s: sampler.fixed: missing; give the parameters that stay"),
    ({"sampler": {"type": "partial_fixed", "fixed": {"lrr": 1}}}, "s: sampler.fixed.lrr: unknown parameter"),
    (
        {"sampler": {"type": "partial_fixed", "fixed": {"lr": 0.1}, "base": {"type": "grid"}}},
        's: sampler.base.type: partial_fixed can\'t have "grid" inside',
    ),
    (
        {"sampler": {"type": "partial_fixed", "fixed": {"lr": 0.1}, "base": {"type": "tppe"}}},
        'did you mean "tpe"',
    ),
    (
        {"pruner": {"type": "patient", "patience": 2, "wrapped": {"type": "patient"}}},
        "s: pruner.wrapped.type",
    ),
    ({"pruner": {"type": "patient", "patience": 2, "wrapped": 3}}, "s: pruner.wrapped: must be a table"),
    ({"sampler": {"type": "partial_fixed", "fixed": {}}}, "s: sampler.fixed: names no parameter"),
    ({"sampler": {"type": "partial_fixed", "fixed": 3}}, "s: sampler.fixed: must be a table, got 3"),
    ({"sampler": {"type": "partial_fixed", "fixed": {"lr": float("nan")}}}, "s: sampler.fixed: must be text"),
    ({"sampler": {"type": "partial_fixed", "fixed": {"lr": 0.9}}}, "s: sampler.fixed.lr: "),
    (
        {"sampler": {"type": "partial_fixed", "fxied": {"lr": 0.1}}},
        's: sampler.fxied: unknown key; did you mean "fixed"?',
    ),
    ({"sampler": partial({"tpye": "tpe"})}, 's: sampler.base.tpye: unknown key; did you mean "type"?'),
    ({"sampler": partial({"type": 3})}, "s: sampler.base.type: must be text, got 3"),
    ({"sampler": partial({"type": "partial-fixed"})}, "s: sampler.base.type: partial_fixed can't have"),
    ({"sampler": partial("tpe")}, "s: sampler.base: must be a table"),
    ({"sampler": partial(None)}, "s: sampler.base: must be a table"),
    ({"sampler": partial(float("nan"))}, "s: sampler.base: must be text"),
    ({"sampler": partial({"gamma": [float("nan")]})}, "s: sampler.base: must be text"),
    ({"sampler": partial({"type": "brute-force"})}, "s: parameters.momentum: the brute_force sampler needs"),
    (
        {"sampler": partial({"type": "cma-es"}), "study": {"metric": TWO}},
        "s: sampler.base.type: cmaes takes a",
    ),
    ({"pruner": patient({"type": "nop"})}, 's: pruner.wrapped.type: patient can\'t have "nop" inside'),
    ({"pruner": patient({"type": "meedian"})}, 'did you mean "median"'),
    ({"pruner": patient({"typ": "median"})}, 's: pruner.wrapped.typ: unknown key; did you mean "type"?'),
    ({"pruner": patient({})}, "s: pruner.wrapped.type: missing"),
    ({"pruner": {"type": "patient", "patience": 2, "wraped": {}}}, 'unknown key; did you mean "wrapped"?'),
    *(
        ({"budget": {name: value}}, f"s: budget.{name}: ")
        for name in ("max_trials", "max_iterations", "max_concurrent", "max_failures")
        for value in (0, -1, 0.0)
    ),
    *(
        ({"budget": {name: value}}, f"s: budget.{name}: ")
        for name in ("time_per_trial", "total_compute", "wall_clock")
        for value in (0, -1, 0.0, "0s", "-1h")
    ),
    ({"budget": {"min_iterations": -1}}, "s: budget.min_iterations: must be at least 0"),
]


@pytest.mark.parametrize(
    ("changes", "said"), MISTAKES, ids=[f"{n}-{said}" for n, (_, said) in enumerate(MISTAKES)]
)
def test_mistakes(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_sweep(sweep(**changes), "s")
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1, caught.value.problems
