"""Edits the budget of a study, whether it runs or not.

An edit stands beside the study's record until it is taken back. A controller that runs takes it over at once,
the next one when it starts. It holds as long as the study is started with the limit that it has replaced: a
sweep file that says something else by then is newer than the edit, and wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from controller.control.journal import write_log
from controller.results.durations import spoken
from controller.sweep.overrides import toml_value
from controller.sweep.parts import read_budget
from worker.protocol import Store, StudyRecord
from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest
from worker.protocol.study_changes import BudgetEdit
from worker.protocol.study_log import LogKind

EDITABLE = {
    "max_trials": "jobs",
    "max_concurrent": "concurrent",
    "max_failures": "failures",
    "total_compute": "compute_time",
    "wall_clock": "wall_clock",
}
"""Key of `[budget]` → the kind of budget in the study's record."""
_TIMES = ("total_compute", "wall_clock")
NONE = ("none", "null", "")
"""What takes a limit away."""


def budget_limits(record: StudyRecord) -> dict[str, float | None]:
    """The limits in force that can be edited: key of `[budget]` → limit, times in seconds; None for none."""
    found: dict[str, float | None] = {}
    for name, kind in EDITABLE.items():
        limit = _number(record, kind, "limit")
        found[name] = limit * 60 if limit is not None and name in _TIMES else limit
    return found


def edit_budget(store: Store, study: str, changes: Mapping[str, Any], *, by: str) -> str:
    """Set limits of a study's budget.

    Args:
        changes: key of `[budget]` → limit as the sweep file has it (``300``, ``"2h"``), also as text; None or
            ``none`` for no limit.

    Raises:
        BadInput: there is no such study or limit, a limit can't be, or is below what is used.
    """
    record = store.studies.get(study)
    source = f"study {record.name}"
    wanted = {name: _read(name, value, source) for name, value in changes.items()}
    if not wanted:
        raise BadInput(f"{source}: name what to edit: {', '.join(EDITABLE)}")
    known, now = store.changes.edits(record.name), store.clock.now()
    limits = budget_limits(record)
    before = {**limits, **{name: edit.limit for name, edit in known.items() if name in EDITABLE}}
    new = _checked(record, {**before, **wanted}, wanted, source)
    problems = [problem for name in wanted if (problem := _too_low(record, name, new[name]))]
    if problems:
        raise BadInput(*(f"{source}: budget.{problem}" for problem in problems))
    edits, undone = {}, []
    for name in wanted:
        given = known[name].instead_of if name in known else limits[name]
        if _alike(new[name], given):
            undone.append(name)
        else:
            edits[name] = BudgetEdit(limit=new[name], instead_of=given, by=by, at=now)
    store.changes.edit(record.name, edits, undone)
    said = ", ".join(f"{name} {_shown(name, before[name])} → {_shown(name, new[name])}" for name in wanted)
    write_log(store, record.name, LogKind.BUDGET, said, by=by)
    return f"{source}: {said}; {_when(store, record.name)}"


def reset_budget(store: Store, study: str, *, by: str) -> str:
    """Take all edits of a study's budget back: the limits that it was started with hold again.

    Raises:
        BadInput: there is no such study, or nothing was edited.
    """
    name = store.studies.get(study).name
    known = store.changes.edits(name)
    if not known:
        raise BadInput(f"study {name}: its budget was not edited")
    store.changes.edit(name, {}, list(known))
    said = ", ".join(
        f"{limit} {_shown(limit, edit.limit)} → {_shown(limit, edit.instead_of)}"
        for limit, edit in known.items()
    )
    write_log(store, name, LogKind.BUDGET, f"edits taken back: {said}", by=by)
    return f"study {name}: edits taken back: {said}; {_when(store, name)}"


def _when(store: Store, name: str) -> str:
    if store.studies.has_controller(name):
        return "its controller takes it over now"
    return "it holds from the next `controller start` on, unless the sweep file has another limit by then"


def _read(name: str, value: Any, source: str) -> Any:
    """A limit as `[budget]` has it; None for none. Raises `BadInput` for one that can't be edited."""
    if name not in EDITABLE:
        near = nearest(name, EDITABLE)
        hint = f"did you mean {near!r}?" if near else f"these can: {', '.join(EDITABLE)}"
        raise BadInput(f"{source}: budget.{name} can't be edited; {hint}")
    if not isinstance(value, str):
        return value
    if value.strip().lower() in NONE:
        return None
    try:
        return toml_value(value.strip())
    except ValueError as error:
        raise BadInput(f"{source}: budget.{name}: {error}") from error


def _checked(
    record: StudyRecord, limits: Mapping[str, Any], wanted: Iterable[str], source: str
) -> dict[str, float | None]:
    """The limits that are wanted, by the sweep file's own rules, times in seconds. Raises `BadInput`."""
    is_sweep = "metric" in record.sweep.get("study", {})
    table = dict(record.sweep.get("budget", {})) if is_sweep else {}
    for name, limit in limits.items():
        whole = isinstance(limit, float) and name not in _TIMES and limit.is_integer()
        table[name] = int(limit) if whole else limit
    table = {name: limit for name, limit in table.items() if limit is not None}
    sampler = str(record.sweep.get("sampler", {}).get("type", "tpe")) if is_sweep else None
    budget = read_budget(table, sampler, source)
    return {name: getattr(budget, f"{name}_s" if name in _TIMES else name) for name in wanted}


def _too_low(record: StudyRecord, name: str, limit: float | None) -> str:
    """What is wrong with a limit that is below what is used; empty where it isn't."""
    used = _number(record, EDITABLE[name], "used") or 0.0
    if limit is None or name == "max_concurrent":
        return ""  # fewer at once: what runs ends first
    if name == "max_trials":
        least, what = used, f"{used:g} trials were created"
        share = _share(record)
        if share:
            iterations = sum(_number(record, "iterations", field) or 0.0 for field in ("used", "reserved"))
            least = math.ceil(iterations / share)
            what = f"{iterations:g} iterations are used or reserved, those of {least:g} trials"
        return f"max_trials: {limit:g} is too low: {what} already" if limit < least else ""
    if name == "max_failures":
        text = f"max_failures: {limit:g} is too low: {used:g} trials have failed already"
        return text if limit <= used and used else ""
    text = f"{name}: {spoken(limit)} is too low: {spoken(used * 60)} are used already"
    return text if limit <= used * 60 and used else ""


def _share(record: StudyRecord) -> float:
    """Iterations that one trial stands for in the budget; 0 where they don't count."""
    iterations, jobs = _number(record, "iterations", "limit"), _number(record, "jobs", "limit")
    return iterations / jobs if iterations and jobs else 0.0


def _number(record: StudyRecord, kind: str, field: str) -> float | None:
    value = (record.budget.get(kind) or {}).get(field)
    return float(value) if isinstance(value, (int, float)) else None


def _alike(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and math.isclose(one, other, abs_tol=0.01))


def _shown(name: str, limit: float | None) -> str:
    if limit is None:
        return "no limit"
    return spoken(limit) if name in _TIMES else f"{limit:g}"
