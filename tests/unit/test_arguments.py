"""A task's values reach argparse as the same words on a command line do, or are refused as there."""

from __future__ import annotations

import argparse
import enum
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker import Task
from worker.sdk import argparse_patch, runtime
from worker.sdk.session import LocalSession


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Pair(argparse.Action):
    """A program's own action: KEY=VALUE into a dict, counted in another place."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        key, _, value = str(values).partition("=")
        setattr(namespace, self.dest, {key: value})
        namespace.pairs = getattr(namespace, "pairs", 0) + 1


def parser(*names: str, **options: Any) -> Callable[[], argparse.ArgumentParser]:
    def make() -> argparse.ArgumentParser:
        made = argparse.ArgumentParser(prog="train.py")
        made.add_argument(*names, **options)
        return made

    return make


@pytest.fixture
def under_worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Parse a command line with a task that has parameters; what was searched is all of them."""

    def parse(
        make: Callable[[], argparse.ArgumentParser],
        parameters: dict[str, Any],
        *line: str,
        searched: bool = True,
        known: bool = False,
    ) -> argparse.Namespace:
        given = {f"Args/{name}": value for name, value in json.loads(json.dumps(parameters)).items()}
        about = {"id": "0", "parameters": given, "searched": list(given) if searched else []}
        monkeypatch.setattr(sys, "argv", ["train.py", *line])
        argparse_patch.take_seen()
        task = Task(about, LocalSession())
        runtime.enter(task)
        try:
            return make().parse_known_args()[0] if known else make().parse_args()
        finally:
            runtime.leave(task)

    return parse


# name of a row: (options of the argument, words on a command line, the task's value)
SAME: dict[str, tuple[tuple[Any, ...], dict[str, Any], list[str], Any]] = {
    "float": (("--x",), {"type": float, "default": 0.5}, ["0.25"], 0.25),
    "float, of an int": (("--x",), {"type": float, "default": 1}, ["2"], 2),
    "float, default text": (("--x",), {"type": float, "default": "0.5"}, ["2"], 2),
    "float, no default": (("--x",), {"type": float}, ["1e-3"], 0.001),
    "int": (("--x",), {"type": int, "default": 1}, ["7"], 7),
    "int, as text": (("--x",), {"type": int, "default": 1}, ["7"], "7"),
    "str": (("--x",), {"type": str, "default": "a"}, ["7"], 7),
    "no type, no default": (("--x",), {}, ["7"], 7),
    "no type, text": (("--x",), {"default": "a"}, ["b"], "b"),
    "choices": (("--x",), {"choices": ["a", "b"], "default": "a"}, ["b"], "b"),
    "int choices": (("--x",), {"type": int, "choices": [1, 2], "default": 1}, ["2"], 2),
    "enum": (("--x",), {"type": Color, "default": Color.RED}, ["blue"], "blue"),
    "enum, default text": (("--x",), {"type": Color, "default": "red"}, ["blue"], "blue"),
    "enum choices": (
        ("--x",),
        {"type": Color, "choices": list(Color), "default": Color.RED},
        ["blue"],
        "blue",
    ),
    "path": (("--x",), {"type": Path, "default": Path("a")}, ["b/c"], "b/c"),
    "function": (("--x",), {"type": lambda text: text.split(","), "default": "a,b"}, ["c,d"], "c,d"),
    "json": (("--x",), {"type": json.loads, "default": "[1]"}, ['["a", 2]'], ["a", 2]),
    "json, object": (("--x",), {"type": json.loads, "default": "{}"}, ['{"a": 1}'], {"a": 1}),
    "several, default one": (("--x",), {"type": float, "nargs": "+", "default": 0.5}, ["0.1", "2"], [0.1, 2]),
    "several, of one": (("--x",), {"type": float, "nargs": "+", "default": [0.5]}, ["0.1"], 0.1),
    "several, as text": (("--x",), {"type": int, "nargs": "*", "default": []}, ["3", "4"], "[3, 4]"),
    "two": (("--x",), {"type": int, "nargs": 2, "default": (1, 2)}, ["3", "4"], [3, 4]),
    "two enums": (("--x",), {"type": Color, "nargs": 2}, ["red", "blue"], ["red", "blue"]),
    "maybe": (("--x",), {"type": int, "nargs": "?", "const": 5, "default": 1}, ["3"], 3),
    "several texts": (("--x",), {"nargs": "+"}, ["a", "b"], ["a", "b"]),
    "several choices": (("--x",), {"nargs": "+", "choices": ["a", "b"]}, ["a", "b"], ["a", "b"]),
    "append": (("--x",), {"action": "append", "type": int}, ["3"], [3]),
    "extend": (("--x",), {"action": "extend", "nargs": "+", "type": int}, ["3", "4"], [3, 4]),
    "own action": (("--x",), {"action": Pair, "default": {}}, ["a=b"], "a=b"),
}


