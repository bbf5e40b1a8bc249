"""Edits the budget of a study, whether it runs or not.

An edit stands beside the study's record until it is taken back. A controller that runs takes it over at once,
the next one when it starts. It holds as long as the study is started with the limit that it has replaced: a
sweep file that says something else by then is newer than the edit, and wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from controller.control.journal import write_log
from controller.results.durations import spoken
from controller.results.limits import (
    EDITABLE,
    OF_ONE_TRIAL,
    TIMES,
    alike,
    limits_of,
    number_of,
    out_of_reach,
    said,
    wanted_limits,
)
from controller.sweep.overrides import toml_value
from controller.sweep.parts import read_budget
from worker.protocol import Store, StudyRecord
from worker.protocol.errors import BadInput
from worker.protocol.nearest import nearest
from worker.protocol.study_changes import BudgetEdit
from worker.protocol.study_log import LogKind

NONE = ("none", "null", "")
"""What takes a limit away."""
FIXED = {
    "max_iterations": "trials of another length are hard to compare, and shares of the iteration budget rest "
    "on it",
    "max_attempts": "each task has its own already",
    "retry_on": "each task has its own already",
    "lease": "workers have agreed on it with this controller",
    "first_failures": "it counts from the study's first trial",
}
"""Keys of `[budget]` that hold until the next start, and why."""


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
    for name in wanted:
        if why := out_of_reach(record, name):
            raise BadInput(f"{source}: budget.{name} can't be edited: {why}")
    known, now = store.changes.edits(record.name), store.clock.now()
    limits, before = limits_of(record), wanted_limits(record, known)
    new = _checked(record, {**before, **wanted}, wanted, source)
    wanted = {name: value for name, value in wanted.items() if not alike(new[name], before[name])}
    if not wanted:
        raise BadInput(f"{source}: these limits hold already")
    problems = [problem for name in wanted if (problem := _too_low(record, name, new[name]))]
    if problems:
        raise BadInput(*(f"{source}: budget.{problem}" for problem in problems))
    edits = {}
    for name in wanted:
        given = known[name].instead_of if name in known else limits[name]
        limit = given if alike(new[name], given) else new[name]
        edits[name] = BudgetEdit(limit=limit, instead_of=given, by=by, at=now)
    store.changes.edit(record.name, edits)
    done = ", ".join(f"{name} {said(name, before[name])} → {said(name, new[name])}" for name in wanted)
    write_log(store, record.name, LogKind.BUDGET, done, by=by)
    return f"{source}: {done}; {_when(store, record.name)}"


def reset_budget(store: Store, study: str, *, by: str) -> str:
    """Take all edits of a study's budget back: the limits that it was started with hold again.

    Raises:
        BadInput: there is no such study, or nothing was edited.
    """
    name = store.studies.get(study).name
    known = store.changes.edits(name)
    if not known:
        raise BadInput(f"study {name}: its budget was not edited")
    now = store.clock.now()
    undone = {limit: replace(edit, limit=edit.instead_of, by=by, at=now) for limit, edit in known.items()}
    store.changes.edit(name, undone)
    done = ", ".join(
        f"{limit} {said(limit, edit.limit)} → {said(limit, edit.instead_of)}" for limit, edit in known.items()
    )
    write_log(store, name, LogKind.BUDGET, f"edits taken back: {done}", by=by)
    return f"study {name}: edits taken back: {done}; {_when(store, name)}"


def _when(store: Store, name: str) -> str:
    if store.studies.has_controller(name):
        return "its controller takes it over now"
    return "it holds from the next `controller start` on, unless the sweep file has another limit by then"


def _read(name: str, value: Any, source: str) -> Any:
    """A limit as `[budget]` has it; None for none. Raises `BadInput` for one that can't be edited."""
    if name in FIXED:
        raise BadInput(
            f"{source}: budget.{name} can't be edited: {FIXED[name]}; end the study with `controller stop`, "
            "set it in the sweep file, and start the study again"
        )
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
        whole = isinstance(limit, float) and name not in TIMES and limit.is_integer()
        table[name] = int(limit) if whole else limit
    table = {name: limit for name, limit in table.items() if limit is not None}
    if not is_sweep and (share := _share(record)):
        table.setdefault("max_iterations", int(share))
    sampler = str(record.sweep.get("sampler", {}).get("type", "tpe")) if is_sweep else None
    budget = read_budget(table, sampler, source)
    return {name: getattr(budget, f"{name}_s" if name in TIMES else name) for name in wanted}


def _too_low(record: StudyRecord, name: str, limit: float | None) -> str:
    """What is wrong with a limit that is below what is used; empty where it isn't."""
    used = number_of(record.budget, EDITABLE[name], "used") or 0.0
    if limit is None or name in ("max_concurrent", *OF_ONE_TRIAL):
        return ""  # fewer at once: what runs ends first; a trial keeps the limit that it has
    if name == "max_trials":
        least, what = used, f"{used:g} trials were created"
        share = _share(record)
        if share:
            iterations = sum(
                number_of(record.budget, "iterations", field) or 0.0 for field in ("used", "reserved")
            )
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
    iterations, jobs = (
        number_of(record.budget, "iterations", "limit"),
        number_of(record.budget, "jobs", "limit"),
    )
    return iterations / jobs if iterations and jobs else 0.0
