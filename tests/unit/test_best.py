"""The best parameters reach the next program as they are, in each format, whatever they are."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller.commands.main import command as controller
from controller.insight.best import FORMATS, formatted
from worker.protocol.command import as_argument
from worker.protocol.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NASTY: dict[str, Any] = {
    "lr": 1e-05,
    "big": -1.5e300,
    "layers": 3,
    "flag": True,
    "quote": 'it\'s "$HOME" `id` $(touch ran) \\ ; & | * ~',
    "lines": "a\nb\tc\r",
    "dash": "--opt",
    "empty": "",
    "word": "naïve ünïcode 😀\x7f\x85\u2028",
    "escape": "\x1b[2J",
    "list": [1, 2.5, "x'y", False],
    "none": None,
}


def test_a_shell_reads_each_value_and_runs_nothing(tmp_path: Path) -> None:
    text = formatted(NASTY, "env", environment={})
    script = f"{text}\n" + "".join(f'printf "%s\\0" "${name}"\n' for name in NASTY)
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, check=True)
    assert done.stderr == b""
    assert done.stdout.decode().split("\0")[:-1] == [as_argument(value) for value in NASTY.values()]
    assert list(tmp_path.iterdir()) == []


def test_a_shell_passes_each_argument(tmp_path: Path) -> None:
    show = f'{sys.executable} -c "import sys, json; print(json.dumps(sys.argv[1:]))"'
    done = subprocess.run(
        ["sh", "-c", f"{show} {formatted(NASTY, 'argv')}"], cwd=tmp_path, capture_output=True, check=True
    )
    assert json.loads(done.stdout) == [f"--{name}={as_argument(value)}" for name, value in NASTY.items()]
    assert list(tmp_path.iterdir()) == []


def test_python_reads_it() -> None:
    text = formatted(NASTY, "python")
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert ast.literal_eval(text) == NASTY
    code = f"import json; print(json.dumps({text}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout) == NASTY


def test_toml_reads_it() -> None:
    odd = {**NASTY, "a.b c": 1, "": 2, 'q"': "x", "[table]": 0, "a = 1\nb": 3}
    assert tomllib.loads(formatted(odd, "toml")) == {**odd, "none": {"none": True}}


def test_json_reads_it() -> None:
    assert json.loads(formatted(NASTY, "json")) == NASTY


@pytest.mark.parametrize(
    ("name", "form", "said"),
    [
        ("PATH", "env", "PATH has a meaning already; give a --prefix"),
        ("ld_preload", "env", "has a meaning already"),
        ("IFS", "env", "has a meaning already"),
        ("mine", "env", "has a meaning already"),
        ("1st", "env", "can't be a variable's name; give a --prefix"),
        ("x; touch ran", "argv", "can't be an option's name"),
        ("-x", "argv", "can't be an option's name"),
        ("x=y z", "argv", "can't be an option's name"),
    ],
)
def test_names_that_would_be_something_else_are_refused(name: str, form: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        formatted({name: 1}, form, environment={"mine": ""})


def test_a_prefix_helps() -> None:
    assert formatted({"PATH": 1, "1st": 2, "a.b": 3}, "env", prefix="HP_", environment={}).splitlines() == [
        "HP_PATH=1",
        "HP_1st=2",
        "HP_a_b=3",
    ]
    with pytest.raises(BadInput, match="another one is"):
        formatted({"a.b": 1, "a_b": 2}, "env", environment={})
    with pytest.raises(BadInput, match="--prefix"):
        formatted({"a": 1}, "env", prefix="x; y", environment={})


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("a\0b", "env"),
        ("a\0b", "argv"),
        ("\ud800", "env"),
        ("\ud800", "toml"),
        ({"a": 1}, "toml"),
        (2**70, "toml"),
    ],
)
def test_values_that_a_format_lacks_are_refused(value: Any, form: str) -> None:
    with pytest.raises(BadInput, match="'x'.*--format json"):
        formatted({"x": value}, form, environment={})


def test_the_command_offers_each_format() -> None:
    shown = CliRunner().invoke(controller, ["best", "--help"]).output
    assert all(form in shown for form in FORMATS)
    assert math.pi == ast.literal_eval(formatted({"x": math.pi}, "python"))["x"]
