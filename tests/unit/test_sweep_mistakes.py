"""Each mistake that a sweep can have, by the key and the words that the user gets to see."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from controller.sweep import parse_sweep
from worker.protocol.errors import BadInput

REMOVED = object()


def base() -> dict[str, Any]:
    return {
        "study": {"name": "digits", "metric": {"name": "accuracy/validation", "goal": "maximize"}},
        "objective": {"function": "examples.digits:train"},
        "parameters": {
            "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True},
            "layers": {"type": "int", "low": 1, "high": 4},
            "opt": {"choices": ["sgd", "adam"]},
            "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"opt": "sgd"}},
        },
        "budget": {"max_trials": 20},
    }


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base sweep with values replaced by dotted key."""
    data = base()
    for key, value in changes.items():
        *tables, last = key.split(".")
        table = data
        for name in tables:
            table = table.setdefault(name, {})
        if value is REMOVED:
            del table[last]
        else:
            table[last] = copy.deepcopy(value)
    return data


def problems_of(data: Any) -> tuple[str, ...]:
    with pytest.raises(BadInput) as caught:
        parse_sweep(data, "s.toml")
    return caught.value.problems


P = "parameters"
DEEP: list[Any] = []
DEEP.append(DEEP)
TWO_METRICS = [{"name": "loss", "goal": "minimize"}, {"name": "acc", "goal": "maximize"}]

