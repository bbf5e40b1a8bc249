"""The placeholders of a command objective: found by the controller, filled by the worker.

`{name}` stands for the value of the parameter `name`. `{flag:name}`, an argument of its own, is `--name` for
true and no argument for false. `{{` and `}}` stand for one brace each. Filling is textual and comes after the
command was split, so a value never becomes two arguments and never reaches a shell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.protocol.errors import BadInput

RESERVED = frozenset({"task_id", "trial"})
"""Placeholders that are filled with the task's id and the trial's number; no parameter may have one."""
FLAG = "flag:"
"""How the placeholder of a flag begins; no parameter may begin so."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True, kw_only=True)
class Flag:
    """An argument that is there or not: `{flag:NAME}`, `{flag:NAME:ON}` or `{flag:NAME:ON:OFF}`.

    Attributes:
        name: the boolean parameter.
        on: the argument where it is true; empty for none.
        off: the argument where it is false; empty for none.
    """

    name: str
    on: str
    off: str


def placeholders(argv: Sequence[str]) -> set[str]:
    """Names of the parameters that a command uses, the reserved placeholders included.

    Raises:
        BadInput: an argument has a single brace, an empty `{}` or a malformed flag; one message for each such
            argument.
    """
    found: set[str] = set()
    problems: list[str] = []
    for argument in argv:
        try:
            flag = _flag(argument)
            found.update([flag.name] if flag else [name for _, name in _parts(argument) if name is not None])
        except BadInput as error:
            problems.extend(error.problems)
    if problems:
        raise BadInput(*problems)
    return found


def flags(argv: Sequence[str]) -> set[str]:
    """Names of the parameters that a command uses as flags. Raises `BadInput` for a malformed one."""
    return {flag.name for flag in map(_flag, argv) if flag is not None}


def fill(
    argv: Sequence[str], params: Mapping[str, object], *, conditional: Collection[str] = ()
) -> list[str]:
    """The command with its placeholders replaced by values.

    Args:
        argv: the command, one string for each argument.
        params: value by placeholder name; the caller adds `task_id` and `trial` where they are used.
        conditional: names that a trial may lack (parameters with `when`). An argument that needs an absent
            one is left out; where the argument is nothing but that placeholder, the option before it
            (`--momentum` in `["--momentum", "{momentum}"]`) goes with it. A flag of an absent one is no
            argument, and leaves what stands before it.

    Returns:
        A new list. Text stays as it is, floats are written with `repr` (so they read back exactly), booleans
        as `true` and `false`, None as `null`, lists and dicts as JSON.

    Raises:
        BadInput: a placeholder has neither a value nor a place in `conditional`, a brace stands alone, or the
            value of a flag is no boolean.
    """
    filled: list[str] = []
    option_before = False
    for argument in argv:
        flag = _flag(argument)
        parts = [] if flag else list(_parts(argument))
        names = {flag.name} if flag else {name for _, name in parts if name is not None}
        absent = names - params.keys()
        unknown = sorted(absent - set(conditional))
        if unknown:
            raise BadInput(
                *(f"the command's placeholder {{{name}}} has no value: no such parameter" for name in unknown)
            )
        if flag:
            filled += [] if absent else _argument(flag, params[flag.name])
            option_before = False
            continue
        if absent:
            if option_before and len(parts) == 1:
                filled.pop()
            option_before = False
            continue
        filled.append("".join(text if name is None else as_argument(params[name]) for text, name in parts))
        option_before = not names and argument.startswith("-") and "=" not in argument and argument != "--"
    return filled


def _flag(argument: str) -> Flag | None:
    """The flag that an argument is; None for any other. Raises `BadInput` for a malformed one."""
    if f"{{{FLAG}" not in argument:
        return None
    match = _TOKEN.fullmatch(argument)
    if match is None or match.group(1) is None:
        if not any(name is not None and name.startswith(FLAG) for _, name in _parts(argument)):
            return None  # within plain braces
        raise BadInput(
            f'"{argument}": a flag is an argument of its own, such as "{{flag:name}}"; '
            'text with true or false is "--name={name}"'
        )
    name, *texts = match.group(1).removeprefix(FLAG).split(":")
    if not name or len(texts) > 2 or (texts and not any(texts)):
        raise BadInput(
            f'"{argument}" is no flag; write {{flag:name}}, {{flag:name:--on}} or {{flag:name:--on:--off}}'
        )
    on, off = (*texts, "", "")[:2]
    return Flag(name=name, on=on if texts else f"--{name}", off=off)


def _argument(flag: Flag, value: object) -> list[str]:
    if not isinstance(value, bool):
        got = as_argument(value)
        raise BadInput(f"the command's flag {{{FLAG}{flag.name}}} needs true or false, got {got}")
    text = flag.on if value else flag.off
    return [text] if text else []


def _parts(argument: str) -> Iterator[tuple[str, str | None]]:
    """The argument cut into `(text, None)` and `("", placeholder name)`."""
    end = 0
    for match in _TOKEN.finditer(argument):
        if match.start() > end:
            yield argument[end : match.start()], None
        end = match.end()
        token = match.group()
        if token in ("{{", "}}"):
            yield token[0], None
        elif match.group(1):
            yield "", match.group(1)
        else:
            raise BadInput(
                f'"{token}" in "{argument}" is not a placeholder; write {{{{ and }}}} for plain braces'
            )
    if end < len(argument):
        yield argument[end:], None


def as_argument(value: object) -> str:
    """A value as a command gets it, see `fill`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))  # numpy's float64 is a float whose own repr is "np.float64(0.1)"
    if isinstance(value, (list, tuple, Mapping)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
