"""Sweep files as they come from disk and the command line."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from controller.sweep import FloatParameter, load_sweep
from worker.protocol.errors import BadInput

TOML = """
[study]
name = "digits"
metric = { name = "accuracy/validation", goal = "maximize" }
[objective]
function = "examples.digits:train"
env = { OMP_NUM_THREADS = "1" }
[parameters]
lr = { type = "float", low = 1e-5, high = 0.1, log = true }
layers = { type = "int", low = 1, high = 4 }
opt = ["sgd", "adam", "no", "on"]
momentum = { type = "float", low = 0.0, high = 0.99, when = { opt = "sgd" } }
seed = 3
[sampler]
type = "tpe"
seed = 1
n_startup_trials = 5
[pruner]
type = "asha"
[budget]
max_trials = 200
time_per_trial = "2h"
[queue]
name = "default"
"""

YAML = """
study:
  name: digits
  metric: {name: accuracy/validation, goal: maximize}
objective:
  function: examples.digits:train
  env: {OMP_NUM_THREADS: "1"}
parameters:
  lr: {type: float, low: 1e-5, high: 0.1, log: true}
  layers: {type: int, low: 1, high: 4}
  opt: [sgd, adam, no, on]
  momentum: {type: float, low: 0.0, high: 0.99, when: {opt: sgd}}
  seed: 3
sampler: {type: tpe, seed: 1, n_startup_trials: 5}
pruner: {type: asha}
budget:
  max_trials: 200
  time_per_trial: 2h
