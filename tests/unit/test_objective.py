from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.protocol.errors import ObjectiveLoadError
from worker.runner import objective
from worker.runner.objective import call_function, check_script, check_signature, load_function, shadowing


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


MODULES = {
    "good_module.py": "def train(task, x): return x\nVALUE = 3\nclass A:\n    @staticmethod\n    def run(x): return x\n",
    "needs_missing.py": "import surely_not_installed\ndef train(x): pass\n",
    "broken_syntax.py": "def train(x:\n",
    "raises_early.py": "raise RuntimeError('no GPU here')\n",
    "exits_early.py": "import sys\nsys.exit(3)\n",
}


@pytest.mark.parametrize(
    ("target", "message", "missing"),
    [
        ("no_such_module:train", "no module 'no_such_module'", "no_such_module"),
        ("needs_missing:train", "imports 'surely_not_installed'", "surely_not_installed"),
        ("broken_syntax:train", r"broken_syntax.py:1: SyntaxError", None),
        ("raises_early:train", r"raises_early.py:1: RuntimeError: no GPU here", None),
        ("exits_early:train", r"exits_early.py:2: SystemExit", None),
        ("good_module:tarin", "has no 'tarin'", None),
        ("good_module:VALUE", "is an int, which can't be called", None),
        ("good_module", "module:name", None),
        ("worker:train", "optuna-rq's own", None),
        ("controller.train:f", "optuna-rq's own", None),
    ],
)
def test_objectives_that_can_not_be_loaded(
    folder: Path, target: str, message: str, missing: str | None
) -> None:
    for name, text in MODULES.items():
        (folder / name).write_text(text)
    with pytest.raises(ObjectiveLoadError, match=message) as caught:
        load_function(target, folder)
    assert caught.value.missing_module == missing


def test_an_objective_is_found_in_the_folder(folder: Path) -> None:
    (folder / "good_module.py").write_text(MODULES["good_module.py"])
    assert load_function("good_module:train", folder)(None, 4) == 4
    assert load_function("good_module:A.run", folder)(5) == 5


def plain(task: Any, lr: float, k: int = 3) -> Any:
    return ("plain", task, lr, k)


def no_task(lr: float, k: int) -> Any:
    return ("no_task", lr, k)


def only_task(task: Any) -> Any:
    return ("only_task", task)


def anything(task: Any, **parameters: Any) -> Any:
    return ("anything", task, parameters)


def keywords(task: Any, *, lr: float, k: int) -> Any:
    return ("keywords", task, lr, k)


class Callable_:
    def __call__(self, task: Any, lr: float, k: int) -> Any:
        return ("callable", task, lr, k)


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (plain, ("plain", "T", 0.1, 2)),
        (no_task, ("no_task", 0.1, 2)),
        (only_task, ("only_task", "T")),
        (anything, ("anything", "T", {"lr": 0.1, "k": 2})),
        (keywords, ("keywords", "T", 0.1, 2)),
        (Callable_(), ("callable", "T", 0.1, 2)),
        (functools.partial(plain, k=9), ("plain", "T", 0.1, 2)),
    ],
)
def test_how_objectives_are_called(function: Callable[..., Any], result: Any) -> None:
    parameters = {"General/lr": 0.1, "k": 2}
    check_signature(function, "m:f", parameters)
    assert call_function(function, "T", parameters) == result


@pytest.mark.parametrize(
    ("function", "parameters", "optional", "message"),
    [
        (plain, ["lr", "momentum"], [], r"plain\(task, lr, k\) doesn't take parameter 'momentum'"),
        (plain, ["k"], [], "needs an argument 'lr'"),
        (plain, ["lr", "k"], ["lr"], "default for 'lr'"),
        (no_task, ["lr"], [], "needs an argument 'k'"),
    ],
)
def test_signatures_that_do_not_fit(
    function: Callable[..., Any], parameters: list[str], optional: list[str], message: str
) -> None:
    with pytest.raises(ObjectiveLoadError, match=message):
        check_signature(function, "m:f", parameters, optional)


def test_a_conditional_parameter_with_a_default_is_fine() -> None:
    check_signature(plain, "m:f", ["lr", "k"], ["k"])
    assert call_function(plain, "T", {"lr": 0.1}) == ("plain", "T", 0.1, 3)


def test_a_file_that_hides_our_packages_is_noticed(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("")
    check_script(script)
    (tmp_path / "worker.py").write_text("")
    assert shadowing(tmp_path) == [tmp_path / "worker.py"]
    with pytest.raises(ObjectiveLoadError, match="worker.py hides"):
        check_script(script)
    with pytest.raises(ObjectiveLoadError, match="no such file"):
        check_script(tmp_path / "missing.py")


SHAPES = [
    lambda: 0,
    lambda a: 0,
    lambda a, b=1: 0,
    lambda a, /, b: 0,
    lambda a, b=1, /, c=2: 0,
    lambda *a: 0,
    lambda **a: 0,
    lambda a, *, b, c=1: 0,
    lambda *, a=1, b: 0,
    lambda a, /, b=1, *c, d, e=2, **f: 0,
    lambda a, *, b, **c: 0,
]


@pytest.mark.parametrize("function", SHAPES)
def test_arguments_are_those_that_inspect_finds(function: Any) -> None:
    def with_locals(a: Any, *b: Any, c: Any = 1) -> Any:
        d = e = a
        return d, e

    for plain in (function, with_locals):
        wrapped = functools.wraps(plain)(lambda *args: 0)
        assert objective._is_plain(plain)
        assert not objective._is_plain(wrapped)
        assert objective._arguments(plain) == objective._arguments(wrapped)