@pytest.mark.parametrize("row", SAME)
def test_a_value_acts_as_on_the_command_line(under_worker: Any, row: str) -> None:
    names, options, words, value = SAME[row]
    wanted = vars(parser(*names, **options)().parse_args(["--x", *words]))
    found = vars(under_worker(parser(*names, **options), {"x": value}))
    assert found == wanted
    assert type(found["x"]) is type(wanted["x"])
    assert repr(found) == repr(wanted)


# name of a row: (options of the argument, the task's value, what the program gets)
FLAGS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "store_true": ({"action": "store_true"}, True, True),
    "store_true, off": ({"action": "store_true"}, False, False),
    "store_true, text": ({"action": "store_true"}, "False", False),
    "store_false": ({"action": "store_false"}, False, False),
    "store_const": ({"action": "store_const", "const": 3, "default": 1}, 3, 3),
    "store_const, left": ({"action": "store_const", "const": 3, "default": 1}, 1, 1),
    "count": ({"action": "count", "default": 0}, 2, 2),
    "both ways": ({"action": argparse.BooleanOptionalAction, "default": True}, False, False),
    "bool as a type": ({"type": bool, "default": True}, False, False),
    "bool as a type, text": ({"type": bool, "default": True}, "False", False),
    "int from a study's float": ({"type": int, "default": 1}, 3.0, 3),
    "no type, default of one": ({"default": 1}, 7, 7),
    "no type, default of one, text": ({"default": 0.5}, "0.25", 0.25),
    "none": ({"type": int, "default": 1}, None, None),
    "two consts": ({"action": "append_const", "const": 1}, [1, 1], [1, 1]),
}


@pytest.mark.parametrize("row", FLAGS)
def test_flags_and_values_that_no_command_line_has(under_worker: Any, row: str) -> None:
    options, value, wanted = FLAGS[row]
    found = under_worker(parser("--x", **options), {"x": value}).x
    assert found == wanted
    assert type(found) is type(wanted)


