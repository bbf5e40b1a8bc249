"""The machine's and the program's resources, sampled into ``:monitor:machine/*``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import psutil

from worker.process.process_tree import descendants

FIRST_S = 0.5
"""First sample after the start of an attempt, so that trials of a second have one."""
LONGEST_S = 10.0
"""The pause between samples doubles from `FIRST_S` up to this."""
_GB = 1024.0**3


class ResourceMonitor:
    """Samples while one program runs."""

    def __init__(self, pid: int) -> None:
        self._processes = {pid: psutil.Process(pid)}
        self.pause_s = FIRST_S
        self.pids: list[int] = [pid]
        """The program's processes when they were sampled last."""
        psutil.cpu_percent(None)
        with contextlib.suppress(psutil.Error):
            self._processes[pid].cpu_percent(None)

    def sample(self, pid: int, detached: Sequence[int] = ()) -> dict[str, float]:
        """Series name → value, of the machine and of the program that `pid` leads now.

        ``cpu_usage`` and ``process_cpu_usage`` are percentages (of the machine; of one core, summed over
        the program's processes); memory is in GiB.

        Args:
            detached: what the program has started and is no longer below it.
        """
        self.pause_s = min(LONGEST_S, self.pause_s * 2)
        memory = psutil.virtual_memory()
        found = {
            "cpu_usage": psutil.cpu_percent(None),
            "memory_used_gb": round(memory.used / _GB, 4),
            "memory_free_gb": round(memory.available / _GB, 4),
        }
        cpu, resident, seen = 0.0, 0, False
        alive = {}
        for each in _all_of(pid, *detached):
            with contextlib.suppress(psutil.Error):
                process = self._processes.get(each) or psutil.Process(each)
                cpu += process.cpu_percent(None)
                resident += process.memory_info().rss
                alive[each] = process
                seen = True
        self._processes, self.pids = alive, list(alive)
        if seen:
            found["process_cpu_usage"] = round(cpu, 1)
            found["process_memory_gb"] = round(resident / _GB, 4)
        return found


def _all_of(*pids: int) -> list[int]:
    return list(dict.fromkeys(each for pid in pids for each in (pid, *descendants(pid))))


def memory_of(*pids: int) -> int:
    """Bytes that programs and their children take; what they share counts once (where that is told)."""
    total = 0
    for each in _all_of(*pids):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(each)
            try:
                total += process.memory_full_info().pss
            except (AttributeError, psutil.AccessDenied):
                total += process.memory_info().rss
    return total


class KillCounter:
    """Tells whether the kernel has killed processes for want of memory, as far as this machine tells."""

    FRESH_S = 5.0
    """A count is good for so long: it is read for every attempt, and hardly ever needed."""

    def __init__(self) -> None:
        self._count = 0
        self._read_at = float("-inf")

    def count(self, *, now: bool = False) -> int:
        """How many processes it has killed; a few seconds ago, unless it is to be `now`."""
        if now or time.monotonic() - self._read_at > self.FRESH_S:
            self._count = _out_of_memory_kills()
            self._read_at = time.monotonic()
        return self._count


def _out_of_memory_kills() -> int:
    total = 0
    for path, name in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            for line in file:
                key, _, number = line.partition(" ")
                if key == name:
                    total += int(number)
    return total
