"""Command line arguments as parameters: what ``argparse`` parses for a program becomes section ``Args``.

Installed when `worker` is imported. Only a program's own command line is looked at, not what a library
parses for itself.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from worker.sdk.arguments import not_required, with_commands
from worker.sdk.other_lines import with_words, words

Parsed = tuple[argparse.ArgumentParser | None, argparse.Namespace]

_seen: list[Parsed] = []
_listener: Listener | None = None


class Listener(Protocol):
    """Who wants to know what is parsed."""

    def given(self) -> Mapping[str, Any]:
        """The arguments that a worker's task has values for, by name; none for a program run by hand."""
        ...

    def searched(self) -> Sequence[str]:
        """Names of those among them that the study chose."""
        ...

    def parsed(self, parser: argparse.ArgumentParser | None, namespace: argparse.Namespace) -> bool:
        """Look at a namespace as it is parsed; it may be changed in place.

        Returns:
            False while there is no task yet; the namespace is kept for `take_seen` then.
        """
        ...


def install(listener: Listener) -> None:
    """Have `listener` look at each namespace as it is parsed."""
    global _listener
    if _listener is None:
        original = argparse.ArgumentParser.parse_known_args

        def parse_known_args(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
            if _listener is None or not is_own(args):
                return original(self, args, namespace)
            given = _listener.given()
            if given:
                args = with_commands(self, given, sys.argv[1:])
            with not_required(self, given):
                found = original(self, args, namespace)
            tell(self, found[0])
            return found

        argparse.ArgumentParser.parse_known_args = parse_known_args  # type: ignore[method-assign] # that is the patch
        begin = argparse.ArgumentParser.__init__

        def __init__(self: argparse.ArgumentParser, *args: Any, **options: Any) -> None:
            begin(self, *args, **options)
            _watch_jsonargparse(type(self))

        argparse.ArgumentParser.__init__ = __init__  # type: ignore[method-assign] # jsonargparse may be imported later
    _listener = listener


def _watch_jsonargparse(kind: Any) -> None:
    """Have jsonargparse's parsers, which parse by themselves, tell what they parse, too."""
    owner = next((cls for cls in kind.__mro__ if cls.__module__.partition(".")[0] == "jsonargparse"), None)
    owner = next((cls for cls in owner.__mro__ if "parse_args" in vars(cls)), None) if owner else None
    if owner is None or hasattr(owner.parse_args, "original"):
        return
    original = owner.parse_args

    @functools.wraps(original)
    def parse_args(self: Any, args: Any = None, *rest: Any, **options: Any) -> Any:
        found = original(self, args, *rest, **options)
        if _listener is None or not is_own(args) or not hasattr(found, "as_flat"):
            return found
        given, values = _listener.given(), vars(found.as_flat())
        changed = list(words(values, given, _listener.searched()))
        if changed:
            line = with_words(sys.argv[1:], changed, given, values)
            found = original(self, line, *rest, **options)
        tell(None, found.as_flat())
        return found

    parse_args.original = original  # type: ignore[attr-defined] # the mark of what is watched already
    owner.parse_args = parse_args


def is_own(args: Any) -> bool:
    """Whether it is the program's own command line that is parsed."""
    return args is None or (isinstance(args, (list, tuple)) and list(args) == sys.argv[1:])


def tell(parser: argparse.ArgumentParser | None, namespace: argparse.Namespace) -> None:
    """Pass on what was parsed, at once or when there is a task."""
    if _listener is not None and not _listener.parsed(parser, namespace):
        _seen.append((parser, namespace))
        del _seen[:-8]


def take_seen() -> list[Parsed]:
    """What was parsed before there was a task; each is given once."""
    found = list(_seen)
    _seen.clear()
    return found
