"""Rules that end a study which has done enough: how they are read, counted, kept through a restart, and said."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from controller import Objective
from controller.loop.state import checked_stop_when
from controller.loop.stopping import Stopping
from controller.results.course import PLATEAU, Course, plateau
from controller.results.study_data import TaskData
from controller.search import regret
from controller.search.regret import FIRST, Estimate, RegretBound
from controller.sweep import parse_sweep
from controller.sweep.stop_rules import NoImprovement, Reached, RegretBelow, StopRule, read_rule
from tests.fakes import record
from tests.loop_parts import STUDY, LoopParts
from tests.study_data import LOSS, SIZE
from worker.protocol import Reason, Status, StudyRecord, Summary
from worker.protocol.errors import BadInput

SWEEP = {
    "study": {"name": "s", "metric": {"name": "loss", "goal": "minimize"}},
    "objective": {"function": "a:b"},
    "parameters": {"x": {"type": "float", "low": 0, "high": 1}},
}


# Reading


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("no improvement in 50 trials", NoImprovement(trials=50)),
        ("No  improvement for 1 trial", NoImprovement(trials=1)),
        ("no improvement of 1e-3 in 50 trials", NoImprovement(trials=50, least=0.001)),
        ("value >= 0.99", Reached(metric="value", sign=">=", bound=0.99)),
        ("VALUE≤-1e3", Reached(metric="value", sign="<=", bound=-1000)),
        ("accuracy/validation > .5", Reached(metric="accuracy/validation", sign=">", bound=0.5)),
        ("regret below 0.001", RegretBelow(below=0.001)),
    ],
)
def test_what_is_read(text: str, rule: StopRule) -> None:
    assert read_rule(text) == rule
    assert read_rule(str(rule)) == rule


def problems_of(stop_when: Any, **changes: Any) -> list[str]:
    sweep = {**SWEEP, "budget": {"max_trials": 9, "stop_when": stop_when}, **changes}
    try:
        parse_sweep(sweep, "f")
    except BadInput as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    ("stop_when", "problem"),
    [
        ("no improvment in 5 trials", 'stop_when: must be such as "no improvement in 50 trials"'),
        ("no improvement in 0 trials", "at least 1, got 0"),
        ("no improvement in 2.5 trials", "must be a whole one"),
        ("no improvement in 5 minutes", "must be such as"),
        ("no improvement of -1 in 5 trials", "an improvement is above 0"),
        ("value == 0.5", "write >= or <="),
        ("value <= 1e999", "too large"),
        ("value >= 0.5", '"loss" is minimized: write value <= 0.5'),
        ("los <= 0.5", 'did you mean "loss"?'),
        ("regret below 0", "give a number above 0"),
        (["value <= 0.5", "x"], "budget.stop_when[1]: must be such as"),
        ([5], "must be text, got 5; put it in quotes"),
    ],
)
def test_what_can_not_be_read_is_said(stop_when: Any, problem: str) -> None:
    found = problems_of(stop_when)
    assert len(found) == 1
    assert problem in found[0]


BOTH = {"name": "s", "metric": [{"name": "a", "goal": "maximize"}, {"name": "b", "goal": "minimize"}]}


@pytest.mark.parametrize(
    ("stop_when", "study", "problem"),
    [
        ("value >= 1", BOTH, 'which of the objectives? write "a >= 1"'),
        ("b >= 1", BOTH, '"b" is minimized: write b <= 1'),
        ("no improvement of 0.1 in 5 trials", BOTH, "of several objectives"),
        ("regret below 1", BOTH, "knows a single objective"),
        (
            "regret below 1",
            {**SWEEP["study"], "constraints": [{"name": "m", "max": 1}]},
            "knows no constraints",
        ),
    ],
)
def test_what_does_not_fit_the_study_is_said(stop_when: str, study: dict[str, Any], problem: str) -> None:
    assert problem in problems_of(stop_when, study=study)[0]


def test_what_optunas_terminator_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    assert "needs torch, which isn't installed: pip install torch" in problems_of("regret below 1")[0]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert problems_of("regret below 1") == []
    parameters = {
        "o": {"choices": ["a", "b"]},
        "x": {"type": "float", "low": 0, "high": 1, "when": {"o": "a"}},
    }
    assert "some trials lack (x)" in problems_of("regret below 1", parameters=parameters)[0]


def test_a_plateau_is_an_end_a_value_may_never_come() -> None:
    parse_sweep({**SWEEP, "budget": {"stop_when": "no improvement in 5 trials"}}, "f")
    with pytest.raises(BadInput, match=r'"value <= 0.5" may never hold: set budget.max_trials'):
        parse_sweep({**SWEEP, "budget": {"stop_when": "value <= 0.5"}}, "f")


def test_a_program_gives_rules_too() -> None:
    given = {"objective_metric": Objective("loss", "", "max"), "constraints": ()}
    assert checked_stop_when({**given, "stop_when": "loss >= 2"})
    with pytest.raises(BadInput, match="stop_when: no objective is called"):
        checked_stop_when({**given, "stop_when": ["los >= 2"]})


# Counting


def ended(
    trial: int, *values: float, status: Status = Status.COMPLETED, why: Reason | None = None
) -> TaskData:
    metrics = (LOSS, SIZE)[: len(values)]
    scalars = {
        metric.key: Summary.of(metric.title, metric.series).add(value, 0)
        for metric, value in zip(metrics, values, strict=True)
    }
    made = record(status=status, reason_class=why, trial=trial)
    return TaskData(record=made, scalars=scalars)


def test_trials_since_the_best_are_counted() -> None:
    course = Course([LOSS])
    for trial, value in enumerate([3.0, 2.0, 2.0, 5.0]):
        course.add(ended(trial, value))
    course.add(ended(4, status=Status.FAILED, why=Reason.OBJECTIVE_ERROR))
    course.add(ended(5, 1.0, status=Status.FAILED, why=Reason.OBJECTIVE_ERROR))  # no result
    course.add(ended(6, 2.5, status=Status.STOPPED, why=Reason.PRUNED))
    for again in (Reason.STUDY_STOPPED, Reason.MACHINE_FAULT):  # these run again
        course.add(ended(7, 0.0, status=again.status, why=again))
    assert course.to_dict() == {"ended": 7, "since": 5, "failed": 2, "best": 2.0, "trial": 1}
    assert course.said("loss") == (
        "the best is loss 2 of trial 1; 5 of 7 trials have ended since, 2 of them failed"
    )
    assert course.add(ended(8, 0.5, status=Status.STOPPED, why=Reason.PRUNED))  # `top` ranks it first
    assert course.since == course.failed == 0


def test_an_improvement_may_have_to_be_large() -> None:
    course = Course([LOSS], least=0.5)
    for trial, value in enumerate([2.0, 1.75, 1.5, 1.25]):
        course.add(ended(trial, value))
    assert (course.best, course.since) == (1.25, 0)  # 2.0 until then
    course.add(ended(4, 1.0))
    assert (course.best, course.since) == (1.25, 1)


def test_several_objectives_improve_with_their_front() -> None:
    course = Course([LOSS, SIZE])  # the less, the more
    assert course.add(ended(0, 1.0, 1.0))
    assert course.add(ended(1, 2.0, 2.0))
    assert not course.add(ended(2, 2.0, 1.5))
    assert not course.add(ended(3, 2.0, 2.0))
    assert course.add(ended(4, 0.5, 3.0))
    assert not course.add(ended(5, 1.0, 2.0))
    assert "the front that trial 4 has joined last; 1 of 6" in course.said("loss")


def study_of(**course: Any) -> StudyRecord:
    known = {"ended": 2 * PLATEAU, "since": PLATEAU, "failed": 0, "best": 0.25, "trial": PLATEAU - 1}
    return StudyRecord(name="s", created_at=1.0, metrics=(LOSS,), course={**known, **course})


def test_a_plateau_is_advice() -> None:
    found = plateau(study_of())
    assert found is not None
    assert (found["since"], found["ended"], found["chance"]) == (PLATEAU, 2 * PLATEAU, 0.333)
    assert "loss 0.25 of trial 29 is the best" in found["advice"]
    assert plateau(study_of(since=PLATEAU - 1)) is None
    assert plateau(study_of(ended=2 * PLATEAU + 1)) is None
    asked = {"no_improvement": {"used": 30, "limit": 50}}
    assert plateau(replace(study_of(), budget=asked)) is None
    assert plateau(replace(study_of(), course={})) is None  # an earlier version ran it
    assert plateau(study_of(since="30", best="x")) is None


# In the loop


def stopping_of(parts: LoopParts, *texts: str) -> Stopping:
    settings = replace(parts.context.settings, stop_when=tuple(read_rule(text) for text in texts))
    return Stopping(replace(parts.context, settings=settings))


def told(parts: LoopParts, stopping: Stopping, *values: float) -> None:
    for value in values:
        stopping.take(parts.ended(value))


def test_a_rule_ends_the_study_with_its_numbers(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    stopping = stopping_of(parts, "value <= 0.5", "no improvement in 3 trials")
    told(parts, stopping, 2.0, 3.0, 3.0)
    assert parts.budget.exceeded() is None
    assert parts.budget.to_dict()["no_improvement"] == {
        "used": 2, "reserved": 0, "limit": 3, "unit": "trials",
    }  # fmt: skip
    told(parts, stopping, 2.0)
    verdict = parts.budget.exceeded()
    assert verdict is not None
    assert verdict.final
    assert verdict.stop
    assert verdict.reason == (
        "no improvement in 3 trials: the best is loss 2 of trial 0; 3 of 4 trials have ended since"
    )
    assert verdict.numbers == {
        "rule": "no improvement in 3 trials", "ended": 4, "since": 3, "failed": 0, "best": 2.0, "trial": 0,
    }  # fmt: skip
    assert not parts.budget.may_create().ok
    parts.progress.save()
    assert parts.store.studies.get(STUDY).course["since"] == 3


def test_a_value_that_is_reached_ends_it(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    stopping = stopping_of(parts, "loss < 0.5")
    told(parts, stopping, 0.5)
    assert not parts.budget.enough
    told(parts, stopping, 0.25)
    assert parts.budget.enough == "loss < 0.5: trial 1 has loss 0.25"


def test_the_next_controller_counts_on(redis_url: str, tmp_path: Path) -> None:
    parts = LoopParts(redis_url, tmp_path)
    first = stopping_of(parts, "no improvement in 4 trials")
    told(parts, first, 2.0, 1.0, 3.0, 3.0)
    untold = parts.ended(3.0)
    closed = [one for one in parts.store.tasks.get_many(parts.store.studies.tasks(STUDY)) if one is not None]
    assert len(closed) == 5
    parts.budget.no_improvement.update("study", 0)
    second = stopping_of(parts, "no improvement in 4 trials")
    second.begin(parts.progress.record, closed[::-1], {untold.task_id()})
    assert second.course.to_dict() == first.course.to_dict()
    assert not parts.budget.enough
    second.take(untold)
    told(parts, second, 3.0)
    assert parts.budget.enough.startswith("no improvement in 4 trials: the best is loss 1 of trial 1;")


def test_only_how_it_stands_now_ends_a_study_that_goes_on(redis_url: str, tmp_path: Path) -> None:
    """Its best came after a plateau that no rule had forbidden then."""
    parts = LoopParts(redis_url, tmp_path)
    told(parts, stopping_of(parts), 2.0, 3.0, 3.0, 3.0, 1.0)
    closed = [one for one in parts.store.tasks.get_many(parts.store.studies.tasks(STUDY)) if one is not None]
    later = stopping_of(parts, "no improvement in 3 trials")
    later.begin(parts.progress.record, closed, ())
    assert not parts.budget.enough
    again = stopping_of(parts, "value <= 1")
    again.begin(parts.progress.record, closed, ())
    assert parts.budget.enough == "value <= 1: trial 4 has loss 1"


# Regret


def random_study(trials: int) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1) - 0.3) ** 2, n_trials=trials)
    return study


def test_the_regret_is_estimated_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is not kept waiting, and the cost of a trial stays the same."""
    study, calls = random_study(2), []

    def stand_in(bound: object, trials: list[Any], direction: object) -> Estimate:
        calls.append(len(trials))
        return Estimate(regret=1 / len(calls), trials=len(trials), used=len(trials))

    monkeypatch.setattr(regret, "estimate", stand_in)
    bound, at = RegretBound(study), []
    for complete in range(2_000):
        before = len(calls)
        bound.look(complete)
        bound.join(10)
        if len(calls) > before:
            at.append(complete)
    assert at[:3] == [FIRST, FIRST + 5, FIRST + 10]
    assert len(at) < 60
    assert bound.look(0) == Estimate(regret=1 / len(at), trials=2, used=2)


