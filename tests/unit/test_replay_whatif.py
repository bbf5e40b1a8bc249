"""``controller replay --with``: what another pruner or budget would have made of a study, checked against runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from controller.insight.replay_changes import changes_of
from controller.insight.replay_whatif import what_if
from controller.insight.whatif_result import WhatIf
from controller.search.decision_log import LOG
from tests.replaying import STEPS, Studied, sweep_of
from worker.protocol.errors import BadInput

RANDOM = {"type": "random", "seed": 3}
MEDIAN = {"type": "median", "n_startup_trials": 2}


def studied(folder: Path, trials: int = 14, *, slots: int = 1, **sections: Any) -> Studied:
    """A study that has run; one trial after the other, if not said otherwise."""
    found = Studied(f"journal:///{folder}/{len(list(folder.iterdir()))}")
    found.start(sweep_of(**{"sampler": RANDOM, **sections}))
    found.run(trials, slots)
    found.finish()
    return found


def other(found: Studied, *changed: str) -> WhatIf:
    recorded = found.recorded()
    answer = what_if(recorded, changes_of(recorded, changed))
    assert json.dumps(answer.as_dict())
    assert all(isinstance(line, str) for line in answer.lines())
    return answer


@pytest.mark.parametrize(
    "pruner",
    [None, MEDIAN, {"type": "asha"}, {"type": "hyperband"}],
    ids=lambda given: (given or {}).get("type", "none"),
)
def test_with_what_was_recorded_nothing_is_otherwise(tmp_path: Path, pruner: dict[str, Any] | None) -> None:
    found = studied(tmp_path, slots=3, pruner=pruner, max_trials=14)
    kind = pruner["type"] if pruner else "none"
    changed = [f"pruner.{name}={value}" for name, value in (pruner or {}).items() if name != "type"]
    answer = other(found, f"pruner.type={kind}", *changed, "budget.max_trials=14", "budget.min_iterations=0")
    assert (answer.stopped, answer.not_run, answer.longer, answer.ended) == ((), (), (), None)
    assert (answer.saved_iterations, answer.saved_s, answer.asked_after) == (0, 0.0, 0)
    assert answer.winner is not None
    assert answer.winner.survives
    assert answer.winner.instead == answer.winner.trials
    assert answer.iterations > 14


@pytest.mark.parametrize(
    ("changed", "pruner"),
    [
        (["pruner.type=asha"], {"type": "asha"}),
        (["pruner.type=median", "pruner.n_startup_trials=2"], MEDIAN),
        (["pruner.type=hyperband", "pruner.max_resource=8"], {"type": "hyperband", "max_resource": 8}),
        (["pruner.type=asha", "budget.min_iterations=4"], {"type": "asha", "min_iterations": 4}),
    ],
)
def test_another_pruner_stops_what_it_stops_in_a_run(
    tmp_path: Path, changed: list[str], pruner: dict[str, Any]
) -> None:
    least = pruner.get("min_iterations")
    options = {name: value for name, value in pruner.items() if name != "min_iterations"}
    answer = other(studied(tmp_path), *changed)
    run = studied(tmp_path, pruner=options, **({"min_iterations": least} if least else {}))
    pruned = {
        trial.number: len(trial.intermediate_values)
        for trial in run.stored().trials
        if trial.state is TrialState.PRUNED
    }
    assert pruned
    assert {found.trial: found.iteration for found in answer.stopped} == pruned
    assert answer.saved_iterations == sum(STEPS - iterations for iterations in pruned.values())
    assert answer.iterations == 14 * STEPS
    assert answer.asked_after == 0
    assert answer.winner is not None
    assert answer.winner.instead == (run.stored().best_trial.number,)
    assert answer.winner.survives is (answer.winner.trials == answer.winner.instead)


def test_a_pruner_that_is_left_out(tmp_path: Path) -> None:
    found = studied(tmp_path, pruner=MEDIAN)
    pruned = [trial.number for trial in found.stored().trials if trial.state is TrialState.PRUNED]
    answer = other(found, "pruner.type=none")
    assert pruned
    assert list(answer.longer) == pruned
    assert answer.stopped == ()
    assert any("is not known" in note for note in answer.notes)


def test_half_the_trials(tmp_path: Path) -> None:
    found = studied(tmp_path, max_trials=14)
    answer = other(found, "budget.max_trials=7")
    assert answer.not_run == tuple(range(7, 14))
    assert answer.saved_iterations == 7 * STEPS
    assert answer.ended is not None
    assert (answer.ended.launched, answer.ended.reason) == (7, "all 7 trials created")
    best = min(found.stored().trials[:7], key=lambda trial: trial.value or 0.0)
    assert answer.winner is not None
    assert answer.winner.instead == (best.number,)
    assert answer.winner.survives is (found.stored().best_trial.number < 7)


def test_fewer_iterations_are_what_a_run_with_fewer_has(tmp_path: Path) -> None:
    answer = other(studied(tmp_path), "budget.max_iterations=3")
    run = studied(tmp_path, max_iterations=3).stored()
    assert {(found.iteration, found.of) for found in answer.stopped} == {(3, STEPS)}
    assert len(answer.stopped) == 14
    assert answer.saved_iterations == 14 * (STEPS - 3)
    assert answer.winner is not None
    assert answer.winner.instead == (run.best_trial.number,)
    assert answer.winner.instead_values == ((run.best_value,),)


def test_a_limit_of_iterations_limits_what_pruned_trials_are_charged(tmp_path: Path) -> None:
    """Where a fast program has reported on after the pruner gave it up."""
    found = studied(tmp_path, max_trials=14, max_iterations=STEPS)
    recorded = found.recorded()
    for trial in recorded.trials:
        for entry in trial.system_attrs[LOG]:
            if entry[2] == "told":
                entry[3]["used"] = [STEPS, STEPS, 1.0]
        trial.intermediate_values.clear()
    answer = what_if(recorded, changes_of(recorded, ["budget.max_iterations=2"]))
    assert answer.not_run == ()
    assert answer.ended is None


def test_the_sampler_of_the_time_says_whether_others_might_have_come(tmp_path: Path) -> None:
    """A sweep that was changed in the middle: from TPE to a random search."""
    found = Studied(f"journal:///{tmp_path}/trials")
    found.start(sweep_of(sampler={"type": "tpe", "seed": 1}, pruner=MEDIAN))
    found.run(8, slots=1)
    found.finish()
    found.start(sweep_of(sampler=RANDOM, pruner=MEDIAN))
    found.run(6, slots=1)
    found.finish()
    answer = other(found, "pruner.type=none")
    first = min(answer.longer)
    assert answer.asked_after == 8 - first - 1


def test_failures_end_it_earlier(tmp_path: Path) -> None:
    found = Studied(f"journal:///{tmp_path}/trials", fails=lambda number: number % 3 == 0)
    found.start(sweep_of(sampler=RANDOM))
    found.run(14, 1)
    found.finish()
    answer = other(found, "budget.max_failures=2")
    assert answer.ended is not None
    assert (answer.ended.launched, answer.ended.reason) == (4, "2 trials failed")
    assert answer.not_run == tuple(range(4, 14))


def test_times_are_kept(tmp_path: Path) -> None:
    """Each look at the clock is a second, and so is each report of what a trial has computed."""
    found = studied(tmp_path)
    compute = other(found, "budget.total_compute=20")
    assert compute.ended is not None
    assert compute.ended.reason.startswith("compute-time limit")
    assert len(compute.stopped) == 1
    assert compute.stopped[0].trial == 2
    # Two trials of eight seconds, and four of the third.
    assert compute.saved_s == pytest.approx(14 * STEPS - 20, abs=1.5)
    assert compute.not_run == tuple(range(3, 14))
    wall = other(found, "budget.wall_clock=30")
    assert wall.ended is not None
    assert wall.ended.reason.startswith("wall-clock limit")
    each = other(found, "budget.time_per_trial=4")
    assert len(each.stopped) == 14
    assert {found.reason_class for found in each.stopped} == {"time_limit"}
    assert each.winner is not None
    assert not each.winner.survives
    assert each.winner.instead == ()


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    found = studied(
        tmp_path, sampler={"type": "nsga2", "seed": 3, "population_size": 4}, metrics=2, max_trials=14
    )
    answer = other(found, "budget.max_trials=6")
    front = {trial.number for trial in found.stored().best_trials}
    assert answer.winner is not None
    assert set(answer.winner.trials) == front
    assert set(answer.winner.survive) <= {number for number in front if number < 6}
    with pytest.raises(BadInput, match="2 objectives"):
        other(found, "pruner.type=asha")


def test_no_result_is_no_winner(tmp_path: Path) -> None:
    found = Studied(f"journal:///{tmp_path}/trials", fails=lambda number: True)
    found.start(sweep_of(sampler=RANDOM))
    found.run(4, 1)
    found.finish()
    answer = other(found, "budget.max_trials=2")
    assert answer.winner is None
    assert any("no trial has a result" in line for line in answer.lines())


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ("pruner.typ=asha", "unknown key"),
        ("pruner.type=ahsa", 'did you mean .asha'),
        ("budget.max_trails=3", "did you mean .max_trials"),
        ("budget.max_trials=-3", "--with: budget.max_trials"),
        ("budget.max_trials", "--with budget.max_trials: must be key=value"),
        ("budget.max_concurrent=3", "isn't in the log"),
        ("sampler.type=random", "nobody has computed"),
        ("study.name=x", "a replay can change"),
        ("budget=3", "budget"),
    ],
)  # fmt: skip
def test_what_can_not_be_changed_is_named(tmp_path: Path, changed: str, problem: str) -> None:
    found = studied(tmp_path, 2)
    with pytest.raises(BadInput, match=problem) as refused:
        other(found, changed)
    assert len(refused.value.problems) == 1
