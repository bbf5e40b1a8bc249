"""A task's values as a command line would give them: converted, checked and refused by argparse."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from worker.protocol.values import as_text, holds, made_like, plain, taken

Found = tuple[argparse.ArgumentParser, argparse.Action]

_MANY = (argparse.ZERO_OR_MORE, argparse.ONE_OR_MORE, argparse.REMAINDER)
_TEXTS = (str, int, float, bool)


class Arguments:
    """What one parser can take, its sub-commands' parsers included.

    Args:
        parser: None for a namespace that no parser is known of.
        namespace: what it has parsed.
        wanted: name → whether the argument is a parameter; ``*`` stands for those that aren't named.
    """

    def __init__(
        self,
        parser: argparse.ArgumentParser | None,
        namespace: argparse.Namespace,
        wanted: Mapping[str, bool] | None = None,
    ) -> None:
        self._namespace = namespace
        self._wanted = wanted or {}
        self._actions: dict[str, list[Found]] = {}
        if parser is not None:
            self._gather(parser)

    def _gather(self, parser: argparse.ArgumentParser) -> None:
        for action in actions_of(parser):
            self._actions.setdefault(action.dest, []).append((parser, action))
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no public name
                chosen = getattr(self._namespace, action.dest, None)
                # The chosen one's first: several sub-commands may have an argument of the same name.
                for name in sorted(action.choices, key=lambda name: name != chosen):
                    self._gather(action.choices[name])

    @property
    def values(self) -> dict[tuple[Any, ...], Any]:
        """The parsed values by path; functions and classes, as `set_defaults` gives them, are no settings."""
        return {
            (key,): value
            for key, value in vars(self._namespace).items()
            if not key.startswith("_")
            and not callable(value)
            and self._wanted.get(key, self._wanted.get("*", True))
        }

    def take(self, path: tuple[Any, ...], value: Any, searched: bool) -> Any:
        """What the program gets for the argument of `path`, its name, where the task has `value`.

        Raises:
            SystemExit: argparse would refuse it; it has said why, as on the command line.
            ValueError, TypeError: it can't be made into the type of the program's own value.
        """
        (name,) = path
        own = getattr(self._namespace, name, None)
        known = plain(own)
        if type(value) is type(known) and value == known:
            return own
        found = self._actions.get(name)
        if not found or value is None:
            return taken(value, own, searched=searched)
        if not searched and not holds(own) and type(value) is type(known):
            kept = taken(value, own, searched=False)
            if kept is own:
                return own
        parser, _ = found[0]
        try:
            return self._parsed(found, value, own)
        except argparse.ArgumentError as error:
            if not holds(own):
                with contextlib.suppress(ValueError, TypeError, ArithmeticError):
                    return made_like(value, own)
            parser.error(str(error))

    def check_groups(self, changed: Container[str]) -> None:
        """Refuse arguments that exclude each other, where the task has changed one of them.

        Raises:
            SystemExit: argparse would refuse them together; it has said why.
        """
        parsers = {id(parser): parser for found in self._actions.values() for parser, _ in found}
        for parser in parsers.values():
            for group in parser._mutually_exclusive_groups:  # noqa: SLF001 - argparse has no public name
                said = {
                    action.dest: action
                    for action in group._group_actions  # noqa: SLF001 - the same
                    if getattr(self._namespace, action.dest, action.default) != action.default
                }
                if len(said) > 1 and any(name in changed for name in said):
                    first, second, *_ = said.values()
                    name = "/".join(first.option_strings) or first.dest
                    parser.error(str(argparse.ArgumentError(second, f"not allowed with argument {name}")))

    def _parsed(self, found: Sequence[Found], value: Any, own: Any) -> Any:
        """`value` by the actions that set one argument. Raises `argparse.ArgumentError`."""
        constants = [action for _, action in found if _is_constant(action)]
        others = [(parser, action) for parser, action in found if action not in constants]
        if constants:
            known = [*(c.const for c in constants), *(c.default for c in constants), own]
            if any(isinstance(c.const, bool) or isinstance(c, _FLAGS) for c in constants):
                known += [True, False]
            for candidate in known:
                if candidate is value or as_text(candidate).lower() == as_text(value).lower():
                    return candidate
            if not others:
                raise argparse.ArgumentError(constants[0], f"invalid choice: {value!r}")
        parser, action = others[0]
        kind = type(action)
        if kind is _COUNT:
            return _typed(parser, action, value, int)
        if kind in (_APPEND, _EXTEND):
            return [self._element(parser, action, item) for item in _as_list(value)]
        if kind is _STORE:
            return _stored(parser, action, value, own)
        if action.nargs == 0 or isinstance(value, Mapping) or kind.__module__ == "argparse":
            return value
        # A program's own action does what it does for the command line.
        action(parser, self._namespace, _values(parser, action, _tokens(action, value)), "")
        return getattr(self._namespace, action.dest, value)

    def _element(self, parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
        """One element of what ``append`` or ``extend`` gathers."""
        if isinstance(value, (list, tuple)) and type(action) is _APPEND:
            return [_single(parser, action, item, None) for item in value]
        return _single(parser, action, value, None)


_STORE, _APPEND, _COUNT = argparse._StoreAction, argparse._AppendAction, argparse._CountAction  # noqa: SLF001 - argparse has no public names
_EXTEND = argparse._ExtendAction  # noqa: SLF001 - the same
_CONSTANT = argparse._StoreConstAction  # noqa: SLF001 - the same
_FLAGS = (argparse.BooleanOptionalAction,)
_SPEAKING = (argparse._HelpAction, argparse._VersionAction)  # noqa: SLF001 - the same


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The actions of a parser that set something."""
    actions: list[argparse.Action] = parser._actions  # noqa: SLF001 - argparse has no public name
    return [a for a in actions if a.dest != argparse.SUPPRESS and not isinstance(a, _SPEAKING)]


