"""A task's hyper-parameters: as commands show them, and as ClearML's API returns them.

Commands show each parameter by the name that the user wrote (``x`` of a sweep file, ``General/x`` of a
program that calls it so) and with its own type. ClearML's API has all of them in sections, as text:
``General/x`` → ``"0.7"``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from worker.protocol import TaskRecord
from worker.protocol.values import as_text, full


def as_written(record: TaskRecord, *, everything: bool) -> dict[str, Any]:
    """Name → value, as the user wrote the one and the program gets the other; JSON types.

    Args:
        everything: all parameters; otherwise those that were searched.
    """
    parameters = record.spec.parameters
    # An objective written for Optuna asks for its parameters as it runs: all in its record were searched.
    by_run = record.spec.objective.get("kind") == "optuna"
    searched = set(parameters) if by_run or not record.spec.searched else set(record.spec.searched)
    return {name: _as_json(value) for name, value in parameters.items() if everything or name in searched}


def in_sections(record: TaskRecord, *, everything: bool) -> dict[str, str]:
    """``Section/name`` → value as text, as ClearML has them."""
    parameters = record.spec.parameters
    return {full(name): as_text(parameters[name]) for name in as_written(record, everything=everything)}


def shown(value: Any) -> str:
    """A value for people: four digits of a float, all of anything else."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def pairs(parameters: Mapping[str, Any]) -> list[str]:
    """Such as ``["lr=0.01", "layers=3"]``."""
    return [f"{name}={shown(value)}" for name, value in parameters.items()]


def _as_json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
