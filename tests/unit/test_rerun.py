"""The commands that run a task again do what they say."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import pytest

from controller.results.rerun import reruns
from tests.fakes import record
from worker.protocol import StudyRecord, TaskSpec


def study(**changes: Any) -> StudyRecord:
    return StudyRecord(name="s", created_at=1.0, metrics=(), sweep={"objective": {}}, **changes)


def texts(
    objective: dict[str, Any], parameters: dict[str, Any], of: StudyRecord | None, **spec: Any
) -> list[str]:
    task = record(spec=TaskSpec(objective=objective, parameters=parameters, **spec), trial=3)
    return [one.text for one in reruns(task, of)]


def test_a_commands_own_line() -> None:
    objective = {"kind": "command", "argv": ["./train", "--lr={lr}", "{flag:fast}", "--name", "{name}", "--m", "{m}"],
                 "env": {"SEED": "a b"}}  # fmt: skip
    line = texts(objective, {"lr": 0.1, "fast": True, "name": "it's $HOME"}, study(), optional=("m",))[0]
    assert shlex.split(line) == ["SEED=a b", "./train", "--lr=0.1", "--fast", "--name", "it's $HOME"]


def test_on_a_worker() -> None:
    objective = {"kind": "function", "target": "m:f"}
    task = record(spec=TaskSpec(objective=objective, queue="gpu"))
    (one,) = reruns(task, None)
    program, option, code = shlex.split(one.text)
    assert (program, option) == ("python", "-c")
    assert code == f'from worker import Task; Task.enqueue(Task.clone("{task.id}"), queue_name="gpu")'
    # Where this would be refused, it isn't offered.
    assert texts(objective, {}, study(signed=True)) == []
    assert texts({"kind": "optuna", "target": "m:f"}, {}, study()) == []
    assert texts({}, {}, None) == []


def test_in_a_sweep_file() -> None:
    values = {"lr": 1e-05, "layers": 3, "opt": 'a "b"', "flag": False, "none": None, "odd name": [1, "x"]}
    text = texts({"kind": "function", "target": "m:f"}, values, study())[-1]
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    found = tomllib.loads(text)["try"]
    assert found == [{**values, "none": {"none": True}}]


@pytest.mark.parametrize("value", [{"a": 1}, "line\nbreak\x1b", float("nan")])
def test_what_can_not_be_written_is_not_offered(value: Any) -> None:
    found = texts({"kind": "function", "target": "m:f"}, {"p": value}, study(signed=True))
    if isinstance(value, str):
        assert found == ['[[try]]\np = "line\\nbreak\\u001b"']
    elif isinstance(value, float):
        assert found == ['[[try]]\np = "nan"']
    else:
        assert found == []
    objective = {"kind": "command", "argv": ["echo", "{p}"]}
    assert [text for text in texts(objective, {"p": "\x1b[2J"}, None) if text.startswith("echo")] == []
