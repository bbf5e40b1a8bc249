"""What is wrong with a sweep, in words: where it stands, what it is, and what was probably meant."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from worker.protocol.nearest import nearest

Path = tuple[str | int, ...]
"""Where a value stands: `("study", "metric", 1, "goal")`."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_CHARS = 60

# W&B's, ClearML's and Optuna's words for keys of a sweep file: by spelling alone the key would not be found.
_OTHER_WORDS = {
    "min": "low",
    "lower": "low",
    "minimum": "low",
    "max": "high",
    "upper": "high",
    "maximum": "high",
    "value": "choices",
    "values": "choices",
    "categories": "choices",
    "distribution": "type",
    "metrics": "metric",
    "direction": "goal",
    "n_trials": "max_trials",
    "trials": "max_trials",
    "run_cap": "max_trials",
    "total_max_jobs": "max_trials",
    "max_iteration_per_job": "max_iterations",
    "min_iteration_per_job": "min_iterations",
    "max_number_of_concurrent_tasks": "max_concurrent",
    "n_jobs": "max_concurrent",
    "time_limit_per_job": "time_per_trial",
    "compute_time_limit": "total_compute",
    "timeout": "wall_clock",
    "time_limit": "wall_clock",
    "fn": "function",
    "program": "script",
    "cmd": "command",
    "method": "type",
    "tries": "try",
    "enqueue": "try",
    "points_to_evaluate": "try",
    "warm_start": "start_from",
    "fixed_params": "fixed",
    "base_sampler": "base",
    "wrapped_pruner": "wrapped",
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a sweep.

    Attributes:
        path: where it stands; empty for the sweep as a whole.
        text: what is wrong and what to do, without the place.
        related: other places that take part in it (the `high` of a `low` above it).
        unknown: the key itself should not be there.
    """

    path: Path
    text: str
    related: tuple[Path, ...] = ()
    unknown: bool = False


def key_text(path: Path) -> str:
    """A path as a TOML user writes it: `study.metric[1].goal`, with unusual names in quotes."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
            continue
        name = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
        shown += f".{name}" if shown else name
    return shown


def show(value: object) -> str:
    """A value as the file writes it (`true`, `"text"`, `[1, 2]`), cut short where it is long."""
    try:
        text = one_line(json.dumps(value, ensure_ascii=False, default=str))
    except (ValueError, TypeError, RecursionError):
        text = type(value).__name__  # a table with odd keys, a number of thousands of digits
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def one_line(text: str) -> str:
    """The text with line breaks and characters that can't be printed escaped."""
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        else char
        for char in text
    )


def closest(
    word: str, known: Collection[str], *, cutoff: float = 0.6, present: Collection[str] = ()
) -> str | None:
    """The known word that `word` is probably a misspelling of, or another tool's name for.

    Args:
        word: what was written.
        known: what it could have been.
        cutoff: how similar they must be, from 0 to 1.
        present: known words that are there already; of two equally near, the other one is meant.
    """
    meant = _OTHER_WORDS.get(word.casefold())
    return meant if meant in known else nearest(word, known, cutoff, present)


def unknown(
    word: str, known: Collection[str], *, what: str, others: str, present: Collection[str] = ()
) -> str:
    """`unknown key; did you mean "low"?`, or the list of known words if none is near.

    Args:
        word: what was written.
        known: the words that can stand there.
        what: `key`, `type "flaot"` …: follows "unknown".
        others: says what `known` is, before the list: `[budget] takes`.
        present: known words that are there already.
    """
    meant = closest(word, known, present=present)
    if meant is not None:
        return f'unknown {what}; did you mean "{meant}"?'
    return f"unknown {what}; {others} {', '.join(known)}"


def translate(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in our own words; `extra_forbidden` is up to the caller."""
    kind, got = str(error["type"]), show(error["input"])
    context = error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_type":
        given = error["input"]
        hint = "; put it in quotes" if isinstance(given, (bool, int, float)) else ""
        if isinstance(given, Mapping) and len(given) == 1 and None in given.values():
            hint = f'; YAML needs quotes around braces: "{{{next(iter(given))}}}"'
        return f"must be text, got {got}{hint}"
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}, got {got}"
    if kind == "literal_error":
        expected = [word.strip("'") for word in re.findall(r"'[^']*'", str(context["expected"]))]
        meant = closest(str(error["input"]), expected, cutoff=0.4)
        hint = f'; did you mean "{meant}"?' if meant else ""
        return f"must be {' or '.join(json.dumps(word) for word in expected)}, got {got}{hint}"
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}, got {got}"
    if kind == "less_than_equal":
        return f"must be at most {context['le']}, got {got}"
    message = str(error["msg"])
    return f"{message[:1].lower()}{message[1:]}, got {got}"


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_unicode": "text that UTF-8 can write",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