def test_a_regret_that_can_not_be_estimated_is_said_once(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(bound: object, trials: object, direction: object) -> Estimate:
        raise ValueError("no space")

    monkeypatch.setattr(regret, "estimate", fails)
    parts = LoopParts(redis_url, tmp_path)
    stopping = stopping_of(parts, "regret below 1")
    told(parts, stopping, *[1.0] * FIRST)
    stopping.look()
    stopping.join(10)
    stopping.look()
    stopping.look()
    assert [note for note in parts.observer.notes if "regret" in note] == [
        "the regret can't be estimated, it ends nothing: ValueError: no space"
    ]
    assert not parts.budget.enough


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="Optuna's terminator needs torch")
def test_optunas_bound_comes_down() -> None:
    trials = random_study(60).get_trials(deepcopy=False)
    few, many = (
        regret.estimate(regret.evaluator(), trials[:count], optuna.study.StudyDirection.MINIMIZE)
        for count in (20, 60)
    )
    assert (few.used, many.used) == (20, 30)
    assert 0 < many.regret < few.regret


@pytest.mark.parametrize("maximizes", [False, True])
def test_an_estimate_rests_on_the_best(maximizes: bool) -> None:
    given: list[list[float]] = []

    class Bound:
        def evaluate(self, trials: list[Any], direction: object) -> float:
            given.append(sorted(trial.value for trial in trials))
            return 0.5

    trials = random_study(400).get_trials(deepcopy=False)
    direction = optuna.study.StudyDirection.MAXIMIZE if maximizes else optuna.study.StudyDirection.MINIMIZE
    found = regret.estimate(Bound(), trials, direction)  # type: ignore[arg-type] # a stand-in
    assert found == Estimate(regret=0.5, trials=400, used=regret.MOST)
    values = sorted(trial.value for trial in trials)
    assert given == [values[-regret.MOST :] if maximizes else values[: regret.MOST]]
