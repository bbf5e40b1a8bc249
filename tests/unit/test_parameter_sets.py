"""`ParameterSet`: sets without names, sets in sets, and what can't be one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from controller.search.parameters import (
    DiscreteParameterRange,
    Parameter,
    ParameterSet,
    UniformIntegerParameterRange,
    UniformParameterRange,
    rows_of,
)
from controller.search.samplers import grid, make_sampler
from controller.search.search import Search
from controller.search.sets import apart
from controller.session.fingerprint import fingerprint
from worker.protocol.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

Row = tuple[tuple[str, Any], ...]


def flat(row: dict[str, Any]) -> Row:
    return tuple(sorted(row.items()))


def product(space: Sequence[Parameter]) -> list[Row]:
    """ClearML's grid: each combination of the parameters' values."""
    lists = [parameter.to_list() for parameter in space]
    return [flat({k: v for part in state for k, v in part.items()}) for state in itertools.product(*lists)]


def searched(space: Sequence[Parameter], kind: str) -> list[Row]:
    """All that a search asks for until nothing is left."""
    given = apart("here", space)
    parameters = rows_of(given) if kind == "grid" else given
    sampler = make_sampler(kind, {}, 1, parameters)
    search = Search(optuna.create_study(sampler=sampler), parameters)
    found = []
    while True:
        asked = search.ask()
        if asked is None:
            break
        found.append(flat(asked.parameters))
        search.tell(asked.number, optuna.trial.TrialState.COMPLETE, [1.0])
    return found


def two(name: str, values: Sequence[Any], /, **more: Any) -> ParameterSet:
    return ParameterSet([{name: value} for value in values], **more)


SPACES: dict[str, Callable[[], list[Parameter]]] = {
    "two of two": lambda: [two("a", [1, 2]), two("c", [10, 20])],
    "two and three": lambda: [two("a", [1, 2]), two("c", [10, 20, 30])],
    "three and two": lambda: [two("a", [1, 2, 3]), two("c", [10, 20])],
    "three sets": lambda: [two("a", [1, 2]), two("b", [1, 2, 3]), two("c", ["x", "y"])],
    "one and a name": lambda: [two("a", [1, 2], name="first"), two("c", [10, 20, 30])],
    "the stopgap's name": lambda: [two("a", [1, 2, 3]), two("c", [10, 20], name="parameter_set")],
    "one of one": lambda: [two("a", [1]), two("c", [10, 20])],
    "beside ranges": lambda: [
        two("a", [1, 2]), UniformIntegerParameterRange("n", 1, 3), two("c", [10, 20]),
        DiscreteParameterRange("d", ["u", None]),
    ],
    "other names in each": lambda: [
        ParameterSet([{"a": 1, "b": 2}, {"c": 3}]), ParameterSet([{"d": 1}, {"e": 2, "f": 3}, {}]),
    ],
    "ranges inside": lambda: [
        ParameterSet([{"a": DiscreteParameterRange("a", [1, 2]), "b": DiscreteParameterRange("b", [2, 3])},
                      {"a": DiscreteParameterRange("a", [5])}]),
        ParameterSet([{"c": UniformParameterRange("c", 0, 0.3, step_size=0.1)}, {"c": 7}]),
    ],
    "a key that is not the range's name": lambda: [
        ParameterSet([{"key": DiscreteParameterRange("a", [1, 2])}, {"a": 3}]), two("c", [10, 20]),
    ],
    "sets inside": lambda: [
        ParameterSet([
            {"opt": "sgd", "inner": two("m", [0.1, 0.9]), "other": two("n", [1, 2, 3])},
            {"opt": "adam", "inner": ParameterSet([{"b": 1, "deep": two("d", [4, 5])}, {"b": 2}])},
        ]),
        two("c", [10, 20]),
    ],
    "values of other types": lambda: [
        two("a", [[1, 2], (3, 4), {"k": 1}, None, True]), two("c", [Path("x"), "y", 0.5]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["grid", "random", "tpe"])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_sets_are_independent_of_each_other(space: Callable[[], list[Parameter]], kind: str) -> None:
    assert sorted(map(repr, searched(space(), kind))) == sorted(map(repr, product(space())))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_what_is_known_of_a_trial_is_found_again(space: Callable[[], list[Parameter]]) -> None:
    parameters = apart("here", space())

    def search(seed: int) -> Search:
        sampler = optuna.samplers.RandomSampler(seed=seed)
        return Search(optuna.create_study(sampler=sampler), parameters, allow_duplicates=True)

    first = search(2)
    for seed in range(8):
        asked, second = first.ask(), search(seed)
        assert asked is not None
        second.enqueue(asked.parameters)
        again = second.ask()
        assert again is not None
        assert set(map(repr, asked.parameters.items())) <= set(map(repr, again.parameters.items()))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_search_space_survives_its_dicts(space: Callable[[], list[Parameter]]) -> None:
    again = [Parameter.from_dict(parameter.to_dict()) for parameter in space()]
    assert [p.name for p in apart("here", again)] == [p.name for p in apart("here", space())]
    assert fingerprint([], apart("here", again)) == fingerprint([], apart("here", space()))
    assert product(again) == product(space())


class Powers(Parameter):
    """As a ClearML script writes one of its own."""

    def __init__(self, name: str, most: int) -> None:
        super().__init__(name)
        self.most = most

    def to_list(self) -> list[dict[str, Any]]:
        return [{self.name: [2**n] if n else None} for n in range(self.most)]


@pytest.mark.parametrize("kind", ["grid", "random", "tpe"])
def test_a_parameter_of_ones_own(kind: str) -> None:
    def space() -> list[Parameter]:
        return [two("a", [1, 2]), Powers("p", 3)]

    assert sorted(map(repr, searched(space(), kind))) == sorted(map(repr, product(space())))
    again = Parameter.from_dict(Powers("p", 3).to_dict())
    assert again.to_list() == Powers("p", 3).to_list()
    assert Powers("p", 3).encode({"p": [4]}) == {"p": "[4]"}
    with pytest.raises(BadInput, match="parameter x: Parameter has no to_list"):
        searched([Parameter("x")], kind)


def test_names_for_the_sampler() -> None:
    def names(*given: str | None) -> list[str]:
        sets = [two(f"p{place}", [1, 2], name=name) for place, name in enumerate(given)]
        return [parameter.name for parameter in apart("here", sets)]

    assert names(None) == ["parameter_set"]  # as ever: studies of earlier versions go on
    assert names(None, None, None) == ["parameter_set", "parameter_set 2", "parameter_set 3"]
    assert names(None, "parameter_set", None) == ["parameter_set 2", "parameter_set", "parameter_set 3"]
    assert names("one", None) == ["one", "parameter_set"]
    mine = two("a", [1, 2])
    assert apart("here", [two("b", [1]), mine])[1].name != mine.name == "parameter_set"  # mine stays mine


def test_a_seed_does_not_tie_sets_together() -> None:
    sets = [two("a", [1, 2]), two("c", [1, 2])]
    for parameter in sets:
        parameter.seed(1)
    drawn = [tuple(v for p in sets for v in p.get_value().values()) for _ in range(60)]
    assert set(drawn) == {(1, 1), (1, 2), (2, 1), (2, 2)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: apart("here", [two("a", [1]), two("a", [2])]), "here: General/a is given twice"),
        (lambda: apart("here", [two("a", [1]), UniformParameterRange("General/a", 0, 1)]), "General/a is given"),
        (lambda: apart("here", [two("a", [1], name="s"), two("b", [2], name="s")]), "here: s is given twice"),
        (lambda: apart("here", [two("a", [1], name="b"), UniformParameterRange("b", 0, 1)]), "b is given twice"),
        (lambda: apart("here", [{"a": 1}]), "{'a': 1} is no parameter; give a UniformParameterRange"),
        (lambda: apart("here", [UniformParameterRange]), "is no parameter"),
        (lambda: apart("here", two("a", [1])), "here: a list of parameter ranges, not"),
        (lambda: apart("here", None), "here: a list of parameter ranges, not None"),
        (lambda: ParameterSet([{"a": 1, "General/a": 2}]), "combination 0: General/a is given twice"),
        (lambda: ParameterSet([{}, {"a": UniformParameterRange("x", 0, 1), "x": 2}]), "combination 1: General/x"),
        (lambda: ParameterSet([{"s": two("a", [1]), "a": 2}]), "combination 0: General/a is given twice"),
        (lambda: ParameterSet([{"a": 1}, ["a", 2]]), "combination 1 must be a dict"),
        (lambda: ParameterSet({"a": 1}), "a list of combinations, not {'a': 1}"),
        (lambda: ParameterSet(None), "a list of combinations, not None"),
        (lambda: ParameterSet([]), "no combinations"),
        (lambda: two("a", [1, print]), "parameter a: JSON can't hold <built-in function print>"),
        (lambda: two("a", [{1, 2}]), "parameter a: JSON can't hold {1, 2}"),
    ],
)  # fmt: skip
def test_what_can_not_be_a_search_space(make: Any, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        make()
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_grid_that_no_sampler_could_hold() -> None:
    space = [UniformParameterRange(name, 0, 1) for name in "abc"]
    with pytest.raises(BadInput, match="the grid has 1030301 points; at most 1000000"):
        grid(space)
    assert len(grid(space[:2])["a"]) == 101