# Changes to the base sweep, and the one message they lead to: its key, and what it says.
BAD: list[tuple[dict[str, Any], str, str]] = [
    # keys and sections
    ({"budget": {"max_trails": 3}}, "budget.max_trails", 'unknown key; did you mean "max_trials"?'),
    ({"budget.xyzzy": 3}, "budget.xyzzy", "unknown key; [budget] takes max_trials, max_iterations"),
    ({"budget.total_max_jobs": 3}, "budget.total_max_jobs", 'did you mean "max_trials"?'),
    ({"budgett": {}}, "budgett", 'unknown section; did you mean "budget"?'),
    ({"budget": REMOVED, "bugdet": {}}, "bugdet", 'unknown section; did you mean "budget"?'),
    ({"zzz": 1}, "zzz", "unknown section; a sweep has study, objective"),
    ({"study": REMOVED}, "study", "missing; give [study] with name and metric"),
    ({"objective": REMOVED}, "objective", "missing; give [objective] with one of function"),
    ({"study.nmae": "x", "study.name": REMOVED}, "study.nmae", 'did you mean "name"?'),
    ({"study.name": REMOVED}, "study.name", "missing; [study] needs name and metric"),
    ({"study.metric": REMOVED}, "study.metric", "missing"),
    ({"budget": 3}, "budget", "must be a table, got 3"),
    ({"queue": []}, "queue", "must be a table, got []"),
    ({"queue.nam": "x"}, "queue.nam", 'did you mean "name"?'),
    ({"parameters": 3}, "parameters", "must be a table, got 3"),
    # names
    ({"study.name": ""}, "study.name", "must not be empty"),
    ({"study.name": " \t"}, "study.name", "must not be empty"),
    ({"study.name": "x" * 201}, "study.name", "at most 200 characters, got 201"),
    ({"study.name": "a\nb"}, "study.name", 'control characters, got "a\\nb"'),
    ({"study.name": 7}, "study.name", "must be text, got 7; put it in quotes"),
    ({"study.project": ""}, "study.project", "must not be empty"),
    ({"queue.name": ""}, "queue.name", "must not be empty"),
    # metrics
    ({"study.metric": "loss"}, "study.metric", 'must be { name = "...", goal = "maximize" }'),
    ({"study.metric": []}, "study.metric", "needs at least one metric"),
    ({"study.metric": {"name": "a", "goal": "max"}}, "study.metric.goal", 'did you mean "maximize"?'),
    ({"study.metric": {"name": "a", "goal": "minimise"}}, "study.metric.goal", 'did you mean "minimize"?'),
    ({"study.metric": {"name": "a"}}, "study.metric.goal", "missing; a metric needs name and goal"),
    ({"study.metric": {"name": "", "goal": "minimize"}}, "study.metric.name", "must not be empty"),
    ({"study.metric": [*TWO_METRICS, 3]}, "study.metric[2]", "must be a table, got 3"),
    ({"study.metric": [*TWO_METRICS, TWO_METRICS[0]]}, "study.metric[2].name", '"loss" is there twice'),
    # objective
    ({"objective": {}}, "objective", "needs one of function, script, command or optuna"),
    ({"objective.optuna": "a:b"}, "objective", "has function and optuna: keep exactly one"),
    ({"objective": {"fuction": "a:b"}}, "objective.fuction", 'did you mean "function"?'),
    ({"objective.function": "a.b"}, "objective.function",
     'must be module:name, such as examples.digits:train, '
     'got "a.b"; did you mean "a:b"?'),
    ({"objective.function": "./ex/a.py:train"}, "objective.function", 'did you mean "ex.a:train"?'),
    ({"objective.function": "a:b:c"}, "objective.function", "must be module:name"),
    ({"objective.function": "1a:b"}, "objective.function", "must be module:name"),
    ({"objective": {"optuna": "module"}}, "objective.optuna", "must be module:name"),
    ({"objective": {"script": "no/such.py"}}, "objective.script",
     'no file "no/such.py" in the current folder'),
    ({"objective": {"script": "."}}, "objective.script", '"." is not a file'),
    ({"objective.args": ["--x"]}, "objective.args", "only a script takes args"),
    ({"objective.reuse_limit": 5}, "objective.reuse_limit", "no process is reused; set reuse = true"),
    ({"objective": {"function": "a:b", "reuse": True, "reuse_limit": 0}}, "objective.reuse_limit", "at least 1"),
    ({"objective.reuse": "yes"}, "objective.reuse", "true or false"),
    ({"study.on_nan": "stop"}, "study.on_nan", "fail"),
    ({"study.report": "report.pdf"}, "study.report", 'must end in .html or .md, got "report.pdf"'),
    ({"study.report": ".html"}, "study.report", "must end in .html or .md"),
    ({"study.report": "out/.md"}, "study.report", "must end in .html or .md"),
    ({"study.report": "a\0.md"}, "study.report", "must be the path of a file"),
    ({"study.report": True}, "study.report", "must be text"),
    ({"objective.env": {"A": 1}}, "objective.env.A", "must be text, got 1; put it in quotes"),
    ({"objective.env": {"A=B": "1"}}, 'objective.env."A=B"', "can't be an environment variable"),
    ({"objective": {"command": []}}, "objective.command", "names no program"),
    ({"objective": {"command": "train 'x"}}, "objective.command", "can't be split into arguments"),
    ({"objective": {"command": ["a", 1]}}, "objective.command[1]", "must be text, got 1; put it in quotes"),
    ({"objective": {"command": ["a", {"flag:x": None}]}}, "objective.command[1]",
     'must be text, got {"flag:x": null}; YAML needs quotes around braces: "{flag:x}"'),
    # commands and parameters
    ({"objective": {"command": "t {lr} {layers} {opt} {momentum} {moment}"}}, "objective.command",
     'no parameter for the placeholder {moment}; did you mean "{momentum}"?'),
    ({"objective": {"command": "t {lr} {layers} {opt}"}}, "parameters.momentum",
     "the command does not use it: put {momentum} into objective.command"),
    ({"objective": {"command": "t {lr} {layers} {opt} {{momentum}}"}}, "parameters.momentum",
     "does not use it"),
    ({"objective": {"command": ["t", "{"]}}, "objective.command", '"{" in "{" is not a placeholder'),
    ({"objective": {"command": "t {x} {trial}"}, P: {"x": 1, "trial": 3}}, "parameters.trial",
     "has a meaning of its own"),
    ({"objective": {"command": "./t{momentum} {lr} {layers} {opt}"}}, "objective.command",
     "the program itself can't be {momentum}"),
    ({"objective": {"command": "t {flag:x}"}, P: {"x": [1, 0]}}, "objective.command",
     "the flag {flag:x} takes true and false only, and x has the choice 1; write x = [true, false], or {x}"),
    ({"objective": {"command": "t {flag:x}"}, P: {"x": [True, False, None]}}, "objective.command",
     "x has the choice null"),
    ({"objective": {"command": "t {flag:x}"}, P: {"x": ["true", "false"]}}, "objective.command",
     'x has the choice "true"'),
    ({"objective": {"command": "t {flag:x}"}, P: {"x": {"type": "int", "low": 0, "high": 1}}},
     "objective.command", "x has a range of numbers"),
    ({"objective": {"command": "t {x} {flag:y}"}, P: {"x": [True, False]}}, "objective.command",
     "no parameter for the placeholder {y}"),
    ({"objective": {"command": "t --x={flag:x}"}, P: {"x": [True, False]}}, "objective.command",
     "a flag is an argument of its own"),
    ({"objective": {"command": "t {flag:x:}"}, P: {"x": [True, False]}}, "objective.command", "is no flag"),
    ({"objective": {"command": "{flag:x}"}, P: {"x": [True, False]}}, "objective.command",
     "the program itself can't be a flag"),
    ({"objective": {"command": "t {x} {flag:trial}"}, P: {"x": [True]}}, "objective.command",
     "{trial} is neither true nor false"),
    ({"objective": {"command": "t {x} {flag:x}"}, P: {"x": [True], "flag:x": [True]}}, 'parameters."flag:x"',
     "has a meaning of its own"),
    # parameters: shape
    ({P: {}}, "parameters", "nothing to search"),
    ({P: REMOVED}, "parameters", "nothing to search"),
    ({"parameters.lr": {}}, "parameters.lr", 'needs type = "float" or "int" with low and high, or choices'),
    ({"parameters.lr": {"low": 0, "high": 1}}, "parameters.lr", 'needs type = "float" or "int"'),
    ({"parameters.lr": None}, "parameters.lr", "got null; the constant None is [null]"),
    ({"parameters.lr": {"type": "flaot", "low": 0, "high": 1}}, "parameters.lr.type",
     'unknown type "flaot"; did you mean "float"?'),
    ({"parameters.lr": {"type": "integer", "low": 0, "high": 1}}, "parameters.lr.type",
     'did you mean type = "int"?'),
    ({"parameters.lr": {"type": "loguniform"}}, "parameters.lr.type", "with log = true"),
    ({"parameters.lr": {"type": "zzz"}}, "parameters.lr.type", "there are float, int"),
    ({"parameters.lr": {"type": 3}}, "parameters.lr.type", 'must be "float" or "int", got 3'),
    ({"parameters.lr": {"typ": "float"}}, "parameters.lr.typ", 'did you mean "type"?'),
    ({"parameters.x": {"choises": ["a"]}}, "parameters.x.choises", 'did you mean "choices"?'),
    ({"parameters.x": {"values": ["a"]}}, "parameters.x.values", 'did you mean "choices"?'),
    ({"parameters.layers.stpe": 1}, "parameters.layers.stpe", 'did you mean "step"?'),
    ({"parameters.lr.high": REMOVED}, "parameters.lr.high",
     "missing; a parameter of type float needs low and"),
    ({"parameters.lr": {"type": "float", "low": 1, "max": 2}}, "parameters.lr.max", 'did you mean "high"?'),
    ({"parameters.x": {"choices": [1], "low": 1, "high": 2}}, "parameters.x",
     "has choices and also low, high"),
    ({"parameters.x": {"choices": [1], "type": "int"}}, "parameters.x", "has choices and also type"),
    # parameters: numbers
    ({"parameters.lr.low": 0.2}, "parameters.lr.low", "0.2 is above high (0.1)"),
    ({"parameters.layers.high": 0}, "parameters.layers.low", "1 is above high (0)"),
    ({"parameters.lr.low": 0}, "parameters.lr.low", "must be above 0 with log = true, got 0"),
    ({"parameters.lr.step": 0.01}, "parameters.lr.step", "a logarithmic range takes no step"),
    ({"parameters.layers.step": 2, "parameters.layers.log": True}, "parameters.layers.step", "takes no step"),
    ({"parameters.layers.step": 0}, "parameters.layers.step", "must be above 0, got 0"),
    ({"parameters.layers.step": -1}, "parameters.layers.step", "must be above 0, got -1"),
    ({"parameters.layers.step": 4}, "parameters.layers.step", "4 is larger than the range from 1 to 4"),
    ({"parameters.momentum.step": 1.5}, "parameters.momentum.step", "larger than the range"),
    ({"parameters.lr.high": float("inf")}, "parameters.lr.high", "must be a finite number"),
    ({"parameters.lr.low": float("nan")}, "parameters.lr.low", "must be a finite number"),
    ({"parameters.layers.high": float("inf")}, "parameters.layers.high", "must be a"),
    ({"parameters.momentum.low": -1e308, "parameters.momentum.high": 1e308}, "parameters.momentum.high",
     "too wide"),
    ({"parameters.lr.high": True}, "parameters.lr.high", "must be a number, got true"),
    ({"parameters.layers.low": True}, "parameters.layers.low", "must be a whole number, got true"),
    ({"parameters.lr.high": "0.1"}, "parameters.lr.high", 'must be a number, got "0.1"'),
    ({"parameters.layers.low": 1.5}, "parameters.layers.low", "must be a whole number, got 1.5"),
    ({"parameters.lr.log": 1}, "parameters.lr.log", "must be true or false, got 1"),
    # parameters: choices
    ({"parameters.x": []}, "parameters.x.choices", "must have at least one value"),
    ({"parameters.x": {"choices": []}}, "parameters.x.choices", "must have at least one value"),
    ({"parameters.x": {"choices": "sgd"}}, "parameters.x.choices", 'must be a list, got "sgd"'),
    ({"parameters.x": ["a", "b", "a"]}, "parameters.x.choices", '"a" is there twice'),
    ({"parameters.x": [1, 1.0]}, "parameters.x.choices", "1 and 1.0 are the same value"),
    ({"parameters.x": [[1], [1.0]]}, "parameters.x.choices", "[1] and [1.0] are the same value"),
    ({"parameters.x": [[1], [2], [1]]}, "parameters.x.choices", "[1] is there twice"),
    ({"parameters.x": [64, 64]}, "parameters.x.choices",
     "64 is there twice; for the one value [64, 64] write choices = [[64, 64]]"),
    ({"parameters.x": [None, 1, {"none": True}]}, "parameters.x.choices", "null is there twice"),
    ({"parameters.x": [{"a": [1]}, {"a": [1.0]}]}, "parameters.x.choices", "are the same value"),
    ({"parameters.x": ["a", {"b"}]}, "parameters.x.choices[1]", "must be text, a number, true, false or null"),
    ({"parameters.x": ["a", [date(2026, 1, 2)]]}, "parameters.x.choices[1]",
     'list or table of such, got "2026-01-02"; put it in quotes'),
    ({"parameters.x": [1, [2, [float("inf")]]]}, "parameters.x.choices[1]", "must be a finite number, got inf"),
    ({"parameters.x": [1, {"a": float("nan")}]}, "parameters.x.choices[1]", "must be a finite number, got nan"),
    ({"parameters.x": [1, {"null": True}]}, "parameters.x.choices[1]", "did you mean { none = true }"),
    ({"parameters.x": ["a", {"b": "\ud800"}]}, "parameters.x.choices[1]", "must be text"),
    ({"parameters.x": [DEEP]}, "parameters.x.choices[0]", "nested too deeply"),
    # parameters: whole numbers that no float holds
    ({"parameters.layers.high": 2**53 + 1}, "parameters.layers.high", "is past 2^53 (9007199254740992)"),
    ({"parameters.layers.low": -(2**53) - 1}, "parameters.layers.low", "is past 2^53"),
    ({"parameters.layers.high": 1e17}, "parameters.layers.high", "is past 2^53"),
    ({"parameters.layers.high": 2**60, "parameters.layers.log": True}, "parameters.layers.high", "past 2^53"),
    ({"parameters.layers": {"type": "int", "low": -(2**53), "high": 1, "step": 2}}, "parameters.layers.step",
     "is wider than 2^53 (9007199254740992): Optuna would miss its steps"),
    ({"parameters.layers.step": 2**60}, "parameters.layers.step", "past 2^53"),
    ({"parameters.layers.high": 10**400}, "parameters.layers.high", "past 2^53"),
    ({"parameters.lr.high": 2**53 + 1}, "parameters.lr.high",
     "9007199254740993 is not exact as a float, the nearest is 9007199254740992.0"),
    ({"parameters.lr.high": 1e17, "try": [{"lr": 2**53 + 1}]}, "try[0].lr", "is not exact as a float"),
    ({"parameters.lr.high": 10**400}, "parameters.lr.high", "is too large for a float"),
    ({"parameters.layers.high": 2**53, "try": [{"layers": 2**53 + 1}]}, "try[0].layers",
     "it goes from 1 to 9007199254740992"),
    ({"parameters.x": [2**60, 2**60 + 1], "try": [{"x": 2**60 + 2}]}, "try[0].x", "its choices are"),
    ({"parameters.x": [1.0, float("nan")]}, "parameters.x.choices[1]", "must be a finite number"),
    # parameters: names
    ({P: {"": 1}}, 'parameters.""', "must not be empty"),
    ({"parameters.task": 1}, "parameters.task", "is the task itself"),
    ({"parameters.learning-rate": 1}, "parameters.learning-rate",
     "can't be an argument of a Python function"),
    ({"parameters.a\tb": 1, "objective": {"optuna": "a:b"}}, 'parameters."a\\tb"', "control characters"),
    # conditions
    ({"parameters.momentum.when": {"optt": "sgd"}}, "parameters.momentum.when.optt", 'did you mean "opt"?'),
    ({"parameters.momentum.when": {"opt": "sdg"}}, "parameters.momentum.when.opt",
     '"opt" is never "sdg": its choices are ["sgd", "adam"]; did you mean "sgd"?'),
    ({"parameters.momentum.when": {"opt": ["sgd", 1]}}, "parameters.momentum.when.opt", '"opt" is never 1'),
    ({"parameters.momentum.when": {"opt": []}}, "parameters.momentum.when.opt", "at least one value"),
    ({"parameters.momentum.when": {"layers": 9}}, "parameters.momentum.when.layers", "it goes from 1 to 4"),
    ({"parameters.momentum.when": {"layers": 1.5}}, "parameters.momentum.when.layers", "a whole number"),
    ({"parameters.momentum.when": {"layers": True}}, "parameters.momentum.when.layers", "it is a number"),
    ({"parameters.layers.step": 2, "parameters.momentum.when": {"layers": 2}},
     "parameters.momentum.when.layers",
     "in steps of 2"),
    ({"parameters.momentum.when": {"momentum": 0.5}}, "parameters.momentum.when.momentum",
     "can't depend on itself"),
    ({"parameters.lr.when": {"opt": "sgd"}}, "parameters.lr.when.opt", '"opt" is declared later'),
    ({"parameters.momentum.when": {"opt": {"a": 1}}}, "parameters.momentum.when.opt",
     '"opt" is never {"a": 1}'),
    ({"parameters.momentum.when": {"opt": {"none": True}}}, "parameters.momentum.when.opt", "is never null"),
    ({"parameters.momentum.when": {"opt": [float("inf")]}}, "parameters.momentum.when.opt[0]", "finite"),
    ({"parameters": {"w": [[64, 64], [128]], "x": {"choices": [1], "when": {"w": [64, 64]}}},
      "objective": {"optuna": "a:b"}}, "parameters.x.when.w",
     "is a list of values; for the one value [64, 64] write [[64, 64]]"),
    ({"parameters": {"w": [True, 1], "x": {"choices": [1], "when": {"w": 0}}}, "objective": {"optuna": "a:b"}},
     "parameters.x.when.w", '"w" is never 0: its choices are [true, 1]'),
    ({"parameters.momentum.when": "opt"}, "parameters.momentum.when", "must be a table"),
    # sampler and pruner
    ({"sampler.type": "gird"}, "sampler.type", 'unknown sampler "gird"; did you mean "grid"?'),
    ({"sampler.type": "TPE"}, "sampler.type", 'did you mean "tpe"?'),
    ({"sampler.type": "zzzzz"}, "sampler.type", "there are random, tpe, grid"),
    ({"sampler.type": 1}, "sampler.type", "must be text"),
    ({"sampler.sede": 1}, "sampler.sede", 'did you mean "seed"?'),
    ({"sampler.seed": -1}, "sampler.seed", "must be at least 0"),
    ({"sampler.seed": 2**32}, "sampler.seed", "must be at most 4294967295"),
    ({"sampler.seed": True}, "sampler.seed", "must be a whole number, got true"),
    ({"sampler.options": {"a": 1}}, "sampler.options", "write each option as a key of [sampler] itself"),
    ({"sampler.x": float("nan")}, "sampler.x", "a finite number"),
    ({"pruner.type": "hyperbnd"}, "pruner.type", 'unknown pruner "hyperbnd"; did you mean "hyperband"?'),
    ({"pruner": {}}, "pruner.type", "missing"),
    ({"pruner": {"tpye": "asha"}}, "pruner.tpye", 'did you mean "type"?'),
    ({"pruner": {"type": "asha"}, "study.metric": TWO_METRICS}, "pruner", "2 metrics can't be pruned"),
    ({"sampler.type": "cmaes", "study.metric": TWO_METRICS}, "sampler.type", "takes a single metric"),
    ({"sampler.type": "grid", "objective": {"optuna": "a:b"}, P: {}}, "sampler.type",
     "declare it in [parameters]"),
    ({"sampler.type": "grid", "parameters.lr": [1], "parameters.momentum.step": 0.33},
     "parameters.momentum.when",
     "the grid sampler knows no conditions"),
    # budget
    ({"budget.max_trials": 0}, "budget.max_trials", "must be at least 1, got 0"),
    ({"budget.max_concurrent": 0}, "budget.max_concurrent", "must be at least 1, got 0"),
    ({"budget.max_iterations": -1}, "budget.max_iterations", "must be at least 1, got -1"),
    ({"budget.first_failures": -1}, "budget.first_failures", "must be at least 0, got -1"),
    ({"budget.max_failures": 0}, "budget.max_failures", "must be at least 1, got 0"),
    ({"budget.max_trials": True}, "budget.max_trials", "must be a whole number, got true"),
    ({"budget.min_iterations": 6, "budget.max_iterations": 5}, "budget.min_iterations",
     "6 is above max_iterations (5)"),
    ({"budget.time_per_trial": "2 hours"}, "budget.time_per_trial", '"2 hours" is not a duration'),
    ({"budget.total_compute": -3}, "budget.total_compute", "can't be negative: -3"),
    ({"budget.wall_clock": "-2h"}, "budget.wall_clock", "can't be negative"),
    ({"budget.wall_clock": 0}, "budget.wall_clock", "must be longer than zero"),
    ({"budget.wall_clock": True}, "budget.wall_clock", "must be a duration"),
    ({"budget.wall_clock": float("inf")}, "budget.wall_clock", "must be finite"),
    ({"budget": {"max_concurrent": 2}}, "budget", "the study would never end: set budget.max_trials"),
    ({"budget": REMOVED}, "budget", "the study would never end"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "key", "says"), BAD, ids=[f"{row[1]}-{row[2][:25]}" for row in BAD])
