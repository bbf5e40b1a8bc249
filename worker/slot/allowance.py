"""Which objectives a worker runs, where it was told (``--allow``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from worker.protocol.errors import ObjectiveLoadError

_LOADERS = ("LD_", "DYLD_", "PYTHON")
_SEARCHED = ("PATH", "BASH_ENV", "ENV")


class Allowance:
    """Patterns such as ``train.*``; none allows everything.

    A function or module is compared by its dotted name (``train.objective`` for ``train:objective``), a
    script or a command's program by its path below the folder it is run in (elsewhere, by its whole path), a
    program on PATH by its name.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = tuple(pattern.removeprefix("./") for pattern in patterns)

    def check_objective(self, objective: Mapping[str, Any]) -> None:
        """Raises `ObjectiveLoadError` for a function or module that isn't allowed, and for variables of the
        environment that would put another one in its place."""
        if not self._patterns:
            return
        for name in objective.get("env", {}):
            if name.startswith(_LOADERS) or name in _SEARCHED:
                raise ObjectiveLoadError(
                    f"objective: this worker runs nothing but {self}, and {name} would change what that is"
                )
        for named in (objective.get("target"), objective.get("module")):
            if named:
                self._check(str(named).replace(":", "."), "objective")

    def check_script(self, path: Path, folder: Path) -> None:
        """Raises `ObjectiveLoadError` for a script that isn't allowed."""
        if self._patterns:
            self._check(_below(path, folder), "objective script")

    def check_command(self, program: str, folder: Path) -> None:
        """Raises `ObjectiveLoadError` for a program that isn't allowed."""
        if self._patterns:
            shown = _below(Path(program), folder) if os.sep in program else program
            self._check(shown, "objective command")

    def check_code(self, signed: bool) -> None:
        """Raises `ObjectiveLoadError` for a study's own code that is not signed."""
        if self._patterns and not signed:
            raise ObjectiveLoadError(
                f"code: this worker runs nothing but {self}, and takes a study's own code only if its jobs "
                "are signed (OPTUNA_RQ_SECRET)"
            )

    def _check(self, name: str, what: str) -> None:
        if not any(fnmatchcase(name, pattern) for pattern in self._patterns):
            raise ObjectiveLoadError(f"{what} {name!r}: this worker runs nothing but {self} (--allow)")

    def __str__(self) -> str:
        return ", ".join(self._patterns)


def _below(path: Path, folder: Path) -> str:
    path, folder = path.resolve(), folder.resolve()
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
