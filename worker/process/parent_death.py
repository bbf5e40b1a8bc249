"""Processes whose parent is gone: the kernel ends or adopts them (Linux; elsewhere without effect)."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys

PARENT_VARIABLE = "OPTUNA_RQ_PARENT"
"""Environment variable with the process id of the controller that a local worker belongs to."""

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

HAND_BACK_NOW = signal.SIGUSR1
"""From the worker to its slots. Not a second SIGTERM: the first may have reached every process here."""


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that none escapes `process_tree.kill_tree`."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int | None = None, signum: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process `signum` when its parent dies.

    Args:
        parent: the parent's process id; if it has died already, this process exits.
        signum: SIGKILL for a program, SIGTERM for a process that hands back its work.
    """
    _prctl(PR_SET_PDEATHSIG, signum)
    if sys.platform.startswith("linux") and parent is not None and os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        _libc().prctl(option, value, 0, 0, 0)


@functools.cache
def _libc() -> ctypes.CDLL:
    # Kept: it costs a forked process more than all else that it does here.
    return ctypes.CDLL(None, use_errno=True)
