"""Objectives: how one is described in a record, found, checked and called.

A description is a JSON object:

- ``{"kind": "function", "target": "module:name"}``
- ``{"kind": "script", "path": "train.py", "args": [...]}``, with ``at``, where it lay when it ran standalone
- ``{"kind": "script", "module": "package.train", "args": [...]}``, for ``python -m``
- ``{"kind": "command", "argv": ["./train", "--lr", "{lr}"]}``
- ``{"kind": "optuna", "target": "module:name", "storage": URL without its password, "sampler": {"type": ...},
  "pruner": {"type": ...}, "min_iterations": 0}``, called with an Optuna trial, see `worker.trials.trial`

each optionally with ``"env": {...}`` (added to the program's environment); those that are called also with
``"reuse": true`` (keep the process for the next trials) and ``"reuse_limit": 100`` (for so many).
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from worker.protocol.errors import ObjectiveLoadError
from worker.protocol.values import bare
from worker.protocol.words import with_article

OWN_PACKAGES = ("worker", "controller")

_NEEDS = {"function": ("target",), "optuna": ("target",), "command": ("argv",), "script": ("path", "module")}
"""Kind → fields of which one is there."""


def check_description(objective: Mapping[str, Any]) -> None:
    """Raises `ObjectiveLoadError` for a description that can't be of any objective."""

    def text(value: Any) -> bool:
        return isinstance(value, str) and "\0" not in value

    def bad(name: str, value: Any) -> bool:
        if name in ("target", "path", "at", "module"):
            return not text(value)
        if name in ("args", "argv"):
            return not isinstance(value, list) or not all(map(text, value)) or (name == "argv" and not value)
        if name == "env":
            return not isinstance(value, dict) or not all(
                text(key) and key and "=" not in key and text(item) for key, item in value.items()
            )
        if name == "reuse":
            return not isinstance(value, bool)
        if name == "reuse_limit":
            return type(value) is not int or value < 1
        return False

    problems = [name for name, value in objective.items() if bad(name, value)]
    needed = _NEEDS.get(str(objective.get("kind")), ())
    if needed and not any(name in objective for name in needed):
        problems.append(" or ".join(needed))
    if problems:
        raise ObjectiveLoadError(f"objective: its description is malformed: {', '.join(problems)}")


def load_function(target: str, folder: Path) -> Callable[..., Any]:
    """Import ``module:name`` with `folder` first on the import path.

    What Python has kept of folders is believed: see `importlib.invalidate_caches`.

    Raises:
        ObjectiveLoadError: it can't be imported, isn't there or can't be called. When a module isn't
            installed here, the error names it in `missing_module`.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ObjectiveLoadError(f"objective {target!r}: write it as module:name")
    if module_name.split(".")[0] in OWN_PACKAGES:
        raise ObjectiveLoadError(
            f"objective {target!r}: the module name {module_name.split('.')[0]!r} is optuna-rq's own; "
            "rename your module"
        )
    path = str(folder)
    if path not in sys.path:
        sys.path.insert(0, path)
    found: Any = _import(target, module_name, folder)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise ObjectiveLoadError(
                f"objective {target!r}: module {module_name!r} ({_file(module_name)}) has no {part!r}"
            ) from error
        if isinstance(found, ModuleType):
            # What a module imports is not its own: train:os.system is no objective of train.
            name = found.__name__
            raise ObjectiveLoadError(f"objective {target!r}: {part!r} is the module {name!r}; write {name}:…")
    if not callable(found):
        raise ObjectiveLoadError(
            f"objective {target!r}: it is {with_article(type(found).__name__)}, which can't be called"
        )
    return found  # type: ignore[no-any-return] # callable, as was just checked


def _import(target: str, module_name: str, folder: Path) -> Any:
    """The module of an objective. Raises `ObjectiveLoadError`."""
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        from worker.runner.requirements import also_missing  # noqa: PLC0415 - hardly ever needed

        missing = (error.name or "").split(".")[0]
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            message = f"objective {target!r}: no module {error.name!r} in {folder} or installed"
        else:
            message = f"objective {target!r}: it imports {error.name!r}, which is not installed here"
        raise ObjectiveLoadError(message + also_missing(folder), missing_module=missing) from error
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = (
            f"{error.filename}:{error.lineno}"
            if isinstance(error, SyntaxError)
            else f"{last.filename}:{last.lineno}"
        )
        raise ObjectiveLoadError(
            f"objective {target!r}: importing it fails at {where}: {type(error).__name__}: {error}"
        ) from error


class Argument(NamedTuple):
    """One of a function's, as `inspect.signature` tells it."""

    name: str
    kind: int
    """``POSITIONAL_ONLY`` and so on."""
    required: bool


