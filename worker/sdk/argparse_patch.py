"""Command line arguments as parameters: what ``argparse`` parses for a program becomes section ``Args``.

Installed when `worker` is imported. Only a program's own command line is looked at, not what a library
parses for itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

Parsed = tuple[argparse.ArgumentParser, argparse.Namespace]

_seen: list[Parsed] = []
_listener: Callable[[argparse.ArgumentParser, argparse.Namespace], bool] | None = None


def install(listener: Callable[[argparse.ArgumentParser, argparse.Namespace], bool]) -> None:
    """Have `listener` look at each namespace as it is parsed; it may change values in place.

    Args:
        listener: returns False while there is no task yet; the namespace is kept for `seen` then.
    """
    global _listener
    if _listener is None:
        original = argparse.ArgumentParser.parse_known_args

        def parse_known_args(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
            own = args is None or (isinstance(args, (list, tuple)) and list(args) == sys.argv[1:])
            found = original(self, args, namespace)
            if own and _listener is not None and not _listener(self, found[0]):
                _seen.append((self, found[0]))
                del _seen[:-8]
            return found

        argparse.ArgumentParser.parse_known_args = parse_known_args  # type: ignore[method-assign] # that is the patch
    _listener = listener


def take_seen() -> list[Parsed]:
    """What was parsed before there was a task; each is given once."""
    found = list(_seen)
    _seen.clear()
    return found
