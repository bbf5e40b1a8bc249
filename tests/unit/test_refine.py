"""The next sweep: what becomes of each range, and a file that can be started."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.insight.importance import Importance
from controller.insight.importance_advice import Advice, Advised
from controller.insight.importance_sample import sample_of
from controller.insight.refine import Refined, refine
from controller.results.study_data import StudyData
from controller.sweep import load_sweep
from controller.sweep.writing import write_sweep
from tests.importance_data import RECORDED, study_of, uniform, unit
from worker.protocol.errors import BadInput


def advised(*advice: Advice) -> Advised:
    found = Importance(
        study="s", objective="loss", trials=60, best=6, parameters=(), pairs=(), predicts=None, notes=()
    )
    return Advised(importance=found, advice=advice)


def refined(data: StudyData, *advice: Advice, **options: Any) -> Refined:
    return refine(sample_of(data), advised(*advice), **options)


def plain() -> StudyData:
    rows = uniform(60, x=(0, 1), y=(0, 1))
    return study_of({"x": unit(), "y": unit()}, rows, lambda row: row["x"] + row["y"])


def conditional() -> StudyData:
    draw = random.Random(3)
    rows: list[dict[str, Any]] = []
    for _ in range(60):
        row: dict[str, Any] = {"opt": draw.choice(["sgd", "adam", "lion"]), "x": draw.random()}
        row |= {"momentum": draw.random()} if row["opt"] == "sgd" else {}
        row |= {"beta": draw.random()} if row["opt"] in ("adam", "lion") else {}
        rows.append(row)
    space = {
        "opt": {"choices": ["sgd", "adam", "lion"]},
        "x": unit(),
        "momentum": unit(when={"opt": ["sgd"]}),
        "beta": unit(when={"opt": ["adam", "lion"]}),
    }
    return study_of(space, rows, lambda row: row["x"])


def test_ranges_are_widened_narrowed_and_fixed() -> None:
    found = refined(
        plain(),
        Advice(kind="widen", parameter="x", text="wider", low=0.0, high=2.0),
        Advice(kind="fix", parameter="y", text="dull", values=(0.25,)),
    )
    assert found.sweep["parameters"] == {
        "x": {"type": "float", "low": 0.0, "high": 2.0},
        "y": {"choices": [0.25]},
    }
    assert found.sweep["study"]["start_from"] == "s"
    assert found.sweep["study"]["name"] == "s-2"
    assert [(one.parameter, one.before, one.after, one.why) for one in found.changes] == [
        ("x", "0.0 to 1.0", "0.0 to 2.0", "wider"),
        ("y", "0.0 to 1.0", "0.25", "dull"),
    ]


def test_the_best_go_on_with_what_was_fixed() -> None:
    data = plain()
    found = refined(data, Advice(kind="fix", parameter="y", text="dull", values=(0.25,)))
    assert (found.known, found.of) == (0, 60)
    best = sorted(
        (dict(task.record.spec.parameters) for task in data.tasks), key=lambda row: sum(row.values())
    )
    assert found.sweep["try"] == [{"x": row["x"], "y": 0.25} for row in best[:3]]


def test_known_trials_are_those_in_the_new_space() -> None:
    data = plain()
    found = refined(data, Advice(kind="narrow", parameter="x", text="", low=0.0, high=0.5))
    inside = [task for task in data.tasks if task.record.spec.parameters["x"] <= 0.5]
    assert (found.known, found.of) == (len(inside), 60)
    # What is known needs no try; what lies outside has none.
    assert all(one["x"] <= 0.5 for one in found.sweep.get("try", []))


def test_no_fix_leaves_what_does_not_matter() -> None:
    found = refined(plain(), Advice(kind="fix", parameter="y", text="dull", values=(0.25,)), fix=False)
    assert found.changes == ()
    assert found.known == 60
    assert found.sweep["parameters"]["y"] == {"type": "float", "low": 0.0, "high": 1.0}


def test_what_depends_on_a_choice_that_goes_goes_too() -> None:
    found = refined(conditional(), Advice(kind="narrow", parameter="opt", text="", values=("adam",)))
    assert found.sweep["parameters"] == {
        "opt": {"choices": ["adam"]},
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "beta": {"type": "float", "low": 0.0, "high": 1.0, "when": {"opt": ["adam"]}},
    }
    momentum = next(one for one in found.changes if one.parameter == "momentum")
    assert (momentum.after, momentum.why) == ("", "what it depends on has changed")


@pytest.mark.parametrize(("taken", "expected"), [((), "s-2"), (("s-2", "s-3"), "s-4")], ids=["free", "taken"])
def test_the_new_name_is_free(taken: tuple[str, ...], expected: str) -> None:
    assert refined(plain(), taken=taken).sweep["study"]["name"] == expected


def test_a_name_with_a_number_counts_on() -> None:
    data = plain()
    found = refined(replace(data, study=replace(data.study, name="deep-7")))
    assert (found.sweep["study"]["name"], found.sweep["study"]["start_from"]) == ("deep-8", "deep-7")
    assert refined(data, name="other").sweep["study"]["name"] == "other"


def test_a_programs_study_is_refused() -> None:
    data = study_of({"x": unit()}, uniform(30, x=(0, 1)), lambda row: row["x"], objective=False)
    with pytest.raises(BadInput, match="was begun by a program, not by a sweep file"):
        refined(data)
    sweep = {**data.study.sweep, "objective": {"optuna": "m:f"}}
    del sweep["parameters"]
    with pytest.raises(
        BadInput, match="its objective chooses the parameters itself: change the ranges in m:f"
    ):
        refined(replace(data, study=replace(data.study, sweep=sweep)))


@pytest.mark.parametrize("ending", [".toml", ".yaml"])
@pytest.mark.parametrize("name", ["boosting", "curves", "digits", "models"])
def test_what_is_written_is_read_again(name: str, ending: str, tmp_path: Path) -> None:
    sweep = load_sweep(RECORDED / f"{name}.toml").to_dict()
    path = tmp_path / f"next{ending}"
    path.write_text(write_sweep(sweep, path, ["first\nline", "second"]))
    assert load_sweep(path).to_dict() == sweep
    assert path.read_text().startswith("# first\\nline\n# second\n")


@pytest.mark.parametrize("ending", [".toml", ".yaml"])
def test_odd_values_are_read_again(ending: str, tmp_path: Path) -> None:
    odd = ['a"b\\c', "\x7f", "tab\t", "新", True, None, 1.5, -0.0, 10**18, [1, "two"], {"a b": {"c.d": 1}}]
    sweep: dict[str, Any] = {
        "study": {"name": 'a "b" #c', "metric": [{"name": "a/b", "goal": "minimize"}] * 1},
        "objective": {"command": ["./train", "--x={x y}"], "env": {"A": "= 'x'"}},
        "parameters": {"x y": {"choices": odd}},
        "try": [{"x y": None}, {"x y": "新"}],
        "budget": {"max_trials": 3, "time_per_trial": 90.0},
    }
    path = tmp_path / f"next{ending}"
    path.write_text(write_sweep(sweep, path))
    read = load_sweep(path).to_dict()
    assert read["parameters"]["x y"]["choices"] == odd
    assert read["try"] == sweep["try"]
    assert read["study"]["name"] == sweep["study"]["name"]
    assert read["budget"]["time_per_trial"] == 90.0


def test_a_number_that_toml_lacks_is_refused() -> None:
    with pytest.raises(BadInput, match=r"write a \.yaml file"):
        write_sweep({"parameters": {"x": {"choices": [2**70]}}}, "next.toml")
