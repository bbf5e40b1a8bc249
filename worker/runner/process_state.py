"""What a trial may change of its process, put back for the next one where a process is reused."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


class ProcessState:
    """Timers, signal handlers, umask, niceness, limits and thread counts of this process, as they are now."""

    def __init__(self) -> None:
        self._handlers = {number: signal.getsignal(number) for number in _signals()}
        self._umask = _umask()
        self._niceness = os.nice(0)
        self._limits = dict(_limits())
        self._threads = _torch_threads()

    def put_back(self) -> bool:
        """Undo what has changed since. False where that can't be: the process is not to be used again."""
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        os.umask(self._umask)
        torch = sys.modules.get("torch")
        if torch is not None:
            if self._threads is not None and torch.get_num_threads() != self._threads:
                torch.set_num_threads(self._threads)
            if torch.cuda.is_available() and torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        return self._lower_niceness() and self._raise_limits()

    def _lower_niceness(self) -> bool:
        with contextlib.suppress(OSError):
            os.nice(self._niceness - os.nice(0))
        return os.nice(0) == self._niceness

    def _raise_limits(self) -> bool:
        for limit, value in _limits():
            if value != self._limits[limit]:
                with contextlib.suppress(OSError, ValueError):
                    resource.setrlimit(limit, self._limits[limit])
        return dict(_limits()) == self._limits


def holds_gpu() -> bool:
    """Whether this process has a context on a GPU, which takes memory there as long as it lives."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return True
    with contextlib.suppress(OSError):
        return any(os.readlink(f"/proc/self/fd/{name}").startswith("/dev/nvidia") for name in _descriptors())
    return False


def _descriptors() -> Iterator[str]:
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                os.readlink(f"/proc/self/fd/{name}")
                yield name


def _signals() -> Iterator[int]:
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
            yield number


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _limits() -> Iterator[tuple[int, tuple[int, int]]]:
    for limit in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            yield limit, resource.getrlimit(limit)


def _torch_threads() -> int | None:
    torch: Any = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else None