queue: {name: default}
"""


FORM = "must be key=value, such as budget.max_trials=100 (a list is set as a whole)"


def write(tmp_path: Path, text: str | bytes, name: str = "s.toml") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems_of(path: Path, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(BadInput) as caught:
        load_sweep(path, overrides)
    return caught.value.problems


def test_toml_and_yaml_give_equal_sweeps(tmp_path: Path) -> None:
    from_toml = load_sweep(write(tmp_path, TOML))
    for name in ("s.yaml", "s.yml", "S.YML"):
        assert load_sweep(str(write(tmp_path, YAML, name))) == from_toml
    assert from_toml.parameters["lr"] == FloatParameter(low=1e-5, high=0.1, log=True)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    expected = load_sweep(write(tmp_path, TOML))
    text = b"\xef\xbb\xbf" + TOML.replace("\n", "\r\n").encode()
    assert load_sweep(write(tmp_path, text, "windows.toml")) == expected


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("s.toml", "[study\nname = 1", "not valid TOML: "),
        ("s.toml", "a = 1\n[study]\nname =\n", "line 3"),
        ("s.toml", "[study]\nname = 'a'\nname = 'b'\n", "line 3"),
        ("s.toml", "x = " + "1" * 5000, "not valid TOML: "),
        ("s.yaml", "study: {name: a\n", "not valid YAML: "),
        (
            "s.yaml",
            "study:\n  name: a\n  name: b\n",
            'the key "name" is already on line 2 (at line 3, column 3)',
        ),
        (
            "s.yaml",
            "study:\n  name: a\nstudy: 3\n",
            'the key "study" is already on line 1 (at line 3, column 1)',
        ),
        ("s.yaml", "parameters:\n  1: [a]\n", 'the key 1 is not text; write it in quotes: "1" (at line 2'),
        ("s.yaml", "? [a]\n: 1\n", "is not text"),
        ("s.yaml", "study: !!python/object/apply:os.getcwd []\n", "(at line 1, column 8)"),
        ("s.yaml", "a: 1\n---\nb: 2\n", "(at line 2"),
        ("s.yaml", "a: \x01\n", "not allowed (at line 1)"),
        ("s.yaml", 'a: "\\ud800"\n', "surrogate"),
        ("s.yaml", "x: " + "1" * 5000, "not valid YAML: the number is too long (at line 1"),
        ("s.yaml", "[" * 5000, "nested too deeply"),
        ("s.yaml", "- a\n", 'must have sections such as study and objective, got ["a"]'),
        ("s.toml", b"[study]\nname = 'caf\xe9'\n", "not UTF-8 (at line 2); save the file in UTF-8"),
        ("s.json", "{}", "a sweep file ends in .toml, .yaml or .yml"),
        ("sweep", "", "a sweep file ends in .toml, .yaml or .yml"),
    ],
)
def test_a_file_that_cannot_be_parsed_gives_one_line(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    path = write(tmp_path, content, name)
    problems = problems_of(path)
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}: ")
    assert says in problems[0]
    assert "\n" not in problems[0]


def test_a_missing_file_and_a_folder_give_one_line(tmp_path: Path) -> None:
    missing, folder = tmp_path / "none.toml", tmp_path / "folder.toml"
    folder.mkdir()
    assert problems_of(missing) == (f"{missing}: no such file",)
    assert problems_of(folder) == (f"{folder}: is a folder, not a sweep file",)


@pytest.mark.parametrize("name", ["empty.toml", "empty.yaml"])
def test_an_empty_file_lacks_its_sections(tmp_path: Path, name: str) -> None:
    keys = [problem.split(": ")[1] for problem in problems_of(write(tmp_path, "", name))]
    assert keys == ["study", "objective", "budget"]


def test_yaml_scalars_mean_what_they_would_in_toml(tmp_path: Path) -> None:
    text = YAML.replace("[sgd, adam, no, on]", "[sgd, 010, 1e3, 2024-01-01, 12:30, 0x1f, ~, .5, True, yes]")
    parameter = load_sweep(write(tmp_path, text, "s.yaml")).to_dict()["parameters"]["opt"]
    assert parameter["choices"] == ["sgd", 10, 1000.0, "2024-01-01", "12:30", 31, None, 0.5, True, "yes"]


def test_yaml_merge_keys_may_be_overridden(tmp_path: Path) -> None:
    text = YAML.replace("  layers: {", "  lr2: &l {type: int, low: 1, high: 9}\n  layers: {<<: *l, ")
    sweep = load_sweep(write(tmp_path, text, "s.yaml"))
    assert sweep.to_dict()["parameters"]["layers"] == {"type": "int", "low": 1, "high": 4}


def test_a_yaml_list_within_itself_is_refused(tmp_path: Path) -> None:
    text = YAML.replace("n_startup_trials: 5", "x: &a [*a]").replace("[sgd, adam, no, on]", "&b [sgd, *b]")
    problems = problems_of(write(tmp_path, text, "s.yaml"))
    assert [problem.split(": ")[1] for problem in problems] == ["parameters.opt.choices[1]", "sampler.x"]


@pytest.mark.parametrize(
    ("override", "keys", "value"),
    [
        ("parameters.lr.low=1e-4", ("parameters", "lr", "low"), 1e-4),
        ("study.name=foo", ("study", "name"), "foo"),
        ("study.name = foo bar ", ("study", "name"), "foo bar"),
        ('study.name="7"', ("study", "name"), "7"),
        ("study.name=2024-01-01", ("study", "name"), "2024-01-01"),
        ("study.name=a=b", ("study", "name"), "a=b"),
        ('parameters.opt=["sgd", "x"]', ("parameters", "opt"), {"choices": ["sgd", "x"]}),
        ("parameters.seed=4", ("parameters", "seed"), {"choices": [4]}),
        ('budget={max_trials = 3, wall_clock = "1m"}', ("budget",), {"max_trials": 3, "wall_clock": 60.0}),
        ('sampler."a.b"=1', ("sampler", "a.b"), 1),
        ("sampler.'a=b'.c = 1", ("sampler", "a=b", "c"), 1),
        ("queue.name=gpu", ("queue", "name"), "gpu"),
        ("objective.env.A=b", ("objective", "env", "A"), "b"),
        ("sampler.multivariate=true", ("sampler", "multivariate"), True),
    ],
)
def test_an_override_sets_a_value(tmp_path: Path, override: str, keys: tuple[str, ...], value: Any) -> None:
    path = write(tmp_path, TOML)
    found: Any = load_sweep(path, [override]).to_dict()
    for key in keys:
        found = found[key]
    assert found == value


def test_a_later_override_wins_and_new_tables_are_made(tmp_path: Path) -> None:
    text = TOML.replace('[pruner]\ntype = "asha"\n', "").replace('[queue]\nname = "default"\n', "")
    overrides = ["budget.max_trials=3", "pruner.type=median", "queue.name=a", "budget.max_trials=4"]
    sweep = load_sweep(write(tmp_path, text), overrides)
    assert sweep.budget.max_trials == 4
    assert sweep.pruner is not None
    assert sweep.pruner.type == "median"
    assert sweep.queue.name == "a"


def test_an_override_does_not_reach_through_a_yaml_alias(tmp_path: Path) -> None:
    text = YAML.replace("  layers: {type", "  layers: &l {type").replace("  seed: 3", "  units: *l")
    sweep = load_sweep(write(tmp_path, text, "s.yaml"), ["parameters.units.high=9"])
    parameters = sweep.to_dict()["parameters"]
    assert (parameters["layers"]["high"], parameters["units"]["high"]) == (4, 9)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("foo", f"--set foo: {FORM}"),
        ("=3", f"--set =3: {FORM}"),
        (
            "a..b=3",
            f"--set a..b=3: {FORM}",
        ),
        (
            "study.metric[0].goal=x",
            "--set study.metric[0].goal=x: must be key=value, such as budget.max_trials=100 "
            "(a list is set as a whole)",
        ),
        (
            "parameters.opt.low=1",
            '--set parameters.opt.low=1: parameters.opt is ["sgd", "adam", "no", "on"], not a table; '
            "set parameters.opt as a whole",
        ),
        (
            "budget.max_trails=5",
            '--set budget.max_trails=5: budget.max_trails: unknown key; did you mean "max_trials"?',
        ),
        ("bugdet.max_trials=5", '--set bugdet.max_trials=5: bugdet: unknown section; did you mean "budget"?'),
        ("study.name=7", "--set study.name=7: study.name: must be text, got 7; put it in quotes"),
        (
            "budget.wall_clock=soon",
            '--set budget.wall_clock=soon: budget.wall_clock: "soon" is not a duration; '
            'write it like "90s", "1h30m", "500ms" or "2d", or as a number of seconds',
        ),
        (
            "parameters.lr.low=true",
            "--set parameters.lr.low=true: parameters.lr.low: must be a number, got true",
        ),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    assert problems_of(write(tmp_path, TOML), override) == (message,)


def test_an_override_that_takes_part_in_a_problem_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, TOML)
    assert problems_of(path, "parameters.lr.high=1e-6") == (
        f"{path}: parameters.lr.low: 1e-05 is above high (1e-06) (line 9) (with --set parameters.lr.high=1e-6)",
    )


def test_bad_overrides_and_bad_keys_are_reported_together(tmp_path: Path) -> None:
    path = write(tmp_path, TOML.replace("max_trials", "max_trails"))
    problems = problems_of(path, "nonsense", "study.name=", "queue.name=gpu")
    assert problems == (
        "--set nonsense: must be key=value, such as budget.max_trials=100 (a list is set as a whole)",
        "--set study.name=: study.name: must not be empty",
        f'{path}: budget.max_trails: unknown key; did you mean "max_trials"? (line 21)',
    )


TOML_PLACES = """\
# a comment
[study]
name = "s"
metric = [
    { name = "loss", goal = "minimize" },
    { name = "acc", goal = "maximise" },

]

