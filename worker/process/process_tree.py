"""Process trees: list what a program has started, and end all of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    """Direct children of a process, cheaply where the kernel lists them."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(text) for text in (thread / "children").read_text().split()]
    except OSError:
        import psutil  # noqa: PLC0415 - a trial's process needs none of it

        with contextlib.suppress(psutil.Error):
            found = [child.pid for child in psutil.Process(pid).children()]
    return found


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and awaits its parent does not."""
    import psutil  # noqa: PLC0415 - a trial's process needs none of it

    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, parents before children."""
    found: list[int] = []
    todo = [pid]
    while todo:
        below = [child for child in children(todo.pop()) if child not in found]
        found += below
        todo += below
    return found


def signal_group(pid: int, signum: signal.Signals) -> None:
    """Signal a program that leads its own process group; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)


def kill_tree(pid: int, *, keep: frozenset[int] = frozenset()) -> None:
    """SIGKILL a program that leads its own group, everything below it, and orphans of it adopted here.

    Args:
        keep: children of this process that don't belong to the program.
    """
    doomed = [pid, *descendants(pid)]
    signal_group(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5.0
    while doomed and time.monotonic() < deadline:
        for victim in doomed:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(victim, signal.SIGKILL)
        # What the program's children left behind has become ours (see adopt_orphans).
        doomed = orphans(keep | {pid})
        if doomed:
            time.sleep(0.005)


def orphans(keep: frozenset[int]) -> list[int]:
    """Living children of this process that are not in `keep`. Reaps those that have ended."""
    return [child for child in children(os.getpid()) if child not in keep and not _reaped(child)]


def _reaped(pid: int) -> bool:
    """Whether a child has ended and is reaped."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
