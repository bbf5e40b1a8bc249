"""Our command lines in deployment files, parsed by the commands themselves; and tools that check such files."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from controller.commands.main import command as controller
from worker.cli import command as worker

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OURS = {"controller": controller, "worker": worker}


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """The values of a command line's options and arguments; nothing is started.

    Raises:
        click.UsageError: an option or a command that there isn't, or a value that can't be.
    """
    name, *rest = argv
    command: click.Command = OURS[name]
    while isinstance(command, click.Group):
        context = command.make_context(name, rest)
        found, child, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        assert child is not None
        name, command = found, child
    return command.make_context(name, list(rest)).params


def port_of(value: str) -> int:
    """The port of ``[HOST:]PORT``; the host has to be one that others reach."""
    host, _, port = value.rpartition(":")
    assert host == "0.0.0.0", f"{value} is reached from inside the container only"
    return int(port)


def tool(name: str, package: str) -> str:
    """A program of the development packages. Without it the test is skipped, and fails where ``CI=true``."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        missing = f"no {name}: pip install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found


def module(name: str, package: str) -> ModuleType:
    """A module of the development packages, as `tool`."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing = f"no {name}: pip install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)


def check(*argv: str | Path, cwd: Path = ROOT) -> str:
    """What a checking program prints; it has to find nothing to complain of."""
    done = subprocess.run(
        [str(a) for a in argv], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_secrets(folder: Path) -> dict[str, str]:
    """Run secrets.sh into `folder`; returns what its files hold."""
    check("sh", DEPLOY / "docker/secrets.sh", folder)
    return {path.name: path.read_text() for path in folder.iterdir()}
