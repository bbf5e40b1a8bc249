"""The searched parameters of a study, as figures place them on axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.figures.figure import plain
from controller.results.parameters import as_written
from controller.results.study_data import StudyData, TaskData
from controller.sweep.values import MOST_EXACT
from worker.protocol import Reason
from worker.protocol.values import as_text

MOST_NUMBERS = 1e300
LOG_FROM = 1_000.0
"""Where a study doesn't say so, values that span so much are shown on a logarithmic axis."""


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One parameter, and where its values lie on an axis."""

    name: str
    categories: tuple[str, ...] = ()
    """What it was chosen from, as shown; empty for a number."""
    whole: bool = False
    log: bool = False
    low: float = 0.0
    high: float = 0.0

    def place(self, value: Any) -> float:
        """From 0 to 1. The value must be one that the dimension was made of."""
        if self.categories:
            last = len(self.categories) - 1
            return self.categories.index(shown(value)) / last if last else 0.5
        low, high, at = (
            (math.log10(number) if self.log else number) for number in (self.low, self.high, float(value))
        )
        return 0.5 if low == high else (at / 2 - low / 2) / (high / 2 - low / 2)


def shown(value: Any) -> str:
    """A value of a choice, for figures."""
    return plain(as_text(value))


def results(data: StudyData) -> list[TaskData]:
    """The tasks that have a final value of each objective: pruned ones don't compare with these."""
    return [task for task in data.ranked() if task.record.reason_class is not Reason.PRUNED]


def parameters_of(task: TaskData) -> dict[str, Any]:
    """The searched parameters of a task, by name."""
    return as_written(task.record, everything=False)


def dimensions(study_sweep: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Dimension]:
    """The parameters of some tasks, by name, as their values are: the study's own description may be missing.

    Args:
        study_sweep: the study's description, for what it says of a parameter.
        rows: the parameters of each task; conditional ones may be missing.
    """
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    return [_dimension(name, found, _described(study_sweep, name)) for name, found in sorted(values.items())]


def _described(sweep: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What a sweep file says of a parameter; empty where it says nothing that can be read."""
    parameters = sweep.get("parameters")
    found = parameters.get(name) if isinstance(parameters, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _dimension(name: str, values: Sequence[Any], described: Mapping[str, Any]) -> Dimension:
    numbers = all(_is_number(value) for value in values) and not described.get("choices")
    if not numbers:
        kinds = dict.fromkeys([*_choices(described), *sorted({shown(value) for value in values})])
        used = {shown(value) for value in values}
        return Dimension(name=name, categories=tuple(kind for kind in kinds if kind in used))
    low, high = float(min(values)), float(max(values))
    log = bool(described["log"]) if "log" in described else low > 0 and high / low >= LOG_FROM
    whole = all(isinstance(value, int) for value in values) and max(-low, high) < MOST_EXACT
    return Dimension(name=name, whole=whole, log=log and low > 0, low=low, high=high)


def _choices(described: Mapping[str, Any]) -> list[str]:
    choices = described.get("choices")
    return [shown(choice) for choice in choices] if isinstance(choices, list) else []


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < MOST_NUMBERS and math.isfinite(value)
