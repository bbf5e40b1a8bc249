"""The next study: the search space of one that has run, widened, narrowed and fixed as is advised."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from controller.insight.importance_advice import Advice, Advised, by_parameter
from controller.insight.importance_sample import Sample
from controller.results.space import Space, shown, spaces_of
from controller.sweep import parse_sweep
from worker.protocol import StudyRecord
from worker.protocol.errors import BadInput

MOST_TRIES = 3
"""Of the best trials, those that are tried first where the new space no longer has them as they were."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What becomes of one parameter."""

    parameter: str
    before: str
    after: str
    """Empty where it goes."""
    why: str


@dataclass(frozen=True, kw_only=True)
class Refined:
    """The next study."""

    sweep: Mapping[str, Any]
    """As `Sweep.to_dict()` has it."""
    changes: tuple[Change, ...]
    """Empty where nothing is to be changed: the space is as before."""
    known: int
    """Trials of the study that the new space has: its sampler knows them from the start."""
    of: int
    """Trials that were looked at."""


def refine(
    sample: Sample, advised: Advised, *, fix: bool = True, taken: Collection[str] = (), name: str = ""
) -> Refined:
    """The sweep that follows from a study.

    Args:
        sample: the trials that the advice was made of.
        fix: whether parameters that don't matter get one value.
        taken: names of studies that there are.
        name: of the new study; empty for the old one's with a number.

    Raises:
        BadInput: the study was not begun by a sweep file.
    """
    record = sample.data.study
    if record.sweep.get("objective", {}).get("optuna") and "parameters" not in record.sweep:
        raise BadInput(
            f"study {record.name!r}: its objective chooses the parameters itself: change the ranges in "
            f"{record.sweep['objective']['optuna']}, as `controller importance` advises"
        )
    if "objective" not in record.sweep or "parameters" not in record.sweep:
        raise BadInput(
            f"study {record.name!r} was begun by a program, not by a sweep file: change its ranges there, as "
            "`controller importance` advises"
        )
    before = spaces_of(record.sweep)
    sweep = copy.deepcopy(dict(record.sweep))
    advice = {n: one for n, one in by_parameter(advised.advice).items() if fix or one.kind != "fix"}
    parameters = {name: _table(table, advice.get(name)) for name, table in sweep["parameters"].items()}
    sweep["parameters"] = _possible(parameters)
    after = spaces_of(sweep)
    study = dict(sweep["study"])
    study["start_from"] = record.name
    study["name"] = name or _next_name(record.name, {*taken, record.name})
    sweep["study"] = study
    fits = [all(_has(after.get(n), value) for n, value in row.items()) for row in sample.rows]
    sweep.pop("try", None)
    tries = [_moved(sample.rows[place], after) for place in sample.best[:MOST_TRIES] if not fits[place]]
    if tries := [one for place, one in enumerate(tries) if one and one not in tries[:place]]:
        sweep["try"] = tries
    return Refined(
        sweep=_checked(sweep, record),
        changes=tuple(_changes(before, after, advice)),
        known=sum(fits),
        of=len(fits),
    )


def _table(table: Mapping[str, Any], advice: Advice | None) -> dict[str, Any]:
    """A parameter's table, changed as is advised."""
    if advice is None:
        return dict(table)
    kept = {"when": table["when"]} if table.get("when") else {}
    if advice.values:
        return {"choices": list(advice.values), **kept}
    is_int = table.get("type") == "int"
    bounds = {"low": advice.low, "high": advice.high}
    changed = {
        key: int(value) if is_int else float(value) for key, value in bounds.items() if value is not None
    }
    return {**table, **changed}


def _possible(parameters: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without the conditional parameters that no trial would have, and conditions that can't be met."""
    found: dict[str, dict[str, Any]] = {}
    for name, table in parameters.items():
        when = {}
        for parent, values in dict(table.get("when") or {}).items():
            space = spaces_of({"parameters": {parent: found[parent]}})[parent][0] if parent in found else None
            when[parent] = [value for value in values if _has((space,) if space else None, value)]
        if all(when.values()):
            found[name] = {**table, **({"when": when} if when else {})}
    return found


def _has(spaces: tuple[Space, ...] | None, value: Any) -> bool:
    """Whether one of some spaces has a value."""
    for space in spaces or ():
        if space.kind == "choices":
            if shown(value) in map(shown, space.choices):
                return True
        elif space.place(value) is not None or (space.low == space.high == value):
            return True
    return False


def _moved(row: Mapping[str, Any], after: Mapping[str, tuple[Space, ...]]) -> dict[str, Any] | None:
    """A trial's parameters in the new space, what is fixed at its value; None where others don't fit."""
    found = {}
    for name, value in row.items():
        spaces = after.get(name)
        if spaces is None:
            continue  # no trial has it any more
        if _has(spaces, value):
            found[name] = value
        elif spaces[0].kind == "choices" and len(spaces[0].choices) == 1:
            found[name] = spaces[0].choices[0]
        else:
            return None
    for name in list(found):
        conditions = after[name][0].when
        if any(parent not in found or found[parent] not in values for parent, values in conditions.items()):
            del found[name]
    return found


def _next_name(name: str, taken: Collection[str]) -> str:
    """The name with the next free number."""
    match = re.fullmatch(r"(.*?)-(\d{1,6})", name, re.DOTALL)
    base, number = (match[1], int(match[2])) if match else (name, 1)
    while True:
        number += 1
        if f"{base}-{number}" not in taken:
            return f"{base}-{number}"


def _checked(sweep: dict[str, Any], record: StudyRecord) -> Mapping[str, Any]:
    """The sweep as a file has it. Raises `BadInput` where no file could have it."""
    try:
        return parse_sweep(sweep, "the new sweep").to_dict()
    except BadInput as error:
        raise BadInput(f"study {record.name!r} can't be refined: {error}") from error


def _changes(
    before: Mapping[str, tuple[Space, ...]],
    after: Mapping[str, tuple[Space, ...]],
    advice: Mapping[str, Advice],
) -> list[Change]:
    found = []
    for name, spaces in before.items():
        old = "; ".join(space.text for space in spaces)
        new = "; ".join(space.text for space in after.get(name, ()))
        if old != new:
            why = advice[name].text if name in advice else "what it depends on has changed"
            found.append(Change(parameter=name, before=old, after=new, why=why))
    return found