# name of a row: (options of the argument, the task's value, a part of what is said)
REFUSED: dict[str, tuple[dict[str, Any], Any, str]] = {
    "int": ({"type": int, "default": 1}, "many", "argument --x: invalid int value: 'many'"),
    "int of a fraction": ({"type": int, "default": 1}, 2.5, "invalid int value: '2.5'"),
    "float of a list": ({"type": float, "default": 1.0}, [1, 2], "invalid float value"),
    "choices": ({"choices": ["a", "b"], "default": "a"}, "c", "invalid choice: 'c'"),
    "int choices": ({"type": int, "choices": [1, 2], "default": 1}, 7, "invalid choice: 7"),
    "several choices": ({"nargs": "+", "choices": ["a"]}, ["a", "c"], "invalid choice: 'c'"),
    "append choices": ({"action": "append", "choices": ["a"]}, ["c"], "invalid choice: 'c'"),
    "enum": ({"type": Color, "default": Color.RED}, "green", "invalid Color value: 'green'"),
    "two of three": ({"nargs": 2, "type": int}, [1, 2, 3], "expected 2 argument(s), not 3"),
    "none of some": ({"nargs": "+", "type": int}, [], "expected at least one argument(s), not 0"),
    "const": ({"action": "store_const", "const": 3, "default": 1}, 2, "invalid choice: 2"),
    "flag": ({"action": "store_true"}, "maybe", "invalid choice: 'maybe'"),
    "file": ({"type": argparse.FileType("r")}, "/no/such", "can't open '/no/such'"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_argparse_would_refuse_ends_the_program_there(
    under_worker: Any, row: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options, value, said = REFUSED[row]
    with pytest.raises(SystemExit) as ended:
        under_worker(parser("--x", **options), {"x": value})
    assert ended.value.code == 2
    assert f"train.py: error: argument --x: {said.removeprefix('argument --x: ')}" in capsys.readouterr().err


def with_commands() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--verbose", action="store_true")
    commands = made.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit")
    fit.add_argument("--lr", type=float, default=0.1)
    fit.set_defaults(func=fitted)
    kinds = fit.add_subparsers(dest="kind")
    kinds.add_parser("fast").add_argument("--steps", type=int, default=1)
    kinds.add_parser("slow").add_argument("--steps", type=float, default=2.0)
    check = commands.add_parser("check")
    check.add_argument("--lr", type=str, default="none")
    check.add_argument("data")
    check.set_defaults(func=checked)
    return made


def fitted() -> None: ...


def checked() -> None: ...


COMMANDS: dict[str, tuple[dict[str, Any], list[str], dict[str, Any]]] = {
    "an argument of the chosen one": (
        {"lr": 0.5, "command": "fit", "func": "<function fitted at 0x7f>"},
        ["fit", "--lr", "0.2"],
        {"command": "fit", "lr": 0.5, "kind": None, "func": fitted},
    ),
    "its type is the chosen one's": (
        {"lr": 0.5},
        ["check", "here"],
        {"command": "check", "lr": "0.5", "data": "here", "func": checked},
    ),
    "another one is chosen": (
        {"command": "check", "data": "there"},
        ["--verbose", "fit", "--lr", "0.2"],
        {"verbose": True, "command": "check", "lr": "none", "data": "there", "func": checked},
    ),
    "none was on the line": ({"command": "fit", "lr": 2}, [], {"command": "fit", "lr": 2.0, "func": fitted}),
    "one within one": ({"steps": 7}, ["fit", "slow"], {"kind": "slow", "steps": 7.0, "lr": 0.1}),
    "another one within one": (
        {"kind": "fast", "steps": 7},
        ["fit", "--lr", "0.2", "slow", "--steps", "3"],
        {"kind": "fast", "steps": 7, "lr": 0.2},
    ),
}


@pytest.mark.parametrize("row", COMMANDS)
def test_sub_commands(under_worker: Any, row: str) -> None:
    parameters, line, wanted = COMMANDS[row]
    found = vars(under_worker(with_commands, parameters, *line))
    assert {name: found[name] for name in wanted} == wanted
    assert [type(found[name]) for name in wanted] == [type(value) for value in wanted.values()]


def test_an_unknown_sub_command_is_refused(under_worker: Any) -> None:
    with pytest.raises(SystemExit):
        under_worker(with_commands, {"command": "sleep"}, "fit")


def test_groups_parents_and_required_arguments(under_worker: Any) -> None:
    def make() -> argparse.ArgumentParser:
        above = argparse.ArgumentParser(add_help=False)
        above.add_argument("--seed", type=int, required=True)
        made = argparse.ArgumentParser(parents=[above])
        one = made.add_mutually_exclusive_group(required=True)
        one.add_argument("--sgd", dest="opt", action="store_const", const="sgd")
        one.add_argument("--adam", dest="opt", action="store_const", const="adam")
        made.add_argument("--version", action="version", version="1")
        made.add_argument("rest", nargs=argparse.REMAINDER)
        return made

    found = under_worker(make, {"opt": "adam", "seed": 3}, "--sgd", "--seed", "1", "a", "-b")
    assert vars(found) == {"seed": 3, "opt": "adam", "rest": ["a", "-b"]}
    assert vars(under_worker(make, {"opt": "adam", "seed": 3})) == {"seed": 3, "opt": "adam", "rest": []}
    with pytest.raises(SystemExit):
        make().parse_args([])
    with pytest.raises(SystemExit):
        under_worker(make, {"opt": "lion", "seed": 3}, "--sgd")
    found = under_worker(make, {"seed": "5"}, "--sgd", "--seed", "1", "--odd", known=True)
    assert (found.seed, found.opt) == (5, "sgd")


def test_arguments_that_exclude_each_other(under_worker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def make() -> argparse.ArgumentParser:
        made = argparse.ArgumentParser()
        one = made.add_mutually_exclusive_group()
        one.add_argument("--cpu", action="store_true")
        one.add_argument("--gpus", type=int, default=0)
        return made

    assert vars(under_worker(make, {"gpus": 2})) == {"cpu": False, "gpus": 2}
    assert vars(under_worker(make, {"gpus": 2, "cpu": False}, "--cpu")) == {"cpu": False, "gpus": 2}
    with pytest.raises(SystemExit):
        under_worker(make, {"gpus": 2}, "--cpu")
    assert "argument --gpus: not allowed with argument --cpu" in capsys.readouterr().err


def test_a_file_is_opened(under_worker: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("inside")
    with under_worker(parser("--x", type=argparse.FileType("r")), {"x": str(tmp_path / "a")}).x as file:
        assert file.read() == "inside"


@pytest.mark.parametrize(
    ("options", "line", "recorded"),
    [
        ({"type": Color, "default": Color.RED}, ["--x", "blue"], "Color.BLUE"),
        ({"type": lambda text: text.split(",")}, ["--x", "a,b"], ["a", "b"]),
        ({"type": lambda text: {text}}, ["--x", "a"], "{'b'}"),
        ({"type": lambda text: object()}, ["--x", "a"], "<object object at 0x7f>"),
        ({"type": Path}, ["--x", "a"], "a"),
        ({"action": Pair}, ["--x", "a=b"], {"a": "b"}),
        ({"default": fitted}, [], "<function fitted at 0x7f>"),
    ],
)
def test_what_is_not_searched_stays_the_programs(
    under_worker: Any, options: dict[str, Any], line: list[str], recorded: Any
) -> None:
    found = under_worker(parser("--x", **options), {"x": recorded}, *line, searched=False).x
    wanted = parser("--x", **options)().parse_args(line).x
    assert type(found) is type(wanted)
    assert found == wanted or type(found) is object


def test_parsed_twice_and_before_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--x", "3"])
    monkeypatch.setattr(runtime, "connect", lambda: None)
    argparse_patch.take_seen()
    made = parser("--x", type=int, default=1)()
    made.parse_args()
    made.parse_args()
    made.parse_args(["--x", "9"])  # not this program's own command line
    task = Task({"id": "0", "parameters": {}}, LocalSession())
    for seen in argparse_patch.take_seen():
        task.connect_arguments(*seen)
    assert task.get_parameters(cast=True) == {"Args/x": 3}


@pytest.mark.parametrize(
    ("wanted", "known"),
    [({"x": False}, {"Args/y"}), ({"*": False, "x": True}, {"Args/x"}), ({"z": False}, {"Args/x", "Args/y"})],
)
def test_single_arguments_are_left_out(wanted: dict[str, bool], known: set[str]) -> None:
    task = Task({"id": "0", "parameters": {"Args/x": 2, "Args/y": 2}, "arguments": wanted}, LocalSession())
    namespace = argparse.Namespace(x=1, y=1)
    task.connect_arguments(None, namespace)
    assert {f"Args/{name}" for name, value in vars(namespace).items() if value == 2} == known


def test_a_parser_that_is_connected(under_worker: Any) -> None:
    made = parser("--x", type=Color, default=Color.RED)()
    made.add_argument("--y", default=argparse.SUPPRESS)
    task = Task({"id": "0", "parameters": {"Args/x": "blue"}, "searched": ["Args/x"]}, LocalSession())
    assert task.connect(made) is made
    assert vars(made.parse_args([])) == {"x": Color.BLUE}
