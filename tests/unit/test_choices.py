"""Choices of every JSON type: told apart, kept by Optuna, and handed back as they were given."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy
import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from controller.loop.job_factory import default_name
from controller.search.choices import Choices
from controller.search.parameters import DiscreteParameterRange, Parameter, SweepParameter
from controller.search.samplers import grid, make_sampler
from controller.search.search import Search
from controller.search.trial_cache import cached
from controller.session.fingerprint import fingerprint, is_same
from controller.session.sweep_objects import parameters_of
from controller.sweep import load_sweep, parse_sweep
from worker.protocol import StudyRecord
from worker.protocol.errors import BadInput

HUGE = 2**60 + 1

KINDS: list[list[Any]] = [
    [[64, 64], [128]],
    [[], [[1, [2]], "a"]],
    [None, 3, "None", "null"],
    [None, [1], "null", "[1]"],
    [{"lr": 0.1, "b": [1]}, {"lr": 0.2}, {}],
    [True, 1, 0, False, "true", "1"],
    [[1], [True], [1.5]],
    [HUGE, HUGE + 1, -HUGE],
    [10**400, 1],
    [0.1, 0.1 + 1e-12, 3],
    ["[64, 64]", "[128]"],
]


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type."""
    return json.dumps(one) == json.dumps(other)


@pytest.mark.parametrize("values", KINDS, ids=str)
@pytest.mark.parametrize("storage", ["memory", "sqlite", "journal"])
def test_a_choice_comes_back_as_it_was_given(values: list[Any], storage: str, tmp_path: Path) -> None:
    """Each value is tried once by the grid, also when the study is opened again in the middle."""
    url = {"memory": None, "sqlite": f"sqlite:///{tmp_path}/s.db", "journal": f"journal:///{tmp_path}/s.log"}
    opened: Any = url[storage]
    if storage == "journal":
        backend = optuna.storages.journal.JournalFileBackend(f"{tmp_path}/s.log")
        opened = optuna.storages.JournalStorage(backend)
    parameter = DiscreteParameterRange("x", values)
    sampler = optuna.samplers.GridSampler(grid([parameter]), seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", category=UserWarning)  # Optuna warns of choices that it can't keep
        study = optuna.create_study(storage=opened, study_name="s", sampler=sampler)
        search = Search(cached(study), [parameter], allow_duplicates=True)
        drawn = []
        for place in range(len(values)):
            if place == 1 and opened is not None:
                # As after a kill: the first trial runs still, and has its value again.
                study = optuna.load_study(storage=opened, study_name="s", sampler=sampler)
                search = Search(cached(study), [parameter], allow_duplicates=True)
                again = search.running()
                assert [same(asked.parameters["x"], drawn[0]) for asked in again] == [True]
                search.tell(again[0].number, optuna.trial.TrialState.COMPLETE, [1.0])
            asked = search.ask()
            assert asked is not None
            drawn.append(asked.parameters["x"])
            if place or opened is None:
                search.tell(asked.number, optuna.trial.TrialState.COMPLETE, [1.0])
    assert sorted(map(json.dumps, drawn)) == sorted(map(json.dumps, values))


@pytest.mark.parametrize("values", KINDS, ids=str)
def test_each_value_can_be_asked_for(values: list[Any]) -> None:
    search = Search(optuna.create_study(), [DiscreteParameterRange("x", values)])
    for value in values:
        search.enqueue({"x": value})
    asked = [search.ask() for _ in values]
    assert [json.dumps(trial.parameters["x"]) for trial in asked if trial] == [json.dumps(v) for v in values]
    assert search.ask() is None  # all have been tried: none was taken for another one


@pytest.mark.parametrize("values", KINDS, ids=str)
def test_a_program_and_a_sweep_file_search_the_same(values: list[Any]) -> None:
    ours, file = DiscreteParameterRange("x", values), SweepParameter("x", Choices("x", values))
    assert ours.describe() == file.describe()
    for parameter in (ours, file):
        again = Parameter.from_dict(json.loads(json.dumps(parameter.to_dict())))
        assert again.describe() == parameter.describe()
        assert [json.dumps(row["x"]) for row in again.to_list()] == [json.dumps(value) for value in values]


def test_what_optuna_keeps_by_itself_stays_as_it_was() -> None:
    """Studies that were begun with such choices go on."""
    for values in ([1, 2.5, "a", None], [True, False], [1, 1.0], [HUGE], [3, 3]):
        assert DiscreteParameterRange("x", values).distribution() == CategoricalDistribution(values)
        assert "encoded" not in DiscreteParameterRange("x", values).describe()


def test_a_list_is_not_its_text() -> None:
    lists = DiscreteParameterRange("x", [[64, 64], [128]])
    texts = DiscreteParameterRange("x", ["[64, 64]", "[128]"])
    assert fingerprint([], [lists]) != fingerprint([], [texts])
    # A study that was begun before the two were told apart goes on with what it was begun with.
    record = StudyRecord(
        name="s",
        fingerprint=fingerprint([], [texts]),
        metrics=(),
        sweep={"parameters": {"x": lists.to_dict()}},
        storage="",
        created_at=0.0,
    )
    assert is_same(record, [], [lists])


@pytest.mark.parametrize("values", ["abc", b"abc", {"a": 1}])
def test_values_are_a_list(values: Any) -> None:
    with pytest.raises(BadInput, match="parameter x: values must be a list"):
        DiscreteParameterRange("x", values)


def test_tuples_and_arrays_are_lists() -> None:
    assert DiscreteParameterRange("x", [Path("a/b"), [Path("c")]]).values == ["a/b", ["c"]]
    parameter = DiscreteParameterRange("x", [(3, 3), numpy.array([5, 5]), numpy.float32(0.5), numpy.int64(7)])
    assert parameter.values == [[3, 3], [5, 5], 0.5, 7]
    assert parameter.encode({"x": (5, 5)}) == {"x": "[5, 5]"}
    assert type(parameter.values[3]) is int


def test_a_program_that_changes_its_list_changes_no_other_trial_s() -> None:
    given = [[64, 64], [128]]
    parameter = DiscreteParameterRange("x", given)
    given[0].append(1)
    parameter.decode("[64, 64]").append(2)
    assert parameter.decode("[64, 64]") == [64, 64]
    assert parameter.values == [[64, 64], [128]]


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"x", print, {"a": {1}}], ids=lambda value: type(value).__name__
)
def test_what_json_has_not_is_refused(value: Any) -> None:
    with pytest.raises(
        BadInput, match=r"parameter x: JSON can't hold .* \(it has no \w+\); give text, numbers"
    ):
        DiscreteParameterRange("x", [value])


