"""Objectives that would fail in every trial are found before the first, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.session.preflight import check_here, no_worker
from worker.protocol import ObjectiveMetric, Sign, TaskSpec
from worker.protocol.errors import BadInput, ObjectiveLoadError
from worker.runner.objective import check_signature


async def coroutine(task: Any, x: float) -> float:
    return x


def generator(task: Any, x: float) -> Any:
    yield x


class Callable:
    def __call__(self, task: Any, x: float) -> float:
        return x


class Coroutine:
    async def __call__(self, task: Any, x: float) -> float:
        return x


def by_position(task: Any, x: float, /) -> float:
    return x


def only_by_position(x: float, /) -> float:
    return x


def task_by_position(task: Any, /, x: float) -> float:
    return x


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (coroutine, "coroutine or a generator"),
        (generator, "coroutine or a generator"),
        (Coroutine(), "coroutine or a generator"),
        (by_position, "by_position(task, x) is called with its arguments by name"),
        (only_by_position, "remove the '/'"),
    ],
)
def test_functions_that_can_not_be_called_with_their_parameters(function: Any, message: str) -> None:
    with pytest.raises(ObjectiveLoadError) as caught:
        check_signature(function, "module:name", ["x"], [])
    assert message in str(caught.value)


@pytest.mark.parametrize("function", [task_by_position, Callable(), lambda task, **given: 1.0])
def test_functions_that_can(function: Any) -> None:
    check_signature(function, "module:name", ["x"], [])


def spec(objective: dict[str, Any]) -> TaskSpec:
    metric = ObjectiveMetric(title="loss", series="", sign=Sign.MIN)
    return TaskSpec(objective=objective, parameters={"x": None}, metrics=(metric,))


def function(module: str) -> TaskSpec:
    return spec({"kind": "function", "target": f"{module}:f"})


def command(*argv: str) -> TaskSpec:
    return spec({"kind": "command", "argv": list(argv)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(task, x) pass\n", "line 1"),
        ("raise OSError('no licence')\n", "no licence"),
        ("import sys\nsys.exit('not today')\n", "not today"),
        ("import os\nos._exit(3)\n", "exit code 3"),
        ("import surely_not_installed\n", "surely_not_installed"),
        ("print('hello')\nf = 3\n", "can't be called"),
    ],
)
def test_modules_that_can_not_be_imported(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(BadInput) as caught:
        check_here(function("bad"), tmp_path, must_run_here=True)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_a_module_prints_is_not_taken_for_the_answer(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("print('{\"ok\": false}')\ndef f(task, x): pass\n")
    assert check_here(function("good"), tmp_path, must_run_here=True)


def test_only_a_worker_can_tell_what_is_not_installed_here(tmp_path: Path) -> None:
    assert not check_here(function("surely_not_here"), tmp_path, must_run_here=False)
    assert not check_here(command("surely-not-here", "{x}"), tmp_path, must_run_here=False)


def test_scripts_are_compiled(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("x = 1\nif True\n    pass\n")
    with pytest.raises(BadInput, match=r"train\.py, line 2"):
        check_here(spec({"kind": "script", "path": "train.py", "args": []}), tmp_path, must_run_here=True)


def test_programs_are_executable(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("#!/bin/sh\n")
    with pytest.raises(BadInput, match=r"not executable: chmod \+x"):
        check_here(command("./train.sh", "{x}"), tmp_path, must_run_here=True)
    (tmp_path / "train.sh").chmod(0o755)
    assert check_here(command("./train.sh", "{x}"), tmp_path, must_run_here=True)
    assert check_here(command("sh", "-c", "{x}"), tmp_path, must_run_here=True)
    with pytest.raises(BadInput, match=r"no program '\./nothing\.sh'"):
        check_here(command("./nothing.sh", "{x}"), tmp_path, must_run_here=True)


def test_the_hint_about_workers_has_no_password() -> None:
    said = no_worker("gpu", "redis://:secret@head:6379/0")
    assert said.endswith("REDIS_URL=redis://:***@head:6379/0 worker --queue gpu")
    assert "REDIS_URL" not in no_worker("default", None)
