from __future__ import annotations

import math

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState

from controller.search.parameters import SweepParameter
from controller.search.samplers import ignores_history, make_pruner, make_sampler
from controller.search.search import Search
from worker.protocol.errors import BadInput

X = SweepParameter("x", FloatDistribution(0, 1))


def search(
    sampler: str = "random", pruner: str | None = None, **options: object
) -> tuple[Search, optuna.Study]:
    study = optuna.create_study(
        sampler=make_sampler(sampler, {}, 1, [X]), pruner=make_pruner(pruner, options)
    )
    return Search(study, [X]), study


def test_each_trial_is_told_once() -> None:
    one, study = search()
    asked = one.ask()
    assert one.tell(asked.number, TrialState.COMPLETE, [1.0])
    assert not one.tell(asked.number, TrialState.COMPLETE, [2.0])
    another = Search(study, [X])
    assert not another.tell(asked.number, TrialState.FAIL)
    assert [trial.value for trial in study.trials] == [1.0]


def test_a_trial_told_by_somebody_else_is_left_alone() -> None:
    one, study = search()
    asked = one.ask()
    other = Search(study, [X])
    assert [found.number for found in other.running()] == [asked.number]
    assert other.tell(asked.number, TrialState.COMPLETE, [1.0])
    assert not one.tell(asked.number, TrialState.COMPLETE, [2.0])
    assert study.trials[0].value == 1.0


@pytest.mark.parametrize("values", [None, [math.nan], [math.inf]])
def test_a_result_that_is_not_finite_fails_its_trial(values: list[float] | None) -> None:
    one, study = search()
    one.tell(one.ask().number, TrialState.COMPLETE, values)
    assert study.trials[0].state is TrialState.FAIL


def test_iterations_are_told_once_and_as_they_were_reported() -> None:
    one, study = search()
    asked = one.ask()
    for step, value in [(0, 1.0), (1, math.inf), (0, 5.0), (-1, 2.0), (2, 3.0)]:
        one.report(asked.number, step, value)
    again = Search(study, [X])
    again.running()
    for step, value in [(0, 9.0), (3, 4.0)]:
        again.report(asked.number, step, value)
    again.report(asked.number, 4, math.nan)
    told = study.trials[0].intermediate_values
    assert math.isnan(told.pop(4))
    assert told == {0: 1.0, 1: math.inf, 2: 3.0, 3: 4.0}
    assert list(again.told_values(asked.number)) == [0, 1, 2, 3, 4]


def test_trials_are_taken_up_with_their_parameters() -> None:
    one, study = search("tpe")
    asked = [one.ask() for _ in range(3)]
    one.tell(asked[1].number, TrialState.FAIL)
    left = Search(study, [X]).running()
    assert [(a.number, a.task_id, a.parameters) for a in left] == [
        (a.number, a.task_id, a.parameters) for a in (asked[0], asked[2])
    ]


@pytest.mark.parametrize(("name", "options"), [("median", {"n_startup_trials": 2}), ("asha", {})])
def test_prune_decisions_are_optunas(name: str, options: dict[str, object]) -> None:
    one, _ = search(pruner=name, **options)
    reference = optuna.create_study(
        sampler=make_sampler("random", {}, 1, [X]), pruner=make_pruner(name, options)
    )
    decisions: list[bool] = []
    expected: list[bool] = []
    for trial in range(8):
        asked, other = one.ask(), reference.ask({"x": FloatDistribution(0, 1)})
        for step in range(6):
            value = ((trial * 7 + step * 3) % 11) / 10
            decisions.append(one.report(asked.number, step, value))
            other.report(value, step)
            expected.append(other.should_prune())
        one.tell(asked.number, TrialState.COMPLETE, [value])
        reference.tell(other, value)
    assert decisions == expected
    assert any(decisions)


def test_no_pruner_unless_asked_for() -> None:
    one, _ = search()
    assert not one.prunes
    asked = one.ask()
    assert not any(one.report(asked.number, step, 9.9) for step in range(50))


def test_interrupted_parameters_come_first_next_time() -> None:
    one, _ = search()
    asked = one.ask()
    one.try_again(asked.number)
    one.tell(asked.number, TrialState.FAIL)
    assert one.ask().parameters == asked.parameters


def test_a_grid_says_when_it_is_used_up() -> None:
    parameter = SweepParameter("k", IntDistribution(1, 3))
    study = optuna.create_study(sampler=make_sampler("grid", {}, 1, [parameter]))
    one = Search(study, [parameter])
    tried = []
    while not one.exhausted:
        asked = one.ask()
        tried.append(asked.parameters["k"])
        one.tell(asked.number, TrialState.COMPLETE, [1.0])
    assert sorted(tried) == [1, 2, 3]
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 3


def test_a_grid_goes_on_after_its_trials_were_cut_short() -> None:
    parameter = SweepParameter("k", IntDistribution(1, 4))
    study = optuna.create_study(sampler=make_sampler("grid", {}, 1, [parameter]))
    one = Search(study, [parameter])
    for asked in [one.ask() for _ in range(3)]:
        one.try_again(asked.number)
        one.tell(asked.number, TrialState.FAIL)
    assert not one.exhausted
    tried = []
    while not one.exhausted:
        asked = one.ask()
        tried.append(asked.parameters["k"])
        one.tell(asked.number, TrialState.COMPLETE, [1.0])
    assert sorted(tried) == [1, 2, 3, 4]


def test_task_ids_derive_from_the_trial() -> None:
    one, study = search()
    asked = one.ask()
    assert Search(study, [X]).task_id(asked.number) == asked.task_id
    assert len(asked.task_id) == 32
    assert one.ask().task_id != asked.task_id


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpee", {}, "did you mean 'tpe'"),
        ("tpe", {"n_startup_trails": 3}, "sampler.n_startup_trails.*did you mean 'n_startup_trials'"),
        ("nsgaii", {"population_size": 1}, "NSGAIISampler"),
        ("grid", {}, "parameters.x"),
    ],
)
def test_samplers_that_can_not_be(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_sampler(name, options, 1, [X])


def test_pruners_that_can_not_be() -> None:
    with pytest.raises(BadInput, match=r"pruner\.n_warm_up_steps.*n_warmup_steps"):
        make_pruner("median", {"n_warm_up_steps": 1})
    with pytest.raises(BadInput, match="ThresholdPruner"):
        make_pruner("threshold", {})


def test_which_samplers_may_be_asked_ahead() -> None:
    assert ignores_history(make_sampler("random", {}, 1, [X]))
    assert not ignores_history(make_sampler("tpe", {}, 1, [X]))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
def test_several_trials_are_those_of_one_after_the_other(sampler: str) -> None:
    one, several = search(sampler)[0], search(sampler)[0]
    expected = [one.ask() for _ in range(12)]
    found = [*several.ask_several(5), *several.ask_several(1), *several.ask_several(6)]
    assert [asked.parameters for asked in found] == [asked.parameters for asked in expected if asked]
    assert [asked.number for asked in found] == list(range(12))