def test_a_mistake_gives_one_message_with_its_key(changes: dict[str, Any], key: str, says: str) -> None:
    problems = problems_of(changed(changes))
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"s.toml: {key}: ")
    assert says in problems[0]
    assert "\n" not in problems[0]
    assert "pydantic" not in problems[0]


@pytest.mark.parametrize("objective", [{"script": "no.py"}, {"command": ["true"]}])
def test_only_the_process_of_a_function_is_reused(objective: dict[str, Any]) -> None:
    problems = problems_of(changed({"objective": {**objective, "reuse": True}}))
    (problem,) = [found for found in problems if found.startswith("s.toml: objective.reuse: ")]
    assert "a program of its own each time" in problem


def test_all_problems_are_reported_at_once() -> None:
    problems = problems_of(
        changed(
            {
                "study.name": "",
                "objective.function": "nocolon",
                "parameters.lr.low": 5,
                "parameters.lr.lgo": True,
                "parameters.opt": ["a", "a"],
                "parameters.momentum.when": {"layer": 1},
                "sampler.type": "gp2",
                "pruner.type": "medain",
                "budget": {"max_trails": 3, "min_iterations": 5, "max_iterations": 2, "wall_clock": "x"},
                "queu": {},
            }
        )
    )
    keys = [problem.split(": ")[1] for problem in problems]
    assert keys == [
        "queu",
        "study.name",
        "objective.function",
        "parameters.lr.lgo",
        "parameters.lr.low",
        "parameters.opt.choices",
        "parameters.momentum.when.layer",
        "sampler.type",
        "pruner.type",
        "budget.wall_clock",
        "budget.max_trails",
        "budget.min_iterations",
    ]


