"""A sweep as a file that `controller start` reads: TOML or YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line

YAML = (".yaml", ".yml")


def write_sweep(sweep: Mapping[str, Any], path: Path | str, comments: Sequence[str] = ()) -> str:
    """The text of a sweep file.

    Args:
        sweep: `Sweep.to_dict()`.
        path: whose ending says the language; TOML for none.
        comments: lines that stand first.

    Raises:
        BadInput: TOML can't hold it; says so.
    """
    first = "".join(f"# {one_line(line, 500)}\n" for line in comments)
    if Path(path).suffix.lower() in YAML:
        return first + "\n" + yaml.safe_dump(dict(sweep), sort_keys=False, allow_unicode=True, width=100)
    return first + "".join(_sections(sweep))


def _sections(sweep: Mapping[str, Any]) -> Iterator[str]:
    for name, section in sweep.items():
        if isinstance(section, Mapping):
            yield f"\n[{_key(name)}]\n" + _lines(section)
        else:
            yield from (f"\n[[{_key(name)}]]\n{_lines(table)}" for table in section)


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{_key(name)} = {_value(value)}\n" for name, value in table.items())


def _key(name: str) -> str:
    is_bare = name.isascii() and bool(name) and name.replace("_", "").replace("-", "").isalnum()
    return name if is_bare else _text(name)


def _text(text: str) -> str:
    # JSON's strings are TOML's, but for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if value is None:
        return "{ none = true }"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) >= 2**63:
            raise BadInput(f"TOML has no number as large as {value}: write a .yaml file")
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(str(name))} = {_value(one)}' for name, one in value.items())} }}"
    return f"[{', '.join(map(_value, value))}]"