POSITIONAL_ONLY, POSITIONAL_OR_KEYWORD, VAR_POSITIONAL, KEYWORD_ONLY, VAR_KEYWORD = range(5)
"""Kinds, in the order of `inspect`."""
_STARRED, _TWICE_STARRED, _NEVER_RUN = 0x04, 0x08, 0x20 | 0x80 | 0x200
"""Of ``co_flags``: ``*args``, ``**kwargs``, generators and coroutines of all kinds."""


def _is_plain(function: Any) -> bool:
    """Whether it is a function that nothing was wrapped around or noted at."""
    return type(function) is FunctionType and not function.__dict__


def _arguments(function: Callable[..., Any]) -> list[Argument]:
    """In their order. Most functions are plain: a new process need not find out how `inspect` looks at them.

    Raises:
        TypeError, ValueError: nothing tells.
    """
    if not _is_plain(function):
        found = inspect.signature(function).parameters.values()
        return [Argument(p.name, int(p.kind), p.default is inspect.Parameter.empty) for p in found]
    code = function.__code__
    names, many = code.co_varnames, code.co_argcount + code.co_kwonlyargcount
    optional = code.co_argcount - len(function.__defaults__ or ())
    made = [
        Argument(
            name, POSITIONAL_ONLY if at < code.co_posonlyargcount else POSITIONAL_OR_KEYWORD, at < optional
        )
        for at, name in enumerate(names[: code.co_argcount])
    ]
    rest = iter(names[many:])
    if code.co_flags & _STARRED:
        made.append(Argument(next(rest), VAR_POSITIONAL, required=True))
    defaults = function.__kwdefaults__ or {}
    made += [Argument(name, KEYWORD_ONLY, name not in defaults) for name in names[code.co_argcount : many]]
    if code.co_flags & _TWICE_STARRED:
        made.append(Argument(next(rest), VAR_KEYWORD, required=True))
    return made


def _never_runs(function: Callable[..., Any]) -> bool:
    """Whether calling it returns a coroutine or a generator."""
    if _is_plain(function):
        return bool(function.__code__.co_flags & _NEVER_RUN)
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    call = getattr(function, "__call__", function)  # noqa: B004 - of an object, its method
    return any(is_kind(f) for f in (function, call) for is_kind in kinds)


def _problems(arguments: list[Argument], given: set[str], maybe: set[str]) -> list[str]:
    """What doesn't fit between a function's arguments and the study's parameters.

    Args:
        given: names of all parameters.
        maybe: those of them that a trial may lack.
    """
    wants_task, named, any_name = _shape(arguments, given)
    if wants_task and not named and not any_name:
        return []
    problems = []
    if not any_name:
        problems += [f"doesn't take parameter {name!r}" for name in sorted(given - set(named))]
    for name, argument in named.items():
        if argument.required:
            if name not in given:
                problems.append(f"needs an argument {name!r} that is not among [parameters]")
            elif name in maybe:
                problems.append(f"needs a default for {name!r}, which some trials don't have (`when`)")
    return problems


def _file(module_name: str) -> str:
    return getattr(sys.modules.get(module_name), "__file__", None) or "built in"


