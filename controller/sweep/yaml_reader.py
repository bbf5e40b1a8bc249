"""YAML read strictly: duplicate keys are refused, and plain words mean what TOML's would.

PyYAML follows YAML 1.1, where `1e-5` is text, `on` is true, `010` is 8 and `12:30` is 750. Here scalars
follow YAML 1.2's core schema instead, so that a learning rate is a number and the choice `no` stays a word.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"


class StrictLoader(yaml.SafeLoader):
    """The safe loader with core-schema scalars, text keys only, and no key twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute, refilled below

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        # Before the merge keys (<<) are unfolded: overriding a merged key is what merging is for.
        for key_node, _ in node.value:
            if key_node.tag == f"{_TAG}merge":
                continue
            line = key_node.start_mark.line + 1
            if key_node.tag != f"{_TAG}str":
                shown = getattr(key_node, "value", None)
                name = shown if isinstance(shown, str) else "a list or table"
                raise _error(key_node, f'the key {name} is not text; write it in quotes: "{name}"')
            if key_node.value in seen:
                raise _error(
                    key_node, f'the key "{key_node.value}" is already on line {seen[key_node.value]}'
                )
            seen[key_node.value] = line
        return super().construct_mapping(node, deep)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        try:
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        except ValueError:  # thousands of digits
            raise _error(node, "the number is too long") from None

    def construct_float(self, node: yaml.ScalarNode) -> float:
        return float(str(self.construct_scalar(node)).lower().replace(".inf", "inf").replace(".nan", "nan"))

    def construct_text(self, node: yaml.ScalarNode) -> str:
        text = str(self.construct_scalar(node))
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise _error(node, "half a surrogate pair is not a character")
        return text


def _error(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    # \Z, as PyYAML matches from the start only; int stands before float and wins where both match.
    StrictLoader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), _first)
StrictLoader.add_constructor(f"{_TAG}int", StrictLoader.construct_int)
StrictLoader.add_constructor(f"{_TAG}float", StrictLoader.construct_float)
StrictLoader.add_constructor(f"{_TAG}str", StrictLoader.construct_text)


def read_yaml(text: str) -> object:
    """The one document in the text.

    Raises:
        ValueError: not YAML, or not strictly so; one line, with line and column where they are known.
    """
    try:
        return yaml.load(text, Loader=StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        tag = re.fullmatch(r"could not determine a constructor for the tag '(.*)'", error.problem or "")
        if tag is not None:
            name = tag[1].replace(_TAG, "!!")
            error.problem = f"the tag {name} means nothing here; write the value without it"
        place = f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"{error.problem or error.context}{place}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"the character {error.character!r} is not allowed (at line {line})") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
