"""Hints for misspelt names, and the one set of names of samplers and pruners."""

from __future__ import annotations

from typing import Any

import pytest

from controller.sweep import parse_sweep
from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest
from worker.protocol.sampler_names import (
    PRUNER_ALIASES,
    PRUNERS,
    SAMPLER_ALIASES,
    SAMPLERS,
    pruner_name,
    sampler_name,
)
from worker.trials.samplers import known_sampler, make_pruner


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("lgo", ["low", "log"], "log"),
        ("lo", ["low", "log"], "low"),
        ("max_trails", ["max_trials", "max_failures"], "max_trials"),
        ("LOSS", ["Loss", "accuracy"], "Loss"),
        ("zebra", ["low", "log"], None),
        ("x", [], None),
    ],
)
def test_the_nearest_name(name: str, known: list[str], expected: str | None) -> None:
    assert nearest(name, known) == expected


def test_of_two_alike_the_one_that_is_missing_is_meant() -> None:
    assert nearest("lo", ["low", "log"], present=["low"]) == "log"


def sweep(**sections: Any) -> Any:
    return parse_sweep(
        {
            "study": {"name": "s", "metric": {"name": "loss", "goal": "minimize"}},
            "objective": {"function": "m:f"},
            "parameters": {"x": {"choices": [1, 2]}, "y": {"choices": [1, 2]}},
            "budget": {"max_trials": 1},
            **sections,
        },
        "sweep",
    )


@pytest.mark.parametrize("name", [*SAMPLERS, *SAMPLER_ALIASES, "cma-es"])
def test_a_sampler_has_the_same_names_everywhere(name: str) -> None:
    fixed = {"fixed": {"x": 1}} if sampler_name(name) == "partial_fixed" else {}
    found = sweep(sampler={"type": name, **fixed}).sampler.type
    assert found == known_sampler(name) == sampler_name(name)
    assert found in SAMPLERS


@pytest.mark.parametrize(
    ("name", "meant"), [("TPE", "tpe"), ("CMA-ES", "cmaes"), ("Brute_Force", "brute_force")]
)
def test_a_program_may_write_a_sampler_with_capitals_but_a_sweep_file_may_not(name: str, meant: str) -> None:
    assert known_sampler(name) == meant
    fixed = {"type": "partial_fixed", "fixed": {"x": 1}, "base": {"type": name}}
    for table in ({"type": name}, fixed):
        with pytest.raises(BadInput, match=f'unknown sampler "{name}"; did you mean "{meant}"') as caught:
            sweep(sampler=table)
        assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", [*PRUNERS, *PRUNER_ALIASES, "successive-halving"])
def test_a_pruner_has_the_same_names_everywhere(name: str) -> None:
    options: dict[str, Any] = {
        "percentile": {"percentile": 50.0},
        "threshold": {"upper": 1.0},
        "patient": {"patience": 1, "wrapped": {"type": "median"}},
    }.get(pruner_name(name), {})
    found = sweep(pruner={"type": name, **options}).pruner
    assert (found.type if found else "none") == pruner_name(name)
    assert type(make_pruner(name, options)).__name__ == PRUNERS[pruner_name(name)]


@pytest.mark.parametrize(("name", "meant"), [("Median", "median"), ("Successive-Halving", "asha")])
def test_a_program_may_write_a_pruner_with_capitals_but_a_sweep_file_may_not(name: str, meant: str) -> None:
    assert type(make_pruner(name, {})).__name__ == PRUNERS[meant]
    for table in ({"type": name}, {"type": "patient", "patience": 1, "wrapped": {"type": name}}):
        with pytest.raises(BadInput, match=f'unknown pruner "{name}"'):
            sweep(pruner=table)