@pytest.mark.parametrize("value", [[64], "[64, 64]", None, {"a": 1}, 64])
def test_another_value_is_not_possible(value: Any) -> None:
    with pytest.raises(BadInput, match=r"x: .* is not possible; one of \[64, 64\], \[128\]"):
        DiscreteParameterRange("x", [[64, 64], [128]]).encode({"x": value})


TOML = """
[study]
name = "s"
metric = { name = "loss", goal = "minimize" }
[objective]
function = "m:f"
[parameters]
widths = [[64, 64], [128], { none = true }]
opt = { choices = [{ name = "sgd", nesterov = true }, { name = "adam", betas = [0.9, { none = true }] }] }
depth = { choices = [{ none = true }, 3, [1]] }
no = { none = true }
one = [[1, 2]]
flag = [true, 1, false]
momentum = { type = "float", low = 0.0, high = 0.9, when = { opt = { name = "sgd", nesterov = true } } }
rate = { type = "float", low = 0.0, high = 0.5, when = { widths = [[128], { none = true }], flag = 1 } }
[[try]]
widths = [128]
depth = { none = true }
flag = 1
rate = 0.25
[sampler]
type = "partial_fixed"
fixed = { depth = { none = true }, widths = [128] }
[budget]
max_trials = 3
"""

YAML = """
study: {name: s, metric: {name: loss, goal: minimize}}
objective: {function: "m:f"}
parameters:
  widths: [[64, 64], [128], null]
  opt: {choices: [{name: sgd, nesterov: true}, {name: adam, betas: [0.9, ~]}]}
  depth: {choices: [null, 3, [1]]}
  no: [null]
  one: [[1, 2]]
  flag: [true, 1, false]
  momentum: {type: float, low: 0.0, high: 0.9, when: {opt: {name: sgd, nesterov: true}}}
  rate: {type: float, low: 0.0, high: 0.5, when: {widths: [[128], null], flag: 1}}
try: [{widths: [128], depth: null, flag: 1, rate: 0.25}]
sampler: {type: partial_fixed, fixed: {depth: null, widths: [128]}}
budget: {max_trials: 3}
"""


def test_a_sweep_file_writes_them_in_toml_and_yaml(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TOML)
    (tmp_path / "s.yaml").write_text(YAML)
    sweep = load_sweep(tmp_path / "s.toml")
    assert sweep == load_sweep(tmp_path / "s.yaml")
    assert sweep.parameters["widths"].to_dict() == {"choices": [[64, 64], [128], None]}
    assert sweep.tries == ({"widths": [128], "depth": None, "flag": 1, "rate": 0.25},)
    assert sweep.sampler.options["fixed"] == {"depth": None, "widths": [128]}
    assert parse_sweep(json.loads(json.dumps(sweep.to_dict())), "again") == sweep


