"""`[sampler]` and `[pruner]`: tables whose keys are mostly Optuna's own, and such tables nested in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.sweep.problems import Path, Problem, closest, key_text, show, unknown
from controller.sweep.values import is_scalar, read_value
from worker.protocol.sampler_names import PRUNERS, SAMPLERS, pruner_name, sampler_name

MAX_OPTION_DEPTH = 10


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A sampler's or pruner's table in the shape of its section.

    Attributes:
        table: the type by its canonical name, the seed, and everything else in `options`.
        clear: whether it is certain which type is meant.
        problems: what is wrong with the keys and the type.
        doubtful: the keys that unknown ones were probably meant to be.
    """

    table: object
    clear: bool
    problems: tuple[Problem, ...] = ()
    doubtful: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class _Around:
    """A sampler or pruner that wraps another one.

    Attributes:
        kind: its type.
        keys: every key that it takes.
        inner: the key that holds the wrapped one's table.
        without: types that it can't wrap.
        default: the wrapped type if its table names none; None if the table must name one.
        example: a type for messages that show how to write such a table.
    """

    kind: str
    keys: tuple[str, ...]
    inner: str
    without: tuple[str, ...]
    default: str | None
    example: str


_PARTIAL_FIXED = _Around(
    kind="partial_fixed",
    keys=("fixed", "base"),
    inner="base",
    without=("partial_fixed", "grid"),
    default="tpe",
    example="tpe",
)
_PATIENT = _Around(
    kind="patient",
    keys=("patience", "min_delta", "wrapped"),
    inner="wrapped",
    without=("patient", "none"),
    default=None,
    example="median",
)


def fold_sampler(raw: object) -> Folded:
    """Bring the `[sampler]` table into its section's shape, a nested `base` table included."""
    folded = _fold(("sampler",), raw, ("type", "seed"), tuple(SAMPLERS), sampler_name)
    return _around(folded, ("sampler",), _PARTIAL_FIXED, tuple(SAMPLERS), sampler_name)


def fold_pruner(raw: object) -> Folded:
    """Bring the `[pruner]` table into its section's shape, a nested `wrapped` table included."""
    folded = _fold(("pruner",), raw, ("type",), tuple(PRUNERS), pruner_name)
    return _around(folded, ("pruner",), _PATIENT, tuple(PRUNERS), pruner_name)


def is_plain(value: object, depth: int = 0) -> bool:
    """Whether JSON can carry the value; the depth guards against a YAML list that contains itself."""
    if isinstance(value, (list, Mapping)) and depth >= MAX_OPTION_DEPTH:
        return False
    if isinstance(value, list):
        return all(is_plain(item, depth + 1) for item in value)
    if isinstance(value, Mapping):
        return all(
            isinstance(key, str) and is_scalar(key) and is_plain(item, depth + 1)
            for key, item in value.items()
        )
    return is_scalar(value) and not (isinstance(value, float) and not math.isfinite(value))


def _fold(
    path: Path, raw: object, own: tuple[str, ...], known: tuple[str, ...], plain_name: Callable[[str], str]
) -> Folded:
    """Move all keys but `own` into `options`, and give the type its canonical name."""
    if not isinstance(raw, Mapping):
        return Folded(table=raw, clear=False)
    problems: list[Problem] = []
    table: dict[str, Any] = {"options": {}}
    clear = True
    for key, value in ((str(key), value) for key, value in raw.items()):
        here: Path = (*path, key)
        if key in own:
            table[key] = value
            continue
        table["options"][key] = _fixed(value) if key == "fixed" else value
        meant = closest(key, own, cutoff=0.75)
        clear = clear and meant != "type"
        if meant is not None and meant not in raw:
            # Otherwise a misspelt "seed" would pass for an option of the sampler.
            problems.append(Problem(path=here, text=f'unknown key; did you mean "{meant}"?'))
        elif key == "options":
            text = f"write each option as a key of [{key_text(path)}] itself"
            problems.append(Problem(path=here, text=text))
        elif not is_plain(value):
            text = (
                f"must be text, a finite number, true, false, or lists and tables of such, got {show(value)}"
            )
            problems.append(Problem(path=here, text=text))
    if isinstance(table.get("type"), str):
        name = _name_in_a_file(table["type"], plain_name)
        if name in known:
            table["type"] = name
        else:
            clear = False
            text = unknown(name, known, what=f"{path[0]} {show(table['type'])}", others="there are")
            problems.append(Problem(path=(*path, "type"), text=text))
    elif not clear:
        table["type"] = known[0]  # the misspelt key is reported already, and must not count as missing too
    return Folded(table=table, clear=clear, problems=tuple(problems))


def _fixed(table: object) -> object:
    """The parameters that stay, each as the value that it means; what is none stays, and is reported."""
    if not isinstance(table, Mapping):
        return table
    try:
        return {key: read_value(value) for key, value in table.items()}
    except ValueError:
        return table


def _name_in_a_file(written: str, plain_name: Callable[[str], str]) -> str:
    """The name without aliases and hyphens; one with capitals stays, as a sweep file writes lower case."""
    return plain_name(written) if written == written.lower() else written.replace("-", "_")


def _around(
    folded: Folded, path: Path, around: _Around, known: tuple[str, ...], plain_name: Callable[[str], str]
) -> Folded:
    """Check the table nested in one of type `around.kind`; a table of any other type stays as it is."""
    table = folded.table
    if not isinstance(table, Mapping) or table.get("type") != around.kind or not folded.clear:
        return folded
    problems, doubtful = list(folded.problems), set[str]()
    reported = {problem.path for problem in problems}
    options = dict(table["options"])
    for key in options:
        if key not in around.keys and (*path, key) not in reported:
            meant = closest(key, around.keys, present=options)
            doubtful |= {meant} if meant else set()
            others = f"{around.kind} takes"
            text = unknown(key, around.keys, what="key", others=others, present=options)
            problems.append(Problem(path=(*path, key), text=text, unknown=True))
    if around.inner in options and (*path, around.inner) not in reported:
        inner, found = _inner((*path, around.inner), options[around.inner], around, known, plain_name)
        options[around.inner] = inner
        problems.extend(found)
    return Folded(
        table={**table, "options": options},
        clear=folded.clear,
        problems=tuple(problems),
        doubtful=frozenset(doubtful),
    )


def _inner(
    path: Path, raw: object, around: _Around, known: tuple[str, ...], plain_name: Callable[[str], str]
) -> tuple[dict[str, Any], list[Problem]]:
    """The nested table, still flat, and its problems; an empty table if it can't be read."""
    if not isinstance(raw, Mapping):
        text = f'must be a table such as {{ type = "{around.example}" }}, got {show(raw)}'
        return {}, [Problem(path=path, text=text)]
    allowed = tuple(kind for kind in known if kind not in around.without)
    here = (*path, "type")
    kind = raw.get("type")
    if isinstance(kind, str) and _name_in_a_file(kind, plain_name) in around.without:
        text = f"{around.kind} can't have {show(kind)} inside; there are {', '.join(allowed)}"
        return {}, [Problem(path=here, text=text)]
    if "type" in raw and not isinstance(kind, str):
        return {}, [Problem(path=here, text=f"must be text, got {show(kind)}")]
    folded = _fold(path, raw, ("type",), allowed, plain_name)
    problems = list(folded.problems)
    if "type" not in raw and around.default is None and folded.clear:
        text = f'missing; {key_text(path)} needs type, such as "{around.example}"'
        problems.append(Problem(path=here, text=text))
    assert isinstance(folded.table, dict)
    options = folded.table.pop("options")
    return {**folded.table, **options}, problems
