"""The limits of a budget that people can edit: their names, units and words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from controller.results.durations import spoken
from worker.protocol import StudyRecord
from worker.protocol.study_changes import BudgetEdit

EDITABLE = {
    "max_trials": "jobs",
    "max_concurrent": "concurrent",
    "max_failures": "failures",
    "total_compute": "compute_time",
    "wall_clock": "wall_clock",
    "time_per_trial": "time_per_trial",
    "min_iterations": "min_iterations",
}
"""Key of `[budget]` → the kind of budget in the study's record."""
OF_ONE_TRIAL = ("time_per_trial", "min_iterations")
"""Those of each trial by itself, of which nothing is used."""
TIMES = ("total_compute", "wall_clock", "time_per_trial")
"""Those in seconds here, and in minutes in the record."""


def limits_of(record: StudyRecord) -> dict[str, float | None]:
    """The limits that hold, by key of `[budget]`; times in seconds, None for none.

    Without those of single trials that an edit would not reach (`out_of_reach`).
    """
    found: dict[str, float | None] = {}
    for name, kind in EDITABLE.items():
        if out_of_reach(record, name):
            continue
        limit = number_of(record.budget, kind, "limit")
        found[name] = limit * 60 if limit is not None and name in TIMES else limit
    return found


def out_of_reach(record: StudyRecord, name: str) -> str:
    """Why an edit of a limit of single trials would reach none of them; empty where it would."""
    if name not in OF_ONE_TRIAL:
        return ""
    if name == "min_iterations" and "optuna" in record.sweep.get("objective", {}):
        return "an objective written for Optuna asks the pruner by itself, as its task was created"
    if EDITABLE[name] not in record.budget:
        return "no controller of this version has begun or continued the study yet"
    return ""


def wanted_limits(record: StudyRecord, edits: Mapping[str, BudgetEdit]) -> dict[str, float | None]:
    """As `limits_of`, with the edits that no controller may have taken over yet."""
    limits = limits_of(record)
    return {**limits, **{name: edit.limit for name, edit in edits.items() if name in limits}}


def number_of(budget: Mapping[str, Any], kind: str, field: str) -> float | None:
    """A number of a budget as a study's record has it; None where there is none."""
    value = (budget.get(kind) or {}).get(field)
    return float(value) if isinstance(value, (int, float)) else None


def alike(one: float | None, other: float | None) -> bool:
    """Whether two limits are the same; records round them."""
    return one == other or (one is not None and other is not None and math.isclose(one, other, abs_tol=0.01))


def said(name: str, limit: float | None) -> str:
    """A limit for people."""
    if limit is None:
        return "0" if name == "min_iterations" else "no limit"
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
