"""Classes stay small: parts are composed, not inherited."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator

import pytest

import controller
import worker

MOST_ATTRIBUTES = 25
DEEPEST = 3


def classes() -> Iterator[type]:
    for package in (controller, worker):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            for value in vars(importlib.import_module(found.name)).values():
                if inspect.isclass(value) and value.__module__ == found.name:
                    yield value


def is_ours(one: type) -> bool:
    return one.__module__.partition(".")[0] in ("controller", "worker")


def attributes(one: type) -> set[str]:
    """What methods of a class and of ours above it set on their object."""
    found: set[str] = set()
    for level in one.__mro__:
        if is_ours(level):
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(level)))):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "self"
                ):
                    found.add(node.attr)
    return found


ALL = sorted(classes(), key=lambda one: (one.__module__, one.__qualname__))


def name_of(one: type) -> str:
    return f"{one.__module__}.{one.__qualname__}"


def depth(one: type) -> int:
    """How many of our classes stand above each other in it, the class itself included."""
    return 1 + max((depth(base) for base in one.__bases__ if is_ours(base)), default=0)


def test_there_is_something_to_look_at() -> None:
    assert {"OptimizerOptuna", "Store", "Loop", "Attempt"} <= {one.__name__ for one in ALL}


@pytest.mark.parametrize("one", [one for one in ALL if depth(one) > 1], ids=name_of)
def test_no_class_is_deep(one: type) -> None:
    assert depth(one) <= DEEPEST


def test_no_class_has_many_attributes() -> None:
    many = {name_of(one): len(found) for one in ALL if len(found := attributes(one)) > MOST_ATTRIBUTES}
    assert many == {}