def _is_constant(action: argparse.Action) -> bool:
    return isinstance(action, (_CONSTANT, *_FLAGS))


def _stored(parser: argparse.ArgumentParser, action: argparse.Action, value: Any, own: Any) -> Any:
    """What ``store`` would keep of `value`."""
    if action.nargs in _MANY or isinstance(action.nargs, int):
        items = _as_list(value)
        short = isinstance(action.nargs, int) and len(items) != action.nargs
        if short or (action.nargs == argparse.ONE_OR_MORE and not items):
            wanted = action.nargs if isinstance(action.nargs, int) else "at least one"
            raise argparse.ArgumentError(action, f"expected {wanted} argument(s), not {len(items)}")
        given = own if isinstance(own, (list, tuple)) else ()
        kinds = given[0] if given else None
        return [_single(parser, action, item, kinds) for item in items]
    return _single(parser, action, value, own)


def _single(parser: argparse.ArgumentParser, action: argparse.Action, value: Any, own: Any) -> Any:
    """One value, of the action's type and among its choices."""
    if action.type is None:
        # On a command line it would stay text; a default of another type says what the program means.
        try:
            made = as_text(value) if own is None else taken(value, own, searched=True)
        except (ValueError, TypeError) as error:
            raise argparse.ArgumentError(action, f"invalid value: {error}") from error
        return _checked(parser, action, made)
    if action.type in _TEXTS:
        return _typed(parser, action, value, action.type)
    if isinstance(value, (list, tuple, dict)):
        if isinstance(own, type(value)):
            return value
        with contextlib.suppress(argparse.ArgumentError):
            return _values(parser, action, [json.dumps(value)], single=True)
    return _values(parser, action, [as_text(value)], single=True)


def _typed(parser: argparse.ArgumentParser, action: argparse.Action, value: Any, kind: Any) -> Any:
    """A value of one of Python's simple types, from JSON's or from text."""
    if kind is bool and not isinstance(value, str):
        return _checked(parser, action, bool(value))
    if kind is bool:
        return _checked(parser, action, taken(value, True, searched=True))
    if kind in (int, float) and isinstance(value, (bool, int, float)) and kind(value) == value:
        return _checked(parser, action, kind(value))
    try:
        return _checked(parser, action, kind(as_text(value)))
    except ValueError as error:
        shown = as_text(value)
        raise argparse.ArgumentError(action, f"invalid {kind.__name__} value: {shown!r}") from error


def _checked(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    """`value`, if it is among the choices. Raises `argparse.ArgumentError`."""
    parser._check_value(action, value)  # noqa: SLF001 - argparse has no public name
    return value


def _values(
    parser: argparse.ArgumentParser, action: argparse.Action, texts: list[str], single: bool = False
) -> Any:
    """Texts of a command line as the action's values. Raises `argparse.ArgumentError`."""
    convert: Callable[..., Any] = parser._get_value if single else parser._get_values  # noqa: SLF001 - argparse has no public names
    if not single:
        return convert(action, texts)
    return _checked(parser, action, convert(action, texts[0]))


def _tokens(action: argparse.Action, value: Any) -> list[str]:
    if action.nargs in (None, argparse.OPTIONAL):
        return [as_text(value)]
    return [as_text(item) for item in _as_list(value)]


def _as_list(value: Any) -> list[Any]:
    """The items of a list, or of the text of one; anything else is the only item."""
    if isinstance(value, str) and value.strip().startswith(("[", "(")):
        with contextlib.suppress(ValueError):
            return list(taken(value, [], searched=True))
    return list(value) if isinstance(value, (list, tuple)) else [value]


# Before the program's own command line is parsed


def with_commands(
    parser: argparse.ArgumentParser, given: Mapping[str, Any], line: Sequence[str]
) -> list[str]:
    """A command line in which the sub-commands are those that the task has."""
    for action in actions_of(parser):
        if not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no public name
            continue
        at = next((i for i, text in enumerate(line) if text in action.choices), len(line))
        there = line[at] if at < len(line) else None
        wanted = given.get(action.dest, there)
        if not isinstance(wanted, str):
            continue
        # The options of another sub-command aren't this one's.
        rest = list(line[at + 1 :]) if there == wanted else []
        inner = action.choices.get(wanted)
        return [*line[:at], wanted, *(with_commands(inner, given, rest) if inner else rest)]
    return list(line)


@contextlib.contextmanager
def not_required(parser: argparse.ArgumentParser, given: Mapping[str, Any]) -> Iterator[None]:
    """Within, a command line need not have what the task has a value for."""
    relaxed: list[Any] = []

    def relax(one: argparse.ArgumentParser) -> None:
        groups = one._mutually_exclusive_groups  # noqa: SLF001 - argparse has no public name
        for group in groups:
            if group.required and any(given.get(a.dest) is not None for a in group._group_actions):  # noqa: SLF001 - the same
                relaxed.append(group)
        for action in actions_of(one):
            if action.required and given.get(action.dest) is not None:
                relaxed.append(action)
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
                for inner in action.choices.values():
                    relax(inner)

    relax(parser)
    for one in relaxed:
        one.required = False
    try:
        yield
    finally:
        for one in relaxed:
            one.required = True
