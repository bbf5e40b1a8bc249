"""Samplers that look at a part of the trials."""

from __future__ import annotations

import pickle
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from controller import BoundedHistory
from controller.search.parameters import SweepParameter
from controller.search.samplers import ignores_history, make_sampler
from worker.protocol.errors import BadInput

X = SweepParameter("x", FloatDistribution(-5, 5))


class Looking(RandomSampler):
    """Notes which trials it is shown."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.seen: list[int] = []
        self.states: list[TrialState] = []

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        trials = study.get_trials(deepcopy=False)
        self.seen = [trial.number for trial in trials]
        self.states = [trial.state for trial in trials]
        assert study._get_trials(deepcopy=False, use_cache=True) == trials
        finished = study.get_trials(states=(TrialState.COMPLETE,))
        assert [trial.number for trial in finished] == [
            trial.number for trial in trials if trial.state is TrialState.COMPLETE
        ]
        return super().sample_independent(study, trial, param_name, param_distribution)


def ask(study: optuna.Study) -> optuna.Trial:
    return study.ask({"x": FloatDistribution(-5, 5)})


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_newest_the_best_and_the_running_ones_are_seen(direction: str) -> None:
    looking = Looking()
    study = optuna.create_study(sampler=BoundedHistory(looking, newest=100), direction=direction)
    sign = 1 if direction == "minimize" else -1
    running = ask(study)
    for number in range(1, 301):
        # The best are those from 50 to 79, the better the later.
        value = -float(number) if 50 <= number < 80 else float(number)
        study.tell(ask(study), sign * value)
    left = ask(study)
    study.tell(left, state=TrialState.FAIL)
    ask(study)
    best, newest = list(range(55, 80)), list(range(202, 302))
    assert looking.seen == [running.number, *best, *newest, 302]
    assert looking.states.count(TrialState.RUNNING) == 2
    # One that ends late is among the newest by its number alone.
    study.tell(running, sign * 1000.0)
    ask(study)
    assert looking.seen == [*best, *newest, 302, 303]


def test_of_several_objectives_only_the_newest() -> None:
    looking = Looking()
    study = optuna.create_study(
        sampler=BoundedHistory(looking, newest=100), directions=["minimize", "minimize"]
    )
    for number in range(150):
        study.tell(ask(study), [float(number), 0.0])
    ask(study)
    assert looking.seen == list(range(50, 151))


def test_feasible_ones_are_better() -> None:
    looking = Looking()
    study = optuna.create_study(sampler=BoundedHistory(looking, newest=100))
    for number in range(200):
        trial = ask(study)
        if number < 40:
            trial.set_constraint("0", 1.0 if number % 2 else -1.0)
        study.tell(trial, -1000.0 + number if number < 40 else float(number))
    ask(study)
    # 20 feasible ones of the first 40, and then the smallest values.
    assert looking.seen[:25] == [*range(0, 40, 2), 40, 41, 42, 43, 44]


def test_within_the_bound_it_suggests_what_it_would_without() -> None:
    def suggested(sampler: BaseSampler) -> list[float]:
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda trial: trial.suggest_float("x", -5, 5) ** 2, n_trials=60)
        return [trial.params["x"] for trial in study.trials]

    assert suggested(BoundedHistory(TPESampler(seed=1))) == suggested(TPESampler(seed=1))


def test_it_can_be_kept() -> None:
    sampler = pickle.loads(pickle.dumps(BoundedHistory(TPESampler(seed=1), newest=150)))
    study = optuna.create_study(sampler=sampler)
    study.tell(ask(study), 1.0)
    sampler.reseed_rng()
    assert not ignores_history(sampler)


@pytest.mark.parametrize("history", [99, 0, -5, 100.5, True, "500"])
def test_a_bound_that_cannot_be(history: Any) -> None:
    with pytest.raises(BadInput, match=r"sampler\.history: a number of trials, at least 100"):
        make_sampler("tpe", {"history": history}, 1, [X])


def test_who_has_no_use_for_it_says_so() -> None:
    with pytest.raises(BadInput, match=r"sampler\.history: random has no use for it; tpe and gp have"):
        make_sampler("random", {"history": 500}, 1, [X])
    with pytest.raises(BadInput, match="histroy"):
        make_sampler("tpe", {"histroy": 500}, 1, [X])
