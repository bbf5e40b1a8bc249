"""The best parameters of a study, as the next program reads them: shell, JSON, TOML, Python, arguments.

Names and values are data that others wrote: each format quotes them so that none becomes a second variable,
argument or statement.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from controller.results.toml import toml_line
from worker.protocol.command import as_argument
from worker.protocol.errors import BadInput
from worker.protocol.printable import one_line

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FLAG = re.compile(r"[^\W_][\w./-]*")
_OF_THE_SHELL = re.compile(
    r"(?:BASH|LC|LD|DYLD|PYTHON|GIT|ORQ|OPTUNA|REDIS|AWS|SSH|PERL|NODE|RUBY|JAVA)_?\w*|ENV|IFS|LANG|CDPATH|"
    r"OPTARG|OPTIND|PS[0-4]|PATH|HOME|USER|SHELL|EDITOR|PAGER|PROMPT_COMMAND|UID|EUID|PPID|TMPDIR|LINENO|RANDOM|"
    r"SECONDS|GLOBIGNORE|HISTFILE|\w*_PROXY|_",
    re.ASCII | re.IGNORECASE,
)
"""Variables that shells and programs take for their own."""


def formatted(
    parameters: Mapping[str, Any],
    form: str,
    *,
    prefix: str = "",
    environment: Mapping[str, str] = os.environ,
) -> str:
    """Parameters in one of `FORMATS`, without a line break at the end.

    Args:
        parameters: name → value, JSON types.
        prefix: before each name, for ``env``.
        environment: names of variables that ``env`` doesn't overwrite.

    Raises:
        BadInput: a name or a value can't be written so; says which.
    """
    if form == "env":
        return _env(parameters, prefix, environment)
    return _FORMATS[form](parameters)


def _env(parameters: Mapping[str, Any], prefix: str, environment: Mapping[str, str]) -> str:
    """Lines ``name=value`` for a shell: ``eval``, ``.``, ``env $(…)`` where no value has spaces."""
    if prefix and not _VARIABLE.fullmatch(prefix):
        raise BadInput(f"--prefix {prefix!r}: letters, digits and _, beginning with a letter")
    lines: dict[str, str] = {}
    for name, value in parameters.items():
        variable = prefix + re.sub(r"[^A-Za-z0-9_]", "_", name)
        if not _VARIABLE.fullmatch(variable):
            raise BadInput(f"parameter {one_line(name)!r} can't be a variable's name; give a --prefix HP_")
        if variable in environment or (not prefix and _OF_THE_SHELL.fullmatch(variable)):
            raise BadInput(
                f"parameter {one_line(name)!r}: ${variable} has a meaning already; give a --prefix HP_"
            )
        if variable in lines:
            raise BadInput(
                f"parameter {one_line(name)!r}: another one is ${variable}, too; take --format json"
            )
        lines[variable] = f"{variable}={_quoted(name, as_argument(value))}"
    return "\n".join(lines.values())


def _argv(parameters: Mapping[str, Any]) -> str:
    """Arguments ``--name=value`` in one line, quoted for a shell."""
    found = []
    for name, value in parameters.items():
        if not _FLAG.fullmatch(name):
            raise BadInput(f"parameter {one_line(name)!r} can't be an option's name; take --format json")
        found.append(_quoted(name, f"--{name}={as_argument(value)}"))
    return " ".join(found)


def _quoted(name: str, text: str) -> str:
    if "\0" in text:
        raise BadInput(f"parameter {one_line(name)!r}: a shell has no NUL character; take --format json")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise BadInput(f"parameter {one_line(name)!r}: its value is no UTF-8; take --format json")
    return shlex.quote(text)


def _json(parameters: Mapping[str, Any]) -> str:
    return json.dumps(dict(parameters), indent=2, allow_nan=False)


def _python(parameters: Mapping[str, Any]) -> str:
    """A literal, as ``ast.literal_eval`` reads it; in ASCII, in one line."""
    return ascii(dict(parameters))


def _toml(parameters: Mapping[str, Any]) -> str:
    """A key for each parameter; one that is none is ``{ none = true }``, as in a sweep file."""
    lines = []
    for name, value in parameters.items():
        line = toml_line(name, value)
        if line is None:
            raise BadInput(f"parameter {one_line(name)!r}: TOML has no such value; take --format json")
        lines.append(line)
    return "\n".join(lines)


_FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "json": _json,
    "toml": _toml,
    "python": _python,
    "argv": _argv,
}
FORMATS = ("env", *_FORMATS)
"""What `formatted` writes."""
