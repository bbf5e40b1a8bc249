"""The `{name}` placeholders of a command objective: found by the controller, filled by the worker.

`{name}` stands for the value of the parameter `name`; `{{` and `}}` stand for one brace each. Filling is
textual and happens after the command was split, so a value never becomes two arguments and never reaches
a shell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from worker.protocol.errors import BadInput

RESERVED = frozenset({"task_id", "trial"})
"""Placeholders that are filled with the task's id and the trial's number; no parameter may have one."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def placeholders(argv: Sequence[str]) -> set[str]:
    """Names of the placeholders in a command, the reserved ones included.

    Raises:
        BadInput: an argument has a single brace or an empty `{}`; one message for each such argument.
    """
    found: set[str] = set()
    problems: list[str] = []
    for argument in argv:
        try:
            found.update(name for _, name in _parts(argument) if name is not None)
        except BadInput as error:
            problems.extend(error.problems)
    if problems:
        raise BadInput(*problems)
    return found


def fill(
    argv: Sequence[str], params: Mapping[str, object], *, conditional: Collection[str] = ()
) -> list[str]:
    """The command with its placeholders replaced by values.

    Args:
        argv: the command, one string for each argument.
        params: value by placeholder name; the caller adds `task_id` and `trial` where they are used.
        conditional: names that a trial may lack (parameters with `when`). An argument that needs an absent
            one is left out; where the argument is nothing but that placeholder, the option before it
            (`--momentum` in `["--momentum", "{momentum}"]`) goes with it.

    Returns:
        A new list. Text stays as it is, floats are written with `repr` (so they read back exactly), booleans
        as `true` and `false`, None as `null`, anything else with `str`.

    Raises:
        BadInput: a placeholder has neither a value nor a place in `conditional`, or a brace stands alone.
    """
    filled: list[str] = []
    option_before = False
    for argument in argv:
        parts = list(_parts(argument))
        names = {name for _, name in parts if name is not None}
        absent = names - params.keys()
        unknown = sorted(absent - set(conditional))
        if unknown:
            raise BadInput(
                *(f"the command's placeholder {{{name}}} has no value: no such parameter" for name in unknown)
            )
        if absent:
            if option_before and len(parts) == 1:
                filled.pop()
            option_before = False
            continue
        filled.append("".join(text if name is None else _text(params[name]) for text, name in parts))
        option_before = not names and argument.startswith("-") and "=" not in argument and argument != "--"
    return filled


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


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))  # numpy's float64 is a float whose own repr is "np.float64(0.1)"
    return str(value)