def test_grid_and_brute_force_name_each_continuous_parameter() -> None:
    for sampler in ("grid", "brute_force"):
        changes = {"sampler.type": sampler, "parameters.momentum.when": REMOVED}
        problems = problems_of(changed(changes))
        assert [problem.split(": ")[1] for problem in problems] == ["parameters.lr", "parameters.momentum"]
        assert all("give step, or choices = [...]" in problem for problem in problems)


def test_a_misspelt_sampler_is_not_taken_for_one_that_never_ends() -> None:
    assert len(problems_of(changed({"sampler.type": "gird", "budget": {}}))) == 1


def test_a_script_is_looked_for_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "train.py").write_text("pass")
    monkeypatch.chdir(tmp_path)
    data = changed({"objective": {"script": "train.py", "args": ["-v"]}})
    with pytest.raises(BadInput, match=r'did you mean "sub/train.py"\?'):
        parse_sweep(data, "sub/s.toml")
    data["objective"]["script"] = "sub/train.py"
    sweep = parse_sweep(data, "sub/s.toml")
    assert (sweep.objective.kind, sweep.objective.args) == ("script", ("-v",))


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_something_that_is_not_a_table_is_refused(data: Any) -> None:
    assert problems_of(data)[0].startswith("s.toml: must have sections")


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"budget.wall_clock": "2\nh"}, '"2\\nh" is not a duration'),
        ({"study.name": "\ud800"}, "\\ud800"),
        ({"parameters.a\u2028b": {}}, "a\\u2028b"),
        ({"objective.function": "a\r\nb"}, "must be module:name"),
        ({"parameters.x": ["\udc00"]}, "parameters.x.choices[0]: must be text"),
        ({"sampler.x": {"\udc00": 1}}, "sampler.x: must be text"),
    ],
)
def test_every_message_is_one_printable_line(changes: dict[str, Any], shown: str) -> None:
    problems = problems_of(changed(changes))
    assert any(shown in problem for problem in problems)
    for problem in problems:
        assert problem.splitlines() == [problem]
        assert problem.encode()
