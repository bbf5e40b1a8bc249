"""The limits of a budget that people can edit: their names, units and words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from controller.results.durations import spoken
from worker.protocol import StudyRecord
from worker.protocol.study_changes import BudgetEdit

EDITABLE = {
    "max_trials": "jobs",
    "max_concurrent": "concurrent",
    "max_failures": "failures",
    "total_compute": "compute_time",
    "wall_clock": "wall_clock",
}
"""Key of `[budget]` → the kind of budget in the study's record."""
TIMES = ("total_compute", "wall_clock")
"""Those in seconds here, and in minutes in the record."""


def limits_of(record: StudyRecord) -> dict[str, float | None]:
    """The limits that hold, by key of `[budget]`; times in seconds, None for none."""
    found: dict[str, float | None] = {}
    for name, kind in EDITABLE.items():
        limit = number_of(record, kind, "limit")
        found[name] = limit * 60 if limit is not None and name in TIMES else limit
    return found


def wanted_limits(record: StudyRecord, edits: Mapping[str, BudgetEdit]) -> dict[str, float | None]:
    """As `limits_of`, with the edits that no controller may have taken over yet."""
    return {**limits_of(record), **{name: edit.limit for name, edit in edits.items() if name in EDITABLE}}


def number_of(record: StudyRecord, kind: str, field: str) -> float | None:
    """A number of the record's budget; None where there is none."""
    value = (record.budget.get(kind) or {}).get(field)
    return float(value) if isinstance(value, (int, float)) else None


def alike(one: float | None, other: float | None) -> bool:
    """Whether two limits are the same; records round them."""
    return one == other or (one is not None and other is not None and math.isclose(one, other, abs_tol=0.01))


def said(name: str, limit: float | None) -> str:
    """A limit for people."""
    if limit is None:
        return "no limit"
    return spoken(limit) if name in TIMES else f"{limit:.15g}"


def written(name: str, limit: float | None) -> str:
    """A limit as the sweep file has it: ``300``, ``1h30m``; empty for none."""
    if limit is None:
        return ""
    if name not in TIMES:
        return f"{limit:.15g}"
    hours, rest = divmod(round(limit, 2), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = ((hours, "h"), (minutes, "m"), (round(seconds, 2), "s"))
    return "".join(f"{amount:.15g}{unit}" for amount, unit in parts if amount) or "0s"
