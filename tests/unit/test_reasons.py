"""Why trials were asked for and given up, as the decision log has it: held against what Optuna itself used."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers._tpe import sampler as optunas_tpe
from optuna.trial import FrozenTrial, TrialState

from controller.search.choices import Choices
from controller.search.decision_log import ASKED, LOG, PRUNED, decisions_of_trial
from controller.search.parameters import SweepParameter
from controller.search.prune_reasons import why_pruned
from controller.search.reason_words import ask_words, prune_words
from controller.search.samplers import make_pruner, make_sampler
from controller.search.search import Search
from controller.search.trial_cache import cached
from worker.trials.history import BoundedHistory

X = SweepParameter("x", FloatDistribution(0, 1))
Y = SweepParameter("y", FloatDistribution(0, 1))
FEW = SweepParameter("c", Choices("c", ["a", "b", "c"]))


def why(study: optuna.Study, number: int, kind: str = ASKED) -> dict[str, Any]:
    """What the log has of a trial, as JSON gives it back."""
    decisions = decisions_of_trial(number, study.trials[number].system_attrs)
    (found,) = [decision.why for decision in decisions if decision.kind == kind]
    return dict(json.loads(json.dumps(dict(found), allow_nan=False)))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_good_trials_are_those_that_tpe_modelled(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With trials that fail, are pruned, or violate a constraint."""
    used: dict[int, list[int]] = {}
    split = optunas_tpe._split_trials

    def spied(study: optuna.Study, trials: list[FrozenTrial], n_below: int) -> Any:
        below, above = split(study, trials, n_below)
        used[len(study.trials) - 1] = [trial.number for trial in below]
        return below, above

    monkeypatch.setattr(optunas_tpe, "_split_trials", spied)
    study = optuna.create_study(direction=direction, sampler=make_sampler("tpe", {}, 3, [X, Y]))
    search, draw = Search(study, [X, Y]), random.Random(direction)
    for place in range(120):
        asked = search.ask()
        assert asked is not None
        if place % 5 == 0:
            search.report(asked.number, draw.randrange(9), draw.choice([draw.random(), math.nan]))
        state = {1: TrialState.FAIL}.get(
            place % 7, TrialState.PRUNED if place % 5 < 2 else TrialState.COMPLETE
        )
        bound = [1.0] if place % 11 == 0 and state is TrialState.COMPLETE else [0.0]
        search.tell(asked.number, state, [draw.random()], bound)
    assert len(used) > 80
    assert {number: sorted(why(study, number)["good"]) for number in used} == used
    ended = [trial for trial in study.trials[:-1] if trial.state is not TrialState.FAIL]
    assert why(study, 119)["n"] == len(ended)
    assert why(study, 119)["together"] == 2


def test_startup_trials_and_bounded_histories() -> None:
    study = optuna.create_study(sampler=BoundedHistory(optuna.samplers.TPESampler(seed=1), 250))
    search = Search(study, [X])
    for place in range(270):
        asked = search.ask()
        assert asked is not None
        search.tell(asked.number, TrialState.COMPLETE, [float(place)])
    assert why(study, 3)["startup"] == 3
    assert why(study, 9)["of"] == 10
    assert "startup" not in why(study, 10)
    assert ask_words(why(study, 3)) == "by TPE: drawn at random, as 3 of the first 10 trials had ended"
    assert (why(study, 269)["n"], why(study, 269)["good"]) == (250, list(range(25)))
    assert ask_words(why(study, 12)).endswith(
        "from 12 trials, 1 parameter together; it took trials 0, 1 for good"
    )


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ("random", "by random search"),
        ("grid", "by the grid: point 2 of 3"),
        ("nsgaii", "by NSGA-II, generation 0, from 1 trial"),
        ("brute_force", "by brute force"),
    ],
)
def test_other_samplers(sampler: str, words: str) -> None:
    study = optuna.create_study(sampler=make_sampler(sampler, {}, 2, [FEW]))
    search = Search(study, [FEW], allow_duplicates=True)
    for _ in range(2):
        asked = search.ask()
        assert asked is not None
        search.tell(asked.number, TrialState.COMPLETE, [1.0])
    if sampler == "grid":
        found = sorted(why(study, number)["point"] for number in range(2))
        assert set(found) <= {0, 1, 2}
        assert why(study, 0)["of"] == 3
    else:
        assert ask_words(why(study, 1)) == words


