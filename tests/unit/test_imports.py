"""The house: which room may import which, no circles, and what a compute node does without."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import worker

ROOT = Path(worker.__file__).parents[1]

ROOMS = {
    "worker": (
        "protocol", "process", "artifacts", "embedded", "sdk", "trials", "runner", "health", "slot", "cli",
    ),
    "controller": (
        "sweep", "search", "results", "control", "figures", "loop", "insight", "report", "screen", "session",
        "studies", "api", "health", "dashboard", "commands",
    ),
}  # fmt: skip
"""The rooms of each package: each may import those before it, never one after it."""

OF_THE_WORKER = ("protocol", "process", "artifacts", "embedded", "sdk", "trials", "health")
"""The worker's rooms that the controller may import."""

BENEATH_ALL = ("version", "optuna_internals")
"""Modules beside the worker's rooms that each room of both packages may import."""

TERMINAL = ("click", "rich")
"""Libraries that commands and the room of what they show alone may import."""


def modules() -> dict[str, Path]:
    found = {}
    for package in ROOMS:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of all that a file imports, for types only and within functions as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield node.lineno, full if full in MODULES else node.module


def test_every_module_is_in_a_room() -> None:
    for name in MODULES:
        package, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        assert room in ("", "__main__", *ROOMS[package], *BENEATH_ALL), name


def test_each_room_imports_only_those_before_it() -> None:
    wrong = []
    for name, path in MODULES.items():
        package, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        if room not in ROOMS[package]:
            continue
        for line, target in imports(path):
            other, _, deeper = target.partition(".")
            into = deeper.partition(".")[0]
            if other not in ROOMS or not into or into in BENEATH_ALL:
                continue
            if other == package:
                allowed = ROOMS[package].index(into) <= ROOMS[package].index(room)
            else:
                allowed = package == "controller" and into in OF_THE_WORKER
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {package}/{room} may not import {target}")
    assert wrong == []


def test_what_lies_beneath_all_imports_no_room() -> None:
    for name in BENEATH_ALL:
        for line, target in imports(MODULES[f"worker.{name}"]):
            assert target.split(".")[0] not in ROOMS, f"{name}:{line}: {target}"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {
        name: {target for _, target in imports(path) if target in MODULES} - {name}
        for name, path in MODULES.items()
    }
    # What nothing in a circle could be: leaves, again and again.
    while leaves := {name for name, targets in graph.items() if not targets & graph.keys()}:
        for name in leaves:
            del graph[name]
    assert sorted(graph) == []


def test_only_commands_and_screen_know_a_terminal() -> None:
    for name, path in MODULES.items():
        if name.startswith(("controller.commands", "controller.screen", "worker.cli")):
            continue
        for line, target in imports(path):
            assert target.split(".")[0] not in TERMINAL, f"{path}:{line}: {target}"


def test_only_the_launcher_talks_to_rq() -> None:
    for name, path in MODULES.items():
        if name.startswith("controller."):
            for line, target in imports(path):
                assert target.split(".")[0] != "rq", f"{path}:{line}"
                if target == "worker.protocol.transport":
                    assert path.name == "launcher.py", f"{path}:{line}"


def test_files_and_functions_fit_in_one_sitting() -> None:
    long = []
    for path in MODULES.values():
        text = path.read_text()
        if len(text.splitlines()) > 400:
            long.append(f"{path.relative_to(ROOT)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 60:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}, {lines} lines")
    assert long == []


def test_what_lint_and_types_are_told_to_ignore_has_a_reason() -> None:
    bare = re.compile(r"# noqa(?!: [A-Z]+\d+ - \S)|# type: ignore(?!\[[\w,-]+\] # \S)")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in MODULES.values()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if bare.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("module", ["worker", "worker.runner.main", "worker.slot.slot", "worker.slot.daemon"])
def test_a_compute_node_needs_no_optuna_and_loads_boto3_only_when_used(module: str) -> None:
    code = f"import {module}, sys; print([m for m in ('optuna', 'boto3', 'sqlalchemy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_a_runner_starts_without_redis() -> None:
    code = (
        "import worker.runner.main, sys; print([m for m in ('redis', 'rq', 'asyncio') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_a_command_loads_only_what_it_uses() -> None:
    """Every command imports the modules of all commands; each millisecond there is felt in every one."""
    code = (
        "import controller.commands.main, sys; print([m for m in ('optuna', 'rich', 'boto3', 'pydantic', "
        "'worker.artifacts', 'controller.commands.acl') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_the_version_is_one() -> None:
    assert version("optuna-rq") == worker.__version__
