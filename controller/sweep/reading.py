"""Reads one table of a sweep into its section, without its bad keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from controller.sweep.fields import Section
from controller.sweep.problems import Path, Problem, closest, show, translate, unknown

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, kw_only=True)
class Reading(Generic[S]):
    """A section as far as it could be read.

    Attributes:
        value: the section without its bad keys; None if a required one is among them.
        problems: what is wrong with its keys.
        doubtful: the bad keys, and the keys they were probably meant to be.
    """

    value: S | None
    problems: tuple[Problem, ...]
    doubtful: frozenset[str]


def read_section(model: type[S], raw: object, path: Path, label: str) -> Reading[S]:
    """Read a table; on bad keys, read it again without them, so that the rest can still be checked."""
    if not isinstance(raw, Mapping):
        problem = Problem(path=path, text=f"must be a table, got {show(raw)}")
        return Reading(value=None, problems=(problem,), doubtful=frozenset())
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    required = [name for name, info in fields.items() if info.is_required()]
    table = {str(key): value for key, value in raw.items()}
    try:
        return Reading(value=model.model_validate(table), problems=(), doubtful=frozenset())
    except ValidationError as error:
        errors = error.errors(include_url=False)
    bad: set[str] = set()
    meant: set[str | None] = set()
    problems = []
    for item in errors:
        key = str(item["loc"][0])
        if item["type"] == "missing":
            continue
        bad.add(key)
        if item["type"] == "extra_forbidden":
            meant.add(closest(key, list(fields), present=table))
            text = unknown(key, list(fields), what="key", others=f"{label} takes", present=table)
        else:
            text = translate(item)
        is_unknown = item["type"] == "extra_forbidden"
        problems.append(Problem(path=(*path, *item["loc"]), text=text, unknown=is_unknown))
    for item in errors:
        if item["type"] == "missing" and item["loc"][0] not in meant:
            text = f"missing; {label} needs {' and '.join(required)}"
            problems.append(Problem(path=(*path, *item["loc"]), text=text))
    try:
        value = model.model_validate({key: value for key, value in table.items() if key not in bad})
    except ValidationError:
        value = None
    return Reading(
        value=value, problems=tuple(problems), doubtful=frozenset(bad | {key for key in meant if key})
    )
