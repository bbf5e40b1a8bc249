"""SIGTERM in forked processes: none is lost while Python forks.

Python forgets, in a new child, the signals that have reached its handlers there until then. A pool that is
ended right after its start would wait for such a child forever. So it would for one that the signal reaches
just before it waits for a lock: children end by the signal itself.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

_SIGTERM = frozenset({signal.SIGTERM})
_held = threading.local()


Handler = Callable[[int, Any], None]


def deaf(signum: int, frame: Any) -> None:
    """The handler of a process that ignores SIGTERM; those forked from it end by it, as they usually do."""


_ours = weakref.WeakSet[Any]([deaf])


def not_for_children(handler: Handler) -> Handler:
    """Have processes that are forked from this one end by SIGTERM, whatever `handler` does here."""
    _ours.add(handler)
    return handler


def keep_sigterm() -> None:
    """From now on a fork holds SIGTERM back until the child can take it."""
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release_in_child)


def _hold() -> None:
    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    # Then none can be lost, and the child, in which all that Python does is new, need not look.
    _held.before = None if ignored else signal.pthread_sigmask(signal.SIG_BLOCK, _SIGTERM)


def _release() -> None:
    if _held.before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _held.before)


def _release_in_child() -> None:
    if _held.before is None:
        return
    if signal.getsignal(signal.SIGTERM) in _ours:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()