def test_several_objectives_have_no_order() -> None:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=make_sampler("tpe", {}, 1, [X]))
    search = Search(study, [X])
    for _ in range(12):
        asked = search.ask()
        assert asked is not None
        search.tell(asked.number, TrialState.COMPLETE, [1.0, 2.0])
    assert why(study, 11)["n"] == 11
    assert "good" not in why(study, 11)
    assert "together" not in why(study, 11)


def test_given_parameters_say_who_gave_them() -> None:
    study = optuna.create_study(sampler=make_sampler("random", {}, 1, [X]))
    search = Search(study, [X])
    search.enqueue({"x": 0.1}, "try")
    search.enqueue({"x": 0.2}, "person", "ada@node")
    study.enqueue_trial({"x": 0.3})
    for _ in range(3):
        search.ask()
    search.tell(0, TrialState.FAIL)
    search.retry([0])
    search.try_again(1)
    for _ in range(2):
        search.ask()
    assert [ask_words(why(study, number)) for number in range(5)] == [
        "given by [[try]]",
        "given by a person (ada@node)",
        "enqueued in Optuna's study by somebody else",
        "to run the parameters of failed trial 0 again",
        "to run the parameters of interrupted trial 1 again",
    ]


def test_a_replaced_duplicate_is_named() -> None:
    study = optuna.create_study(sampler=make_sampler("random", {}, 5, [FEW]))
    search = Search(study, [FEW])
    asked = [search.ask() for _ in range(3)]
    assert all(asked)
    reasons = [why(study, one.number) for one in asked if one is not None]
    closed = [number for reason in reasons for number in reason.get("instead", [])]
    assert closed == [t.number for t in study.trials if t.state is TrialState.FAIL]
    assert closed
    replaced = next(reason for reason in reasons if "instead" in reason)
    assert "whose parameters had been tried" in ask_words(replaced)


def test_parameters_chosen_by_themselves_are_named() -> None:
    depends = SweepParameter("m", FloatDistribution(0, 1), {"c": "a"})
    study = optuna.create_study(sampler=make_sampler("tpe", {}, 1, [FEW, X, depends]))
    search = Search(study, [FEW, X, depends], allow_duplicates=True)
    for place in range(30):
        asked = search.ask()
        assert asked is not None
        search.tell(asked.number, TrialState.COMPLETE, [float(place)])
    with_it = [t.number for t in study.trials if "m" in t.params and t.number > 12]
    assert with_it
    assert [why(study, number)["alone"] for number in with_it] == [["m"]] * len(with_it)
    assert "by themselves m" in ask_words(why(study, with_it[0]))


def test_a_study_without_a_log_costs_no_reasons(tmp_path: Any) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/o.db", sampler=optuna.samplers.RandomSampler())
    Search(study, [X]).ask()
    assert LOG not in study.trials[0].system_attrs
    kept = Search(cached(study), [X])
    kept.ask()
    stored = optuna.load_study(study_name=study.study_name, storage=f"sqlite:///{tmp_path}/o.db")
    assert why(stored, 1)["by"] == "random"


def given_up(pruner: str, options: dict[str, Any], direction: str, seed: int) -> optuna.Study:
    """A study whose trials report noisy curves, up to where its pruner gives them up."""
    study = optuna.create_study(
        study_name="s", direction=direction, sampler=make_sampler("random", {}, seed, [X]),
        pruner=make_pruner(pruner, options),
    )  # fmt: skip
    search, draw = Search(study, [X]), random.Random(seed)
    for _ in range(40):
        asked = search.ask()
        assert asked is not None
        for step in range(12):
            value = asked.parameters["x"] + draw.gauss(0, 0.1)
            if search.report(asked.number, step, value):
                search.tell(asked.number, TrialState.PRUNED)
                break
        else:
            search.tell(asked.number, TrialState.COMPLETE, [value])
    return study


PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "median": ("median", {"n_startup_trials": 2, "n_warmup_steps": 1}),
    "percentile": ("percentile", {"percentile": 25.0, "n_startup_trials": 2}),
    "asha": ("asha", {"min_resource": 1, "reduction_factor": 3}),
    "bootstrap": ("asha", {"min_resource": 1, "reduction_factor": 2, "bootstrap_count": 3}),
    "hyperband": ("hyperband", {"min_resource": 1, "max_resource": 12, "reduction_factor": 3}),
    "threshold": ("threshold", {"upper": 0.9, "lower": 0.1}),
    "patient": ("patient", {"patience": 2, "wrapped": {"type": "median", "n_startup_trials": 1}}),
    "wilcoxon": ("wilcoxon", {"n_startup_steps": 2}),
}


def is_worse(one: float, other: float, direction: str) -> bool:
    return one < other if direction == "maximize" else one > other


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("case", PRUNERS)
def test_what_a_pruner_rested_on_leads_to_its_decision(case: str, direction: str) -> None:
    study = given_up(*PRUNERS[case], direction, seed=4)
    pruned = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    assert len(pruned) > 3
    for trial in pruned:
        reason = why(study, trial.number, PRUNED)
        assert reason["step"] == trial.last_step
        last = trial.intermediate_values[reason["step"]]
        assert reason["value"] == pytest.approx(last, rel=1e-5)
        assert str(reason["value"]) in prune_words(reason) or f"{last:.6g}" in prune_words(reason)
        if case == "patient":
            assert is_worse(reason["since"], reason["before"], direction)
            reason = reason["wrapped"]
        if "bound" in reason:
            assert is_worse(reason["best"], reason["bound"], direction)
        elif case == "threshold":
            assert not reason["lower"] <= last <= reason["upper"]
        elif case == "wilcoxon":
            assert reason["p"] < reason["limit"]
            assert study.trials[reason["against"]].state is TrialState.COMPLETE
        else:
            assert reason["place"] > reason["go_on"] or (case == "bootstrap" and reason["n"] <= 3)


def test_the_median_is_that_of_the_trials_before() -> None:
    study = given_up("median", {"n_startup_trials": 2}, "minimize", seed=1)
    for trial in (trial for trial in study.trials if trial.state is TrialState.PRUNED):
        reason = why(study, trial.number, PRUNED)
        step = reason["step"]
        before = [t for t in study.trials[: trial.number] if t.state is TrialState.COMPLETE]
        values = [t.intermediate_values[step] for t in before]
        assert reason["n"] == len(values)
        assert reason["bound"] == pytest.approx(float(np.median(values)), rel=1e-5)
    assert prune_words(reason).endswith(f"the median of {len(values)} trials there is {reason['bound']:.6g}")


def test_a_program_that_reports_no_number_is_given_up_without_one() -> None:
    study = optuna.create_study(pruner=make_pruner("threshold", {"upper": 1.0}))
    search = Search(study, [X])
    search.ask()
    assert search.report(0, 0, math.nan)
    search.tell(0, TrialState.PRUNED)
    reason = why(study, 0, PRUNED)
    assert reason == {"step": 0, "value": None, "by": "threshold", "lower": None, "upper": 1.0}
    assert prune_words(reason) == "not a number; allowed is -∞ to 1"


class Own(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return True


def test_a_pruner_of_a_programs_own_is_named() -> None:
    study = optuna.create_study(pruner=Own())
    trial = study.ask({"c": CategoricalDistribution([1])})
    trial.report(2.0, 3)
    found = why_pruned(study, study.trials[0], 3)
    assert (found, prune_words(found)) == ({"step": 3, "value": 2.0, "by": "Own"}, "2; Own")


@pytest.mark.parametrize(
    "odd", [{}, {"by": 3}, {"by": "tpe", "good": [], "n": "x"}, {"rung": None}, {"p": []}]
)
def test_words_of_what_somebody_else_wrote(odd: dict[str, Any]) -> None:
    """A file may hold anything: there are words for it, or none, and no error."""
    assert isinstance(ask_words(odd), str)
    assert isinstance(prune_words(odd), str)
