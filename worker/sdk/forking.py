"""SIGTERM in forked processes: none is lost while Python forks.

Python forgets, in a new child, the signals that have reached its handlers there until then. A pool that is
ended right after its start would wait for such a child forever.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

_SIGTERM = frozenset({signal.SIGTERM})
_held = threading.local()


def deaf(signum: int, frame: Any) -> None:
    """The handler of a process that ignores SIGTERM; those forked from it end by it, as they usually do."""


def keep_sigterm() -> None:
    """From now on a fork holds SIGTERM back until the child can take it."""
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release_in_child)


def _hold() -> None:
    _held.before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGTERM)


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.before)


def _release_in_child() -> None:
    if signal.getsignal(signal.SIGTERM) is deaf:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()
