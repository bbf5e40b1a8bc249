"""Whether a process that has imported libraries can be forked for trials.

What doesn't survive a fork (threads, a GPU's context, connections) must not have been begun by the imports.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import sys
import threading
from pathlib import Path
from typing import Any

from worker.runner.libraries import NEVER

FORK_SAFE = ("jemalloc_bg_thd",)
"""Names of threads that a fork does no harm to: that of jemalloc, which pyarrow brings along."""


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    with contextlib.suppress(OSError):  # without /proc, nothing is forked
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # the one that lists the folder
                found += os.readlink(descriptor).startswith("socket:")
    return found


def why_not(sockets_before: int) -> str:
    """Why this process can't be forked for trials; empty if it can.

    Args:
        sockets_before: `sockets` before the objective was imported.
    """
    if not sys.platform.startswith("linux"):
        return "only on Linux can be told what a process has begun"
    for name in NEVER:
        if name in sys.modules:
            return f"{name} was imported"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "importing the objective has initialised CUDA"
    if threading.active_count() > 1:
        return "importing the objective has started threads"
    try:
        if _threads() - 1 > _blas_threads():
            return "importing the objective has started threads outside Python"
        if sockets() > sockets_before:
            return "importing the objective has opened connections"
        if Path(f"/proc/self/task/{os.getpid()}/children").read_text().strip():
            return "importing the objective has started processes"
        return _what_each_trial_makes()
    except OSError as error:
        return f"this system doesn't tell what a process has begun ({error})"


def _what_each_trial_makes() -> str:
    """What was begun by the imports and has to be each trial's own; empty if nothing."""
    if _files_to_write():
        return "importing the objective has opened a file to write to"
    if _holds_random_numbers():
        return "importing the objective has made a generator of random numbers"
    return ""


def _holds_random_numbers() -> bool:
    """Whether a module holds a generator of its own: it would give each trial the same numbers."""
    random, numpy = sys.modules.get("random"), sys.modules.get("numpy.random")
    kinds: list[Any] = [random.Random] if random else []
    shared: list[Any] = [vars(random)["_inst"]] if random else []
    if numpy:
        kinds += [numpy.Generator, numpy.RandomState]
        shared.append(vars(numpy.mtrand)["_rand"])
    found = (value for module in list(sys.modules.values()) for value in list(vars(module).values()))
    return any(type(value) in kinds and not any(value is known for known in shared) for value in found)


def _files_to_write() -> bool:
    """Whether a file with a name is open to be written: what one trial has not written yet, none would."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists the folder
            number = int(descriptor.name)
            if number > 2 and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
                about = os.fstat(number)
                if stat.S_ISREG(about.st_mode) and about.st_nlink:
                    return True
    return False


def _threads() -> int:
    """How many threads this process has, those apart that their library stops and starts around a fork."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended just now
            found += (task / "comm").read_text().strip() not in FORK_SAFE
    return found


def _blas_threads() -> int:
    """The most threads that linear algebra libraries may keep: they stop and start them around a fork."""
    libraries = set(re.findall(r"\S*openblas\S*\.so\S*", Path("/proc/self/maps").read_text()))
    return len(libraries) * max(0, (os.cpu_count() or 1) - 1)
