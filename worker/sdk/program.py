"""The program that is running, as an objective that a worker can run again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def this_program(folder: Path) -> dict[str, Any]:
    """The running script (or ``python -m`` module) with its arguments, as an objective.

    Args:
        folder: that it was started in; a script below it is named relative to it, so that workers with
            another checkout find theirs.

    Returns:
        See `worker.runner.objective`; empty where there is no script, as in a notebook.
    """
    main = sys.modules.get("__main__")
    arguments = list(sys.argv[1:])
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return {"kind": "script", "module": spec.name.removesuffix(".__main__"), "args": arguments}
    file = getattr(main, "__file__", None)
    if not file or not Path(file).is_file():
        return {}
    path = Path(file).resolve()
    inside = path.is_relative_to(folder.resolve())
    shown = os.path.relpath(path, folder.resolve()) if inside else str(path)
    return {"kind": "script", "path": shown, "at": str(path), "args": arguments}


def name_of(objective: dict[str, Any]) -> str:
    """A name for a task that was given none."""
    return Path(str(objective.get("path") or objective.get("module") or "task")).stem
