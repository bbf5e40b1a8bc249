"""Samplers and pruners by name: every mistake is found before anything starts."""

from __future__ import annotations

import importlib.util
from typing import Any

import optuna
import pytest

from controller.search.parameters import SweepParameter
from controller.search.samplers import make_pruner, make_sampler
from worker.protocol.errors import BadInput
from worker.protocol.sampler_names import PRUNERS, SAMPLERS

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

K = SweepParameter("k", optuna.distributions.IntDistribution(1, 3))
X = SweepParameter("x", optuna.distributions.FloatDistribution(0.0, 1.0))
PRUNER_NEEDS = {"percentile": {"percentile": 25.0}, "threshold": {"upper": 1.0}, "patient": {"patience": 3}}
SAMPLER_NEEDS: dict[str, dict[str, Any]] = {"partial_fixed": {"fixed": {"k": 2}, "base": {"type": "random"}}}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_of_the_sweep_file_works_or_names_what_it_needs(name: str) -> None:
    needs = [
        n
        for n in {"gp": ("torch", "scipy"), "cmaes": ("cmaes",)}.get(name, ())
        if not importlib.util.find_spec(n)
    ]
    if needs:
        with pytest.raises(BadInput, match=f"sampler.type: {name} needs .*{needs[0]}.*pip install"):
            make_sampler(name, {}, 1, [K])
        return
    study = optuna.create_study(sampler=make_sampler(name, SAMPLER_NEEDS.get(name, {}), 1, [K]))
    assert study.ask({"k": K.distribution()}).params["k"] in (1, 2, 3)


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_of_the_sweep_file_works(name: str) -> None:
    assert isinstance(make_pruner(name, PRUNER_NEEDS.get(name, {})), optuna.pruners.BasePruner)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpe", {"n_startup_trials": "ten"}, "sampler.n_startup_trials: must be int, got 'ten'"),
        ("tpe", {"n_startup_trials": 2.5}, "must be int"),
        ("tpe", {"n_startup_trials": True}, "must be int, got True"),
        ("tpe", {"multivariate": "yes"}, "sampler.multivariate: must be bool"),
        ("tpe", {"gamma": 3}, "sampler.gamma: takes a Python object"),
        ("tpe", {"constraints_func": "x"}, "sampler.constraints_func: unknown option"),
        ("grid", {"search_space": {}}, "sampler.search_space: unknown option"),
        ("random", {"sed": 1}, "did you mean 'seed'"),
        ("nsgaii", {"population_size": 1}, "greater than or equal to 2"),
        ("tpee", {}, "did you mean 'tpe'"),
    ],
)
def test_mistakes_about_samplers(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        make_sampler(name, options, None, [K])
    assert message in str(caught.value)


def test_all_mistakes_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        make_sampler("tpe", {"n_startup_trials": "ten", "gama": 1}, None, [K])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("percentile", {}, "pruner.percentile: missing"),
        ("percentile", {"percentile": 200.0}, "between 0 and 100"),
        ("threshold", {}, "Either lower or upper"),
        ("median", {"n_startup_trials": "ten"}, "pruner.n_startup_trials: must be int"),
        ("asha", {"min_resource": "much"}, "min_resource"),
        ("asha", {"min_resource": 2.5}, "pruner.min_resource: must be str or int"),
        ("hyperband", {"min_resource": 0}, "HyperbandPruner"),  # refused by Optuna only in use
        ("none", {"n": 1}, "pruner.n: unknown option; NopPruner has no options"),
        ("medain", {}, "did you mean 'median'"),
    ],
)
def test_mistakes_about_pruners(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        make_pruner(name, options)
    assert message in str(caught.value)


def test_numbers_may_be_whole_where_a_fraction_may_be() -> None:
    assert make_pruner("percentile", {"percentile": 25})
    assert make_sampler("nsgaii", {"crossover_prob": 1}, None, [K])


def test_the_seed_of_the_section_is_the_samplers() -> None:
    values = [
        optuna.create_study(sampler=make_sampler("random", {}, 7, [X]))
        .ask({"x": X.distribution()})
        .params["x"]
        for _ in range(2)
    ]
    assert values[0] == values[1]


def test_a_grid_needs_values_that_can_be_counted() -> None:
    with pytest.raises(BadInput, match=r"\bx\b"):
        make_sampler("grid", {}, 1, [X])


@pytest.mark.parametrize(
    ("kind", "searched", "message"),
    [
        ("grid", [optuna.distributions.IntDistribution(0, 2**53)], "has 9007199254740993 values"),
        ("grid", [optuna.distributions.FloatDistribution(0, 1, step=1e-9)], "values, which the grid sampler"),
        ("grid", [optuna.distributions.IntDistribution(0, 1999)] * 2, "the grid has 4000000 points"),
        (
            "brute_force",
            [optuna.distributions.IntDistribution(0, 2**53)],
            "which the brute_force sampler can't",
        ),
    ],
)
def test_what_is_too_much_to_list_is_refused(kind: str, searched: list[Any], message: str) -> None:
    parameters = [SweepParameter(f"p{index}", each) for index, each in enumerate(searched)]
    with pytest.raises(BadInput, match=message):
        make_sampler(kind, {}, 1, parameters)


def test_a_parameter_that_stays_need_not_be_listed() -> None:
    huge = SweepParameter("p", optuna.distributions.IntDistribution(0, 2**53))
    options = {"fixed": {"p": 2**53 - 1}, "base": {"type": "brute_force"}}
    study = optuna.create_study(sampler=make_sampler("partial_fixed", options, 1, [huge, K]))
    asked = [study.ask({"p": huge.distribution(), "k": K.distribution()}).params for _ in range(2)]
    assert {trial["p"] for trial in asked} == {2**53 - 1}