def test_conditions_and_known_configurations_of_a_sweep_file(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TOML)
    sweep = load_sweep(tmp_path / "s.toml", ["sampler={ type = 'random', seed = 1 }"])
    parameters = parameters_of(sweep)
    search = Search(optuna.create_study(sampler=make_sampler("random", {}, 1, parameters)), parameters)
    search.enqueue(sweep.tries[0])
    first = search.ask()
    assert first is not None
    assert (first.parameters["widths"], first.parameters["rate"], first.parameters["flag"]) == (
        [128],
        0.25,
        1,
    )
    assert first.parameters["flag"] is not True
    for _ in range(60):
        asked = search.ask()
        assert asked is not None
        chosen = asked.parameters
        assert ("momentum" in chosen) is (chosen["opt"]["name"] == "sgd")
        flag_is_one = chosen["flag"] == 1 and chosen["flag"] is not True
        assert ("rate" in chosen) is (chosen["widths"] in ([128], None) and flag_is_one)
        assert chosen["no"] is None
        assert chosen["one"] == [1, 2]


def test_parameters_that_stay(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TOML)
    sweep = load_sweep(tmp_path / "s.toml")
    parameters = parameters_of(sweep)
    sampler = make_sampler(sweep.sampler.type, sweep.sampler.options, 1, parameters)
    search = Search(optuna.create_study(sampler=sampler), parameters)
    for _ in range(10):
        asked = search.ask()
        assert asked is not None
        assert (asked.parameters["depth"], asked.parameters["widths"]) == (None, [128])


@pytest.mark.parametrize(
    ("override", "choices"),
    [
        ("parameters.widths=[[1], [2, 3]]", [[1], [2, 3]]),
        ("parameters.widths=[{ none = true }, 'a']", [None, "a"]),
        ("parameters.widths={ none = true }", [None]),
        ("parameters.widths.choices=[{ a = 1 }]", [{"a": 1}]),
    ],
)
def test_an_override_sets_them(tmp_path: Path, override: str, choices: list[Any]) -> None:
    text = TOML.replace("widths = [[64", "widths.choices = [[64").split("rate = ")[0]
    (tmp_path / "s.toml").write_text(text + "[budget]\nmax_trials = 3\n")
    assert load_sweep(tmp_path / "s.toml", [override]).parameters["widths"].to_dict() == {"choices": choices}


def test_a_job_s_name_stays_short() -> None:
    assert (
        default_name("base", {"x": [64, 64], "y": None, "z": 0.12345}) == "base: x=[64, 64] y=None z=0.1235"
    )
    long = default_name("base", {"x": list(range(1000))})
    assert (len(long), long[-1]) == (len("base: x=") + 60, "…")


LISTS = [DiscreteParameterRange("w", [[64, 64], [128], None]), DiscreteParameterRange("k", ["a", "b"])]
CONDITIONAL = [
    SweepParameter("w", Choices("w", [[64, 64], [128], None])),
    SweepParameter("k", Choices("k", ["a", "b"]), {"w": [[64, 64]]}),
]


@pytest.mark.parametrize("parameters", [LISTS, CONDITIONAL], ids=["plain", "conditional"])
def test_what_others_enqueue_may_be_lists(parameters: list[Parameter], tmp_path: Path) -> None:
    """By Optuna's own `enqueue_trial`, from another process; what the space hasn't is closed, not run."""
    storage = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=storage, study_name="s", sampler=optuna.samplers.RandomSampler(1))
    search = Search(cached(study), parameters)
    first = search.ask()
    assert first is not None
    for given in ({"w": [64, 64], "k": "b"}, {"w": [1]}, {"k": "bogus"}, {"w": "[128]"}, {"w": None}):
        optuna.load_study(study_name="s", storage=storage).enqueue_trial(given)
    asked: list[dict[str, Any]] = []
    while len(asked) < 4:
        found = search.ask()
        if found is None:
            break
        asked.append(found.parameters)
    wanted: list[tuple[Any, Any]] = [([64, 64], "b"), ([128], None), (None, None)]
    for widths, kind in wanted:
        tried = [first.parameters, *asked]
        assert any(each["w"] == widths and kind in (None, each.get("k")) for each in tried)
    search.flush()
    stored = optuna.load_study(study_name="s", storage=storage).get_trials()
    closed = [trial for trial in stored if "optuna-rq:not_run" in trial.user_attrs]
    given = [trial.system_attrs["fixed_params"] for trial in closed]
    for bad in ({"w": [1]}, {"k": "bogus"}):
        assert bad in given or parameters is CONDITIONAL
    assert {trial.state for trial in closed} == {optuna.trial.TrialState.FAIL}
    # A controller that was killed with such a trial in hand goes on.
    study = optuna.load_study(study_name="s", storage=storage)
    study.enqueue_trial({"w": [1]})
    study.ask()
    again = Search(cached(study), parameters)
    adopted = again.running()
    again.flush()
    assert all(each.parameters["w"] in ([64, 64], [128], None) for each in adopted)
    assert study.trials[-1].state is optuna.trial.TrialState.FAIL
    assert study.trials[-1].number not in {each.number for each in adopted}


def test_an_error_of_the_sampler_is_not_taken_for_one() -> None:
    class Broken(optuna.samplers.RandomSampler):
        def sample_independent(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError("broken")

    search = Search(optuna.create_study(sampler=Broken()), LISTS)
    with pytest.raises(ValueError, match="broken"):
        search.ask()
