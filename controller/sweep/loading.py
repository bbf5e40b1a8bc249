"""A sweep file and its `--set` overrides, read into a `Sweep`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controller.sweep.foreign import looks_like
from controller.sweep.overrides import Override, apply_override, parse_override
from controller.sweep.parsing import examine, plain_line
from controller.sweep.places import TomlPlaces, YamlPlaces, with_line
from controller.sweep.problems import Problem, key_text, one_line, show
from controller.sweep.schema import Sweep
from controller.sweep.yaml_reader import read_yaml
from worker.protocol.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIXES = (".toml", ".yaml", ".yml")


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read, override and check a sweep file.

    Args:
        path: a `.toml`, `.yaml` or `.yml` file in UTF-8.
        overrides: `key=value` each, as after `--set`; keys are dotted (`parameters.lr.low`), values are TOML
            or, failing that, text. Later ones win.

    Raises:
        BadInput: the file can't be read or parsed (one message), or has problems: one message each, with file
            and key, or with `--set` if that override caused it.
    """
    source = str(path)
    text = _text_of(Path(path))
    data = _read(Path(path), text)
    foreign = looks_like(data)
    if foreign is not None:
        raise BadInput(one_line(f"{source}: {foreign}"))
    problems: list[str] = []
    applied: list[Override] = []
    for given in overrides:
        try:
            override = parse_override(given)
            data = apply_override(data, override)
        except ValueError as error:
            problems.append(one_line(str(error)))
            continue
        # This one replaces what earlier overrides set at or below its key.
        applied = [old for old in applied if old.path[: len(override.path)] != override.path]
        applied.append(override)
    sweep, found = examine(data, source)
    places = TomlPlaces(text) if _language(Path(path)) == "TOML" else YamlPlaces(text)
    problems.extend(_line(problem, source, applied, places) for problem in found)
    if sweep is None or problems:
        raise BadInput(*problems)
    return sweep


def _language(path: Path) -> str:
    return "TOML" if path.suffix.lower() == ".toml" else "YAML"


def _read(path: Path, text: str) -> dict[str, Any]:
    language = _language(path)
    try:
        data: object = tomllib.loads(text) if language == "TOML" else read_yaml(text)
    except ValueError as error:
        problem = str(error)
        for jargon in ("Cannot overwrite a value", "Cannot declare", "Cannot mutate immutable namespace"):
            # tomllib's and tomli's words for a key or a table that is given twice.
            problem = problem.replace(jargon, f"a key is given twice: {jargon[0].lower()}{jargon[1:]}")
        problem = with_line(problem, text, words=language == "TOML")
        raise BadInput(f"{path}: not valid {language}: {problem}") from None
    except RecursionError:
        raise BadInput(f"{path}: not valid {language}: nested too deeply") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise BadInput(f"{path}: must have sections such as study and objective, got {show(data)}")
    return data


def _text_of(path: Path) -> str:
    """The file's text. Raises `BadInput` if it can't be read."""
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{path}: a sweep file ends in .toml, .yaml or .yml")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except IsADirectoryError:
        raise BadInput(f"{path}: is a folder, not a sweep file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path}: can't be read: {reason}") from None
    try:
        return content.decode("utf-8-sig")  # Windows editors put a byte-order mark first
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}: not UTF-8 (at line {line}); save the file in UTF-8") from None


def _line(problem: Problem, source: str, applied: Sequence[Override], places: TomlPlaces | YamlPlaces) -> str:
    """The problem's message, with its line, or the overrides that caused it or take part in it."""
    path = problem.path
    blamed = [
        override
        for override in applied
        if path[: len(override.path)] == override.path
        or (problem.unknown and override.path[: len(path)] == path)
    ]
    if blamed:
        return one_line(f"{blamed[-1]}: {key_text(path)}: {problem.text}")
    involved = [
        str(override)
        for override in applied
        for related in (problem.path, *problem.related)
        if related[: len(override.path)] == override.path or override.path[: len(related)] == related
    ]
    with_overrides = f" (with {', '.join(dict.fromkeys(involved))})" if involved else ""
    line = places.line(path)
    where = f" (line {line})" if line is not None else ""
    return plain_line(problem, source) + where + one_line(with_overrides)
