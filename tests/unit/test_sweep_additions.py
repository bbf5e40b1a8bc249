"""Known configurations, constraints, older studies, and samplers and pruners around others."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from controller.samplers import make_pruner, make_sampler
from controller.sweep import load_sweep, parse_sweep
from controller.sweep_objects import constraints_of, parameters_of
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
    ({"try_": [{"lr": [0.1]}]}, "s: try[0].lr: must be text, a finite number"),
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
    ({"study": {"start_from": "s"}}, "s: study.start_from: is this study itself"),
    ({"study": {"start_from": ""}}, "s: study.start_from: must not be empty"),
    ({"study": {"allow_duplicates": "yes"}}, "s: study.allow_duplicates"),
    ({"sampler": {"type": "partial_fixed"}}, "s: sampler.fixed: missing; give the parameters that stay"),
    ({"sampler": {"type": "partial_fixed", "fixed": {"lrr": 1}}}, "s: sampler.fixed.lrr: unknown parameter"),
    (
        {"sampler": {"type": "partial_fixed", "fixed": {"lr": 0.1}, "base": {"type": "grid"}}},
        "s: sampler.base.type",
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
    ({"budget": {"max_trials": 0}}, "s: budget.max_trials"),
    ({"budget": {"max_failures": -1}}, "s: budget.max_failures"),
]


@pytest.mark.parametrize(("changes", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_mistakes(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_sweep(sweep(**changes), "s")
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1, caught.value.problems
