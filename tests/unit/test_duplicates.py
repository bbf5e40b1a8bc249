"""What was tried is not tried again, a small space comes to its end, and what is known beforehand is used."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from controller.search.parameters import (
    DiscreteParameterRange,
    LogUniformParameterRange,
    Parameter,
    ParameterSet,
    SweepParameter,
    UniformIntegerParameterRange,
    UniformParameterRange,
    rows_of,
)
from controller.search.samplers import make_sampler
from controller.search.search import Search
from controller.search.space import points
from controller.search.tried import COPIED, DUPLICATE
from worker.protocol.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

BRANCHES = ParameterSet(
    [
        {"a": UniformIntegerParameterRange("a", 1, 3), "kind": "one"},
        {
            "a": UniformIntegerParameterRange("a", 5, 9, step_size=2),
            "b": DiscreteParameterRange("b", [True, 1]),
        },
    ]
)
WHEN = [
    SweepParameter("opt", CategoricalDistribution(["sgd", "adam"])),
    SweepParameter("momentum", FloatDistribution(0.0, 0.2, step=0.1), {"opt": ["sgd"]}),
]


def run(search: Search, most: int = 200) -> list[dict[str, Any]]:
    """Ask and tell until nothing is left; what the program would have got."""
    found = []
    while len(found) < most:
        asked = search.ask()
        if asked is None:
            break
        found.append(asked.parameters)
        search.tell(asked.number, TrialState.COMPLETE, [float(len(found))])
    return found


def study(parameters: list[Parameter], sampler: str = "tpe") -> optuna.Study:
    return optuna.create_study(sampler=make_sampler(sampler, {}, 3, parameters))


SPACES: dict[str, tuple[list[Parameter], int]] = {
    "choices": ([DiscreteParameterRange("x", ["a", 1, True, None, [1, 2]])], 5),
    "steps": (
        [UniformParameterRange("x", 0.0, 0.3, step_size=0.1), UniformIntegerParameterRange("n", 1, 3)],
        12,
    ),
    "log": ([LogUniformParameterRange("x", -3, -1, step_size=1)], 3),
    "set": ([BRANCHES], 9),
    "when": (list(WHEN), 4),
    "one": ([DiscreteParameterRange("x", ["only"])], 1),
}


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "brute_force"])
@pytest.mark.parametrize("space", list(SPACES))
def test_a_finite_space_is_run_once_and_then_exhausted(space: str, sampler: str) -> None:
    parameters, size = SPACES[space]
    every = points(parameters)
    assert every is not None
    assert len(every) == size
    search = Search(study(parameters, sampler), parameters)
    found = run(search)
    assert len(found) == len({repr(sorted(row.items())) for row in found}) == size
    assert search.exhausted
    assert search.ask() is None


@pytest.mark.parametrize("space", ["choices", "steps", "log", "set"])
def test_a_grid_is_run_once(space: str) -> None:
    parameters = rows_of(SPACES[space][0])
    search = Search(study(parameters, "grid"), parameters)
    assert len(run(search)) == SPACES[space][1]
    assert search.exhausted


def test_a_continuous_space_has_no_points() -> None:
    assert points([UniformParameterRange("x", 0, 1)]) is None
    assert points([UniformIntegerParameterRange("x", 1, 10**9)]) is None
    assert (
        points([UniformIntegerParameterRange("x", 1, 100), UniformIntegerParameterRange("y", 1, 100)]) is None
    )


def test_duplicates_are_asked_for_where_objectives_are_noisy() -> None:
    parameters: list[Parameter] = [DiscreteParameterRange("x", ["only"])]
    search = Search(study(parameters), parameters, allow_duplicates=True)
    assert len(run(search, most=7)) == 7
    assert not search.exhausted


def test_what_is_running_is_not_asked_for_again() -> None:
    parameters: list[Parameter] = [UniformIntegerParameterRange("n", 1, 4)]
    search = Search(study(parameters), parameters)
    asked = [search.ask() for _ in range(4)]
    assert sorted(one.parameters["n"] for one in asked if one) == [1, 2, 3, 4]
    assert search.ask() is None


def test_after_a_restart_and_after_an_interruption() -> None:
    parameters: list[Parameter] = [UniformIntegerParameterRange("n", 1, 4)]
    optunas = study(parameters)
    first = Search(optunas, parameters)
    done, cut, failed = (first.ask() for _ in range(3))
    assert done
    assert cut
    assert failed
    first.tell(done.number, TrialState.COMPLETE, [1.0])
    first.tell(failed.number, TrialState.FAIL)
    first.try_again(cut.number)
    first.tell(cut.number, TrialState.FAIL)
    discarded = first.ask()
    assert discarded
    assert discarded.parameters == cut.parameters
    first.discard(discarded.number)
    again = Search(optunas, parameters)
    left = run(again)
    expected = {1, 2, 3, 4} - {done.parameters["n"], failed.parameters["n"]}
    assert {row["n"] for row in left} == expected
    assert len(left) == 2


def test_known_configurations_come_first_and_once() -> None:
    parameters: list[Parameter] = [*WHEN, UniformParameterRange("lr", 0.0, 1.0)]
    optunas = study(parameters)
    search = Search(optunas, parameters)
    search.enqueue({"opt": "sgd", "momentum": 0.1, "lr": 0.5})
    search.enqueue({"opt": "adam"})
    asked = [search.ask() for _ in range(3)]
    assert asked[0]
    assert asked[1]
    assert asked[0].parameters == {"opt": "sgd", "momentum": 0.1, "lr": 0.5}
    assert asked[1].parameters["opt"] == "adam"
    # Given again, as after a restart, it is not run again.
    Search(optunas, parameters).enqueue({"opt": "sgd", "momentum": 0.1, "lr": 0.5})
    assert not optunas.get_trials(states=(TrialState.WAITING,))
    for wrong, said in (
        ({"momentun": 0.1}, "did you mean 'momentum'"),
        ({"lr": 2.0}, "from 0.0 to 1.0"),
        ({"momentum": 0.15}, "in steps of 0.1"),
        ({"opt": "adamw"}, "one of 'sgd', 'adam'"),
    ):
        with pytest.raises(BadInput, match=said):
            search.enqueue(wrong)


def test_a_tried_point_is_not_run_again_by_the_grid() -> None:
    parameters: list[Parameter] = [UniformIntegerParameterRange("n", 1, 3)]
    search = Search(study(parameters, "grid"), parameters)
    search.enqueue({"n": 2})
    found = run(search)
    assert found[0] == {"n": 2}
    assert sorted(row["n"] for row in found) == [1, 2, 3]


@pytest.mark.parametrize("space", list(SPACES))
def test_encoding_is_the_inverse_of_suggesting(space: str) -> None:
    parameters, _ = SPACES[space]
    search = Search(study(parameters), parameters)
    for row in run(search):
        encoded: dict[str, Any] = {}
        for parameter in parameters:
            encoded.update(parameter.encode(row))
        again = Search(study(parameters), parameters)
        again.study.enqueue_trial(encoded)
        asked = again.ask()
        assert asked
        assert asked.parameters == row


def test_the_trials_of_an_older_study_are_known() -> None:
    parameters: list[Parameter] = [
        UniformParameterRange("x", 0.0, 0.5),
        UniformIntegerParameterRange("n", 1, 3),
    ]
    older = optuna.create_study(study_name="older")
    for x, n, state in (
        (0.25, 2, TrialState.COMPLETE),
        (0.75, 2, TrialState.COMPLETE),  # out of range here
        (0.1, 3, TrialState.PRUNED),
        (0.1, 1, TrialState.FAIL),
    ):
        older.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=x if state is TrialState.COMPLETE else None,
                params={"x": x, "n": n},
                distributions={"x": FloatDistribution(0, 1), "n": IntDistribution(1, 9)},
                intermediate_values={0: x},
            )
        )
    optunas = study(parameters)
    search = Search(optunas, parameters)
    assert search.start_from(older) == (2, 1)
    assert search.start_from(older) == (2, 1)
    assert [trial.user_attrs[COPIED] for trial in optunas.trials] == ["older/0", "older/2"]
    assert search.running() == []
    # Known to the sampler, but not run here yet.
    search.enqueue({"x": 0.25, "n": 2})
    with pytest.raises(BadInput, match="other directions"):
        search.start_from(optuna.create_study(direction="maximize"))


def test_the_feasible_region_is_preferred() -> None:
    """Lower is better, but with the constraint what is below one half is infeasible."""
    near = {}
    for constrained in (False, True):
        parameters: list[Parameter] = [UniformParameterRange("x", 0.0, 1.0)]
        optunas = optuna.create_study(sampler=make_sampler("tpe", {"n_startup_trials": 8}, 1, parameters))
        search = Search(optunas, parameters)
        chosen = []
        for _ in range(50):
            asked = search.ask()
            assert asked
            x = asked.parameters["x"]
            chosen.append(x)
            search.tell(asked.number, TrialState.COMPLETE, [x], [0.5 - x] if constrained else None)
        near[constrained] = sum(x >= 0.3 for x in chosen[20:])
        if constrained:
            assert 0.5 <= optunas.best_trial.params["x"] < 0.6
    assert near[True] > 20 > near[False]


def test_duplicates_are_marked_in_optunas_study() -> None:
    parameters: list[Parameter] = [UniformIntegerParameterRange("n", 1, 800)]  # not enumerated beforehand
    optunas = study(parameters, "random")
    search = Search(optunas, parameters)
    found = run(search, most=100)
    assert len({row["n"] for row in found}) == 100
    for trial in optunas.trials:
        if DUPLICATE in trial.user_attrs:
            assert trial.state is TrialState.FAIL
            assert optunas.trials[trial.user_attrs[DUPLICATE]].params == trial.params


def test_a_large_space_is_not_exhausted_by_a_sampler_that_repeats_itself() -> None:
    """Too many points to count: a random one that no trial has had takes a duplicate's place."""

    class Stuck(optuna.samplers.RandomSampler):
        def sample_independent(self, *given: Any, **more: Any) -> Any:
            return 7

    space = [SweepParameter(name, IntDistribution(0, 99)) for name in "abc"]
    search = Search(optuna.create_study(sampler=Stuck()), space)
    seen = set()
    for _ in range(20):
        asked = search.ask()
        assert asked is not None
        seen.add(tuple(asked.parameters.values()))
        search.tell(asked.number, TrialState.COMPLETE, [1.0])
    assert len(seen) == 20