def check_signature(
    function: Callable[..., Any], target: str, parameters: Iterable[str], optional: Iterable[str] = ()
) -> None:
    """Prove that `function` can be called with the study's parameters.

    Args:
        parameters: names of all parameters, with or without sections.
        optional: those of them that a trial may lack (conditional ones); they need a default.

    Raises:
        ObjectiveLoadError: naming each parameter that is missing on either side.
    """
    if _never_runs(function):
        raise ObjectiveLoadError(
            f"objective {target!r} is a coroutine or a generator, which would never run; "
            "make it a plain function"
        )
    try:
        arguments = _arguments(function)
    except (TypeError, ValueError):
        return
    unnamed = [found.name for found in arguments if found.kind == POSITIONAL_ONLY]
    if len(unnamed) > 1 or (unnamed and bare(unnamed[0]) in {bare(name) for name in parameters}):
        raise ObjectiveLoadError(
            f"objective {target!r}: {_call_text(function)} is called with its arguments by name; "
            "remove the '/'"
        )
    problems = _problems(arguments, {bare(name) for name in parameters}, {bare(name) for name in optional})
    if problems:
        raise ObjectiveLoadError(f"objective {target!r}: {_call_text(function)} {'; '.join(problems)}")


def _call_text(function: Callable[..., Any]) -> str:
    found = inspect.signature(function).parameters.values()
    names = ", ".join(str(p).split(":")[0].split("=")[0].strip() for p in found)
    return f"{getattr(function, '__name__', 'it')}({names})"


def _shape(arguments: list[Argument], given: set[str]) -> tuple[bool, dict[str, Argument], bool]:
    """Whether the first argument is the task, the arguments passed by name, whether any name is taken."""
    positional = (POSITIONAL_ONLY, POSITIONAL_OR_KEYWORD)
    wants_task = bool(arguments) and arguments[0].kind in positional and arguments[0].name not in given
    rest = arguments[1:] if wants_task else arguments
    named = {found.name: found for found in rest if found.kind in (POSITIONAL_OR_KEYWORD, KEYWORD_ONLY)}
    return wants_task, named, any(found.kind == VAR_KEYWORD for found in rest)


def call_function(function: Callable[..., Any], task: Any, parameters: Mapping[str, Any]) -> Any:
    """Call an objective with its task, its parameters, or both, as its signature asks."""
    arguments = {bare(name): value for name, value in parameters.items()}
    try:
        expected = _arguments(function)
    except (TypeError, ValueError):
        return function(task, **arguments)
    wants_task, named, any_name = _shape(expected, set(arguments))
    if wants_task and not named and not any_name:
        return function(task)
    if not any_name:
        arguments = {name: value for name, value in arguments.items() if name in named}
    return function(task, **arguments) if wants_task else function(**arguments)


def shadowing(folder: Path) -> list[Path]:
    """Files in `folder` that hide optuna-rq's packages from a program there, or are hidden by them."""
    own = Path(__file__).resolve().parent
    found = []
    for name in OWN_PACKAGES:
        for candidate in (folder / f"{name}.py", folder / name / "__init__.py"):
            if candidate.is_file() and candidate.resolve().parent not in (own, own.parent / "controller"):
                found.append(candidate)
    return found


def script_path(objective: Mapping[str, Any], folder: Path) -> Path:
    """Where a script objective is: below `folder`, else where it lay when it ran standalone."""
    path = folder / objective["path"]
    known = objective.get("at")
    return Path(known) if known and not path.is_file() and Path(known).is_file() else path


def check_script(path: Path) -> None:
    """Prove that a script is there and can import optuna-rq. Raises `ObjectiveLoadError`."""
    if not path.is_file():
        raise ObjectiveLoadError(f"objective script {path}: no such file on this machine")
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise ObjectiveLoadError(f"objective script {path}: {error}") from error
    for hiding in shadowing(path.parent):
        raise ObjectiveLoadError(
            f"objective script {path}: {hiding} hides optuna-rq's package of that name; rename that file"
        )