[objective]
function = \'\'\'
no
spec\'\'\'
env = { A = 1 }
[parameters]
lr = { type = "float", low = 1.0, high = 0.1 }
"odd.name" = [1, 1]
momentum.type = "float"
momentum.low = 0.0

[parameters.depth]
type = "int"
low = 1
high = 2
stpe = 3

[[try]]
lr = 0.5
[[try]]
lrr = 0.5
[budgett]
"""

YAML_PLACES = """\
# a comment
study:
  name: s
  metric:
    - {name: loss, goal: minimize}
    - name: acc
      goal: maximise
objective:
  function: "no spec"
  env: {A: 1}
parameters:
  lr: {type: float, low: 1.0,
       high: 0.1}
  odd.name: [1, 1]
  depth:
    <<: {type: int, low: 1}
    high: 2
    stpe: 3
try:
  - lr: 0.5
  - lrr: 0.5
budgett: {}
"""


def lines_of(path: Path) -> dict[str, int | None]:
    """Key of each problem → the line that its message names."""
    found: dict[str, int | None] = {}
    for problem in problems_of(path):
        match = re.search(r" \(line (\d+)\)$", problem)
        found[problem.removeprefix(f"{path}: ").split(": ")[0]] = int(match[1]) if match else None
    return found


def test_each_mistake_names_its_line(tmp_path: Path) -> None:
    assert lines_of(write(tmp_path, TOML_PLACES)) == {
        "budgett": 31,
        "study.metric[1].goal": 4,  # of a value over several lines, the first one
        "objective.function": 11,
        "objective.env.A": 14,
        "parameters.lr.low": 16,
        'parameters."odd.name"': 17,
        'parameters."odd.name".choices': 17,
        "parameters.momentum.high": 18,  # missing: the parameter
        "parameters.depth.stpe": 25,
        "try[1].lrr": 30,
    }
    assert lines_of(write(tmp_path, YAML_PLACES, "s.yaml")) == {
        "budgett": 22,
        "study.metric[1].goal": 7,
        "objective.function": 9,
        "objective.env.A": 10,
        "parameters.lr.low": 12,
        'parameters."odd.name"': 14,
        'parameters."odd.name".choices': 14,
        "parameters.depth.stpe": 18,
        "try[1].lrr": 21,
    }


def test_what_stands_nowhere_has_no_line(tmp_path: Path) -> None:
    path = write(tmp_path, TOML.split("[budget]")[0])
    assert lines_of(path) == {"budget": None}
    assert problems_of(path, "study.name=") == (
        "--set study.name=: study.name: must not be empty",
        f"{path}: budget: the study would never end: set budget.max_trials (or wall_clock, or total_compute)",
    )


def test_the_line_is_found_in_a_long_file(tmp_path: Path) -> None:
    many = "".join(f"p{number} = [\n  1,\n  {number + 2},\n]\n" for number in range(700))
    text = TOML_PLACES.replace("[parameters]\n", f"[parameters]\n{many}")
    began = time.monotonic()
    assert lines_of(write(tmp_path, text))["try[1].lrr"] == 30 + 2800
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("value", ["[[1],", "[null]", '{"a": 1}', "[True]", "{ a = 1 } b"])
def test_half_a_list_is_not_taken_for_text(tmp_path: Path, value: str) -> None:
    (problem,) = problems_of(write(tmp_path, TOML), f"parameters.opt={value}")
    assert problem.startswith(f"--set parameters.opt={value}: neither a list nor a table of TOML, such as")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("s.toml", "[study]\nname = digits\n",
         "nvalid value (at line 2, column 8): name = digits; put text in quotes"),
        ("s.toml", "[a]\nx = [1, None]\n", "(at line 2, column 9): x = [1, None]; None is { none = true }"),
        ("s.toml", "[a]\nx = True\n", "(at line 2, column 5): x = True; write true"),
        ("s.toml", "[a]\nx = null", "(at line 2, column 5): x = null; None is { none = true } in TOML"),
        ("s.toml", "[a]\nx = [(1, 2)]\n", "x = [(1, 2)]; write a list as [1, 2]"),
        ("s.toml", "[a]\nlow = .5\n", "low = .5; a number begins with a digit, such as 0.5"),
        ("s.toml", "[a]\nlow = 1e-5.3\n", "(at line 2, column 11): low = 1e-5.3"),
        ("s.toml", "[a]\nx = [1,\n\n", "(at end of document, line 2): x = [1,"),
        ("s.toml", "[a]\nb = 1\nb = 2\n", "at line 3"),
        ("s.toml", "[a]\nx = " + "[" * 90 + "]]]\n", "…"),
        ("s.yaml", "a:\n  b: [1, 2\nc: 3\n", "(at line 3, column 2): c: 3"),
        ("s.yaml", "a: 1\n\tb: 2\n", "b: 2"),
        ("s.yaml", "a:\n  b: 1\n  b: 2\n", "(at line 3, column 3): b: 2"),
        ("s.yaml", "a: !!python/tuple [1]\n", "the tag !!python/tuple means nothing here; write the value without"),
    ],
)  # fmt: skip
def test_a_mistake_of_writing_shows_its_line(tmp_path: Path, name: str, content: str, says: str) -> None:
    (problem,) = problems_of(write(tmp_path, content, name))
    assert says in problem
    assert "\n" not in problem


WANDB = """\
program: train.py
method: bayes
metric: {name: val_loss, goal: minimize}
parameters:
  lr: {distribution: log_uniform_values, min: 1e-5, max: 1e-1}
  batch: {values: [16, 32]}
  epochs: {value: 3}
