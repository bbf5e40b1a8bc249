"""The end of a trial's process: what Python does at its end is done, without what only costs time.

Python's own end takes apart all that was ever imported: half a second where pandas or torch are. Here only
the user's modules go, with all that they alone hold.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from worker.runner.libraries import Before, is_library

_FILE: Any = io.IOBase.__base__
"""The class of all files, without the look for classes that were registered as such: that takes long."""


def end(status: int, before: Before) -> None:
    """End this process as Python ends: threads awaited, ``atexit`` hooks run, files closed. Never returns.

    Args:
        before: the modules that were imported beforehand; they are left as they are.
    """
    forget = partial(_forget_own_modules, before)
    for step in (_await_threads, atexit._run_exitfuncs, forget, _collect, _flush_files):  # noqa: SLF001 - Python's own name
        try:
            step()
        except BaseException:
            with contextlib.suppress(BaseException):
                traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(status)


def _await_threads() -> None:
    """Wait for the threads that Python waits for at its end, and end pools of them."""
    shutdown: Callable[[], None] = vars(threading)["_shutdown"]
    shutdown()


def _forget_own_modules(before: Before) -> None:
    """Clear the user's modules, the last one first, as Python does: what they hold ends with them."""
    sys.settrace(None)
    sys.setprofile(None)
    for name in reversed([name for name in before.new() if not is_library(name)]):
        module = sys.modules.pop(name)
        if type(module) is not ModuleType:
            continue
        for key in [key for key in vars(module) if not key.startswith("__")]:
            vars(module)[key] = None


def _collect() -> None:
    """End what lives in circles. A full collection would also give away memory that is kept at hand."""
    gc.collect(2 if gc.get_objects(generation=2) else 1)


def _flush_files() -> None:
    """Write what files still hold that something keeps. What was imported beforehand is not looked at."""
    for found in gc.get_objects():
        if isinstance(found, _FILE) and not found.closed:
            with contextlib.suppress(Exception):
                found.flush()
