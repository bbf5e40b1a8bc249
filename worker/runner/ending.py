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
from types import ModuleType

from worker.runner.libraries import is_library


def end(status: int) -> None:
    """End this process as Python ends: threads awaited, ``atexit`` hooks run, files closed. Never returns."""
    for step in (threading._shutdown, atexit._run_exitfuncs, _forget_own_modules, gc.collect, _flush_files):  # noqa: SLF001 - Python's own names for the steps of its end
        try:
            step()
        except BaseException:
            with contextlib.suppress(BaseException):
                traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(status)


def _forget_own_modules() -> None:
    """Clear the user's modules, the last one first, as Python does: what they hold ends with them."""
    own = [name for name, module in list(sys.modules.items()) if type(module) is ModuleType]
    for name in reversed([name for name in own if not is_library(name) and name != "__main__"]):
        module = sys.modules.pop(name)
        for key in [key for key in vars(module) if not key.startswith("__")]:
            vars(module)[key] = None


def _flush_files() -> None:
    """Write what files still hold that something keeps. What was imported beforehand is not looked at."""
    for found in gc.get_objects():
        if isinstance(found, io.IOBase) and not found.closed:
            with contextlib.suppress(Exception):
                found.flush()
