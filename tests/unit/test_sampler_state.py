"""A seeded search suggests what Optuna's own loop does, however often it is killed in between."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from controller.search.parameters import SweepParameter
from controller.search.samplers import make_sampler, seed_after
from controller.search.search import Search
from controller.search.trial_cache import cached
from worker.optuna_internals import trial_id
from worker.trials.sampler_state import MARK, OBJECTIVE_MARK, SamplerState, continued, continued_in

CONTINUOUS = {
    "x": FloatDistribution(-5, 5),
    "lr": FloatDistribution(1e-5, 1.0, log=True),
    "layers": IntDistribution(1, 9),
    "kind": CategoricalDistribution(["a", "b", "c"]),
}
FINITE = {"layers": IntDistribution(1, 9), "kind": CategoricalDistribution(["a", "b", "c", "d"])}
TRIALS = 34
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "random": ({}, CONTINUOUS),
    "tpe": ({}, CONTINUOUS),
    "tpe group": ({"group": True, "n_startup_trials": 5}, CONTINUOUS),
    "tpe history": ({"history": 100}, CONTINUOUS),
    "qmc": ({}, CONTINUOUS),
    "cmaes": ({"n_startup_trials": 3}, CONTINUOUS),
    "nsgaii": ({"population_size": 8}, CONTINUOUS),
    "nsgaiii": ({"population_size": 8}, CONTINUOUS),
    "grid": ({}, FINITE),
    "brute_force": ({}, FINITE),
    "partial_fixed": ({"fixed": {"layers": 3}}, CONTINUOUS),
    "gp": ({"n_startup_trials": 5}, {"x": FloatDistribution(-5, 5), "y": FloatDistribution(0, 1)}),
}


def value(params: dict[str, Any]) -> float:
    low = sum(math.sin(float(v)) for v in params.values() if not isinstance(v, str))
    return low + 0.1 * (params.get("kind") == "b")


def plain(name: str, parameters: Sequence[SweepParameter], options: dict[str, Any]) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=make_sampler(name, options, 7, parameters))
    space = {parameter.name: parameter.distribution() for parameter in parameters}
    for _ in range(TRIALS):
        trial = study.ask(space)
        study.tell(trial, value(trial.params))
    return [trial.params for trial in study.trials]


def searched(
    url: str, name: str, parameters: Sequence[SweepParameter], options: dict[str, Any], parts: Sequence[int]
) -> list[dict[str, Any]]:
    """The same through `Search`, by one that is made again after each part, as by another process."""

    def make(trials: int) -> optuna.samplers.BaseSampler:
        return make_sampler(name, options, seed_after(7, trials, name), parameters)

    for count in parts:
        study = optuna.create_study(storage=url, study_name="s", load_if_exists=True)
        state = continued(study, make)
        study.sampler = state.sampler
        search = Search(cached(study), parameters, allow_duplicates=True, sampler_state=state)
        for _ in range(count):
            asked = search.ask()
            assert asked is not None
            search.tell(asked.number, TrialState.COMPLETE, [value(asked.parameters)])
        search.flush()
    return [trial.params for trial in optuna.load_study(study_name="s", storage=url).trials]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("case", CASES)
def test_the_parameters_are_those_of_optunas_own_loop(case: str, tmp_path: Path) -> None:
    if case == "gp":
        pytest.importorskip("torch", reason="of the extra `samplers`, and large")
    options, space = CASES[case]
    name = case.partition(" ")[0]
    parameters = [SweepParameter(key, distribution) for key, distribution in space.items()]
    expected = plain(name, parameters, options)
    url = f"sqlite:///{tmp_path}/whole.db"
    assert searched(url, name, parameters, options, [TRIALS]) == expected
    parts = [1, 6, 10, 1, TRIALS - 18]
    assert searched(f"sqlite:///{tmp_path}/parts.db", name, parameters, options, parts) == expected


def test_what_was_not_written_is_suggested_again(tmp_path: Path) -> None:
    x = SweepParameter("x", FloatDistribution(0, 1))
    url = f"sqlite:///{tmp_path}/s.db"

    def opened() -> Search:
        study = optuna.create_study(storage=url, study_name="s", load_if_exists=True)
        state = continued(study, lambda n: optuna.samplers.TPESampler(seed=seed_after(1, n, "tpe")))
        study.sampler = state.sampler
        return Search(cached(study), [x], sampler_state=state)

    first = opened().ask()
    assert first is not None
    # Killed: what it told is lost, what it asked is not.
    search = opened()
    assert [asked.parameters for asked in search.running()] == [first.parameters]
    search.tell(first.number, TrialState.COMPLETE, [1.0])
    second = search.ask()
    assert second is not None
    alone = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    assert [alone.ask({"x": x.distribution()}).params["x"] for _ in range(2)] == [
        first.parameters["x"],
        second.parameters["x"],
    ]


def test_an_objective_that_suggests_by_itself_goes_on_where_the_trial_before_stood() -> None:
    space = {"x": FloatDistribution(0, 1)}
    study = optuna.create_study()

    def suggest(trial: optuna.Trial, number: int) -> float:
        state = continued_in(study, number, lambda place: optuna.samplers.RandomSampler(seed=100 + place))
        value = state.sampler.sample_independent(study, study.trials[number], "x", space["x"])
        mark = state.mark()
        assert mark is not None
        trial.storage.set_trial_system_attr(trial_id(trial), OBJECTIVE_MARK, mark)
        return float(value)

    def plain(seed: int, count: int) -> list[float]:
        rng = np.random.RandomState(seed)
        return [rng.uniform() for _ in range(count)]

    trials = [study.ask()]
    assert suggest(trials[0], 0) == plain(100, 1)[0]
    assert suggest(trials[0], 0) == plain(100, 2)[1]  # a further attempt
    study.tell(trials[0], 1.0)
    trials += [study.ask(), study.ask()]
    assert suggest(trials[1], 1) == plain(100, 3)[2]  # what was asked ahead doesn't count
    assert suggest(trials[2], 2) == plain(102, 1)[0]  # the one before runs
    assert suggest(trials[2], 2) == plain(102, 2)[1]
    study.tell(trials[1], 1.0)
    study.tell(trials[2], 1.0)
    trials.append(study.ask())
    assert suggest(trials[3], 3) == plain(102, 3)[2]


def test_a_mark_is_small_and_says_where_it_was_made() -> None:
    sampler = optuna.samplers.TPESampler(seed=3)
    state = SamplerState(sampler)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=30)
    text = state.mark()
    assert text is not None
    assert len(text) < 200
    again = SamplerState(optuna.samplers.TPESampler(seed=3))
    assert again.restore(text)
    assert again.mark() == text
    assert not SamplerState(optuna.samplers.TPESampler(seed=4)).restore(text)
    assert not SamplerState(optuna.samplers.RandomSampler(seed=3)).restore(text)


@pytest.mark.parametrize("draws", [0, 1, 311, 312, 623, 624, 625, 5000])
def test_normal_numbers_too(draws: int) -> None:
    sampler = optuna.samplers.RandomSampler(seed=1)
    rng = np.random.RandomState(1)
    state = SamplerState(sampler)
    (twister,) = state._twisters.values()
    twister._generator.normal(size=draws)
    rng.normal(size=draws)
    text = state.mark()
    assert text is not None
    other = SamplerState(optuna.samplers.RandomSampler(seed=1))
    assert other.restore(text)
    (twin,) = other._twisters.values()
    assert twin._generator.normal(size=3).tolist() == rng.normal(size=3).tolist()


def test_a_sampler_without_a_seed_is_not_marked() -> None:
    study = optuna.create_study()
    state = continued(study, lambda trials: optuna.samplers.TPESampler())
    assert not state.seeded
    search = Search(study, [SweepParameter("x", FloatDistribution(0, 1))], sampler_state=state)
    search.ask()
    assert MARK not in study.trials[0].system_attrs


def test_another_seed_or_a_study_without_marks_begins_after_its_trials() -> None:
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    seeds: list[int] = []

    def make(trials: int) -> optuna.samplers.BaseSampler:
        seeds.append(trials)
        return optuna.samplers.RandomSampler(seed=trials)

    state = continued(study, make)
    search = Search(study, [SweepParameter("x", FloatDistribution(0, 1))], sampler_state=state)
    study.sampler = state.sampler
    assert seeds == [3]
    search.ask()
    assert json.loads(study.trials[3].system_attrs[MARK])["after"] == 3
    # It goes on as it was seeded then, not by how many trials there are now.
    assert continued(study, make).mark() == study.trials[3].system_attrs[MARK]
    assert seeds == [3, 3]
