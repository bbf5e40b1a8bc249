"""The house's one-way street: controller → worker's protocol, never back."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import worker

ROOT = Path(worker.__file__).parents[1]

ALLOWED = (
    "worker.protocol",
    "worker.artifacts",
    "worker.embedded",
    "worker.health.address",
    "worker.health.server",
    "worker.sdk.home",
    "worker.slot.settings",
    "worker.sdk.task",
    "worker.trials",
    "worker.protocol.values",
    "worker.version",
)
"""What the controller may know of the worker: the contract, where things are, a few words that both speak, and
the SDK's `Task`, which its questions are answered with."""


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "worker":
                yield from ((node.lineno, f"worker.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def test_the_worker_never_imports_the_controller() -> None:
    for path in (ROOT / "worker").rglob("*.py"):
        for line, name in imports(path):
            assert name.split(".")[0] != "controller", f"{path}:{line}"


def test_the_controller_imports_the_contract_only() -> None:
    for path in (ROOT / "controller").rglob("*.py"):
        for line, name in imports(path):
            if name.split(".")[0] == "worker" and name != "worker.__version__":
                assert name.startswith(ALLOWED), f"{path}:{line}: {name}"


def test_only_the_launcher_talks_to_rq() -> None:
    for path in (ROOT / "controller").rglob("*.py"):
        for line, name in imports(path):
            assert name.split(".")[0] != "rq", f"{path}:{line}"
            if name == "worker.protocol.transport":
                assert path.name == "launcher.py", f"{path}:{line}"


@pytest.mark.parametrize("module", ["worker", "worker.runner.main", "worker.slot.slot", "worker.slot.daemon"])
def test_a_compute_node_needs_no_optuna_and_loads_boto3_only_when_used(module: str) -> None:
    code = f"import {module}, sys; print([m for m in ('optuna', 'boto3', 'sqlalchemy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_the_version_is_one() -> None:
    assert version("optuna-rq") == worker.__version__
