"""On which line of a sweep file something stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from controller.sweep.problems import Path, one_line
from controller.sweep.yaml_reader import StrictLoader

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHOWN_CHARS = 60
_LINE = re.compile(r"at line (\d+)(?:, column (\d+))?")
_WORDS = {
    "none": "; None is { none = true } in TOML",
    "null": "; None is { none = true } in TOML",
    "nil": "; None is { none = true } in TOML",
    "true": "; write true",
    "false": "; write false",
    "yes": "; write true, or put text in quotes",
    "no": "; write false, or put text in quotes",
}


class TomlPlaces:
    """Lines of a TOML file, which has been read without an error.

    tomllib says of a value what it is, not where it stood: a prefix of the file that has it and one that
    has it not yet tell.
    """

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._read: dict[int, Any] = {}

    def line(self, path: Path) -> int | None:
        """The line where the value, or the nearest table around it, begins; None for the whole file."""
        whole = self._first_lines(len(self._lines))
        while path and not _has(whole, path):
            path = path[:-1]
        if not path:
            return None
        without, having = 0, len(self._lines)
        while having - without > 1:
            middle = (without + having) // 2
            # A prefix that ends within a value can't be read: take the next one, or else the one before.
            near = [*range(middle, having), *range(middle - 1, without, -1)]
            end = next((end for end in near if self._first_lines(end) is not None), None)
            if end is None:
                break
            if _has(self._first_lines(end), path):
                having = end
            else:
                without = end
        return without + 1

    def _first_lines(self, count: int) -> Any:
        """What the first lines hold; None where they can't be read alone."""
        if count not in self._read:
            try:
                self._read[count] = tomllib.loads("\n".join(self._lines[:count]))
            except (ValueError, RecursionError):
                self._read[count] = None
        return self._read[count]


class YamlPlaces:
    """Lines of a YAML file, which has been read without an error."""

    def __init__(self, text: str) -> None:
        self._root = yaml.compose(text, Loader=StrictLoader)

    def line(self, path: Path) -> int | None:
        """As `TomlPlaces.line`."""
        node, found = self._root, None
        for part in path:
            marked = _below(node, part)
            if marked is None:
                break
            key, node = marked
            found = key.start_mark.line + 1
        return found


def _below(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node whose line counts and the value's, of one part of a path; None where it isn't there."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _has(data: Any, path: Path) -> bool:
    for part in path:
        there = isinstance(part, int) and isinstance(data, list) and part < len(data)
        if not there and not (isinstance(data, Mapping) and part in data):
            return False
        data = data[part]
    return True


def with_line(problem: str, text: str, *, words: bool) -> str:
    """A parser's message with the line that it speaks of.

    Args:
        problem: such as "invalid value (at line 3, column 8)".
        text: of the file.
        words: say how TOML writes the word that stands there.
    """
    lines = text.split("\n")
    match = _LINE.search(problem)
    if match is None:
        last = next((number for number in range(len(lines), 0, -1) if lines[number - 1].strip()), None)
        if "end of document" not in problem or last is None:
            return problem
        problem = problem.replace("end of document", f"end of document, line {last}")
        return f"{problem}: {_shown(lines[last - 1])}"
    number, column = int(match[1]), int(match[2] or 1)
    line = lines[number - 1] if number <= len(lines) else ""
    hint = _hint(line[column - 1 :]) if words and "nvalid value" in problem else ""
    return f"{problem}: {_shown(line)}{hint}" if line.strip() else problem


def _hint(rest: str) -> str:
    """How TOML writes what stands where a value is expected."""
    if rest.startswith("("):
        return "; write a list as [1, 2]"
    if re.match(r"[-+]?\.\d", rest):
        return "; a number begins with a digit, such as 0.5"
    word = re.match(r"[A-Za-z_][\w./:-]*", rest)
    return "" if word is None else _WORDS.get(word[0].casefold(), "; put text in quotes")


def _shown(line: str) -> str:
    text = one_line(line.strip())
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"
