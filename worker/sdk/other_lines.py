"""Command lines that other libraries read: jsonargparse's (section ``Args``) and Hydra's (``Hydra``)."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.protocol.values import holds, plain

HYDRA = "Hydra"
"""The section of what Hydra's command line overrides."""


def words(values: Mapping[str, Any], given: Mapping[str, Any], searched: Sequence[str]) -> Iterator[str]:
    """Names of the arguments that a task changes in what jsonargparse has parsed.

    Args:
        values: what was parsed, by dotted name.
        given: the task's values, by dotted name.
        searched: names among `given` that the study chose.
    """
    for name, own in values.items():
        if name not in given:
            continue
        value, known = given[name], plain(own)
        same = type(value) is type(known) and value == known
        if not same and (name in searched or holds(own)):
            yield name


def with_words(
    line: Sequence[str], names: Sequence[str], given: Mapping[str, Any], values: Mapping[str, Any]
) -> list[str]:
    """A command line of jsonargparse's with the task's values; those of a sub-command stand after it."""
    commands = {value for value in values.values() if isinstance(value, str) and value in line}
    before: list[str] = []
    after: list[str] = []
    for name in names:
        first, _, rest = name.partition(".")
        inner = bool(rest) and first in commands
        (after if inner else before).append(f"--{rest if inner else name}={as_yaml(given[name])}")
    return [*before, *line, *after] if commands else [*line, *before]


def as_yaml(value: Any) -> str:
    """A value as jsonargparse and Hydra read it."""
    return value if isinstance(value, str) else json.dumps(value)


def is_hydras(namespace: argparse.Namespace) -> bool:
    """Whether it is Hydra's own command line that was parsed."""
    return hasattr(namespace, "hydra_help") and isinstance(getattr(namespace, "overrides", None), list)


class HydraLine:
    """The overrides on Hydra's command line, as settings.

    Attributes:
        values: path → the program's own value; a path has one part, the dotted name.
    """

    def __init__(self, namespace: argparse.Namespace) -> None:
        self._namespace = namespace
        self.values: dict[tuple[Any, ...], Any] = {}
        for text in namespace.overrides:
            name, equals, value = str(text).partition("=")
            if equals and not name.startswith(("~", "hydra.", "hydra/")):
                self.values[(name.lstrip("+"),)] = _read(value)

    def add(self, names: Sequence[str]) -> None:
        """Take in what the task overrides besides."""
        for name in names:
            self.values.setdefault((name,), None)

    def take(self, path: tuple[Any, ...], value: Any, searched: bool) -> Any:
        """Override one value. Hydra itself refuses a name that the config doesn't have."""
        own = self.values[path]
        if type(value) is type(own) and value == own and value is not None:
            return own
        self._namespace.overrides.append(f"{path[0]}={_written(value)}")
        return value


def _read(text: str) -> Any:
    """A value on Hydra's command line, as far as it is JSON; else its text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _written(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[\w./:+%@-]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