early_terminate: {type: hyperband, min_iter: 3}
run_cap: 10
"""


@pytest.mark.parametrize(
    ("content", "tool"),
    [
        (WANDB, "a Weights & Biases sweep (it has program, method, metric, parameters, early_terminate, run_cap)"),
        ("method: grid\nparameters: {x: {values: [1]}}\n", "a Weights & Biases sweep"),
        ("program: a.py\nparameters: {x: {values: [1]}}\n", "a Weights & Biases sweep"),
        ("name: a\nentrypoint: python t.py\nsearcher: {name: adaptive_asha}\nhyperparameters: {}\n",
         "a Determined experiment"),
        ("experimentName: a\ntrialCommand: python t.py\ntrialConcurrency: 1\n", "an NNI experiment"),
        ("version: 1.1\nkind: operation\nmatrix: {kind: bayes}\n", "a Polyaxon operation"),
        ("apiVersion: kubeflow.org/v1beta1\nkind: Experiment\nmetadata: {name: a}\nspec: {}\n",
         "a Katib experiment"),
        ("defaults: [a]\nhydra: {sweeper: {n_trials: 3}}\n", "a Hydra configuration"),
    ],
)  # fmt: skip
def test_a_file_of_another_tool_is_named(tmp_path: Path, content: str, tool: str) -> None:
    path = write(tmp_path, content, "y.yaml")
    (problem,) = problems_of(path)
    assert problem.startswith(f"{path}: looks like {tool}")
    assert "[study], [objective], [parameters] and [budget]" in problem
    # Not even an override makes one line several.
    assert problems_of(path, "budget.max_trials=3") == (problem,)


def test_ours_with_a_key_of_another_tool_is_still_ours(tmp_path: Path) -> None:
    path = write(tmp_path, f"method = 'bayes'\nprogram = 'train.py'\n{TOML}")
    assert [problem.split(": ")[1] for problem in problems_of(path)] == ["method", "program"]
