"""Memory limits that the kernel holds: a cgroup (version 2) for each slot, where the worker may make one.

The worker may where systemd delegates (``Delegate=memory``), in a container whose cgroups can be written, and
wherever else its user owns its cgroup. Processes and limits can't be in one cgroup: the worker moves into one
below its own, and each slot makes another one beside that, for what it runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.process.process_tree import descendants

log = logging.getLogger(__name__)

PROC = Path("/proc")
MEMBERS = "cgroup.procs"
_CONTROL = "cgroup.subtree_control"
_SYSTEMD = Path("/run/systemd/system")
_DELEGATED = ("user.delegate", "trusted.delegate")
"""Extended attributes with which systemd marks what it leaves to a service."""


def own_cgroup(proc: Path = PROC) -> Path | None:
    """The folder of this process' cgroup; None where there is no version 2."""
    with contextlib.suppress(OSError, ValueError):
        lines = (proc / "self/cgroup").read_text().splitlines()
        below = next((line[3:] for line in lines if line.startswith("0::")), None)
        for line in (proc / "self/mountinfo").read_text().splitlines() if below else ():
            about, _, kind = line.partition(" - ")
            root, mounted = about.split()[3:5]
            if kind.split()[0] == "cgroup2" and below is not None:
                # In a container the mount may show a part of the hierarchy only.
                inside = os.path.relpath(below, root) if below.startswith(root) else below.lstrip("/")
                return Path(_unescaped(mounted), inside)
    return None


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


@dataclass(frozen=True)
class Place:
    """Where slots' cgroups can be made.

    Attributes:
        folder: of the cgroup that they are made in.
        leaf: the one below it that the worker's own processes are in.
    """

    folder: Path
    leaf: Path

    def of_slot(self, number: int) -> Path:
        return self.folder / f"orq-{os.getpid()}-slot-{number}"

    def remove(self) -> None:
        """Undo what was made, as far as the kernel lets us."""
        with contextlib.suppress(OSError):
            for folder in self.folder.glob(f"orq-{os.getpid()}-slot-*"):
                _remove(folder)
        with contextlib.suppress(OSError):
            if not any(each.is_dir() for each in self.folder.iterdir() if each != self.leaf):
                _write(self.folder / _CONTROL, "-memory")
                _move(_members(self.leaf), self.folder)
                _remove(self.leaf)


def find_place(proc: Path = PROC) -> tuple[Place | None, str]:
    """Move this worker so that its slots can have cgroups with limits.

    Call it before there are slots.

    Returns:
        Where they are made; or None, and why this can't be.
    """
    folder = own_cgroup(proc)
    if folder is None or not folder.is_dir():
        return None, "there is no cgroup v2"
    try:
        if "memory" not in (folder / "cgroup.controllers").read_text().split():
            return None, "its cgroup v2 has no memory controller"
        if not os.access(folder / MEMBERS, os.W_OK) or not os.access(folder, os.W_OK):
            return None, "its cgroup can't be written"
        if not _delegated(folder):
            return None, "systemd has not delegated its cgroup (Delegate=memory)"
        return _enter(folder)
    except (OSError, ValueError) as error:
        return None, str(error)


def _enter(folder: Path) -> tuple[Place | None, str]:
    """Move all that is in `folder` into a leaf of it, and have limits beside that leaf."""
    members, own = _members(folder), {os.getpid(), *_ancestors(), *descendants(os.getpid())}
    if set(members) - own:
        return None, "other programs are in its cgroup"
    leaf = folder / f"orq-{os.getpid()}-worker"
    leaf.mkdir(exist_ok=True)
    try:
        _move(members, leaf)
        _write(folder / _CONTROL, "+memory")
    except OSError:
        with contextlib.suppress(OSError):
            _move(members, folder)
            _remove(leaf)
        raise
    return Place(folder, leaf), ""


def _delegated(folder: Path) -> bool:
    """Whether a cgroup is left to us. Root may write to all, also to what systemd looks after."""
    if os.geteuid() or not _SYSTEMD.is_dir():
        return True
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


class SlotGroup:
    """The cgroup in which one slot runs programs, with a limit. Nothing here raises.

    Args:
        folder: of the cgroup, which need not exist.
        limit: in bytes.
    """

    def __init__(self, folder: Path, limit: int, proc: Path = PROC) -> None:
        self._folder = folder
        self._limit = limit
        self._proc = proc
        self._before = (0, 0)
        self._trouble = ""

    def prepare(self) -> Path | None:
        """Make it ready for a program: the file in which to write its process id, None where that can't be.

        What the programs before have left, such as files in ``/dev/shm``, counts no more.
        """
        try:
            if self._folder.is_dir() and self._is_stale():
                with contextlib.suppress(OSError):
                    self._folder.rmdir()
            self._folder.mkdir(exist_ok=True)
            _write(self._folder / "memory.max", str(self._limit))
            # Swap would be a way around the limit; and all of a trial ends, rather than some of it.
            for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                with contextlib.suppress(OSError):
                    _write(self._folder / name, value)
            self._before = self._counts()
            return self._folder / MEMBERS
        except OSError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("memory is looked at twice a second, as its cgroup can't be used: %s", error)
            return None

    def holds(self, pid: int) -> bool:
        """Whether a process is in it."""
        with contextlib.suppress(OSError):
            lines = (self._proc / str(pid) / "cgroup").read_text().splitlines()
            return any(line.startswith("0::") and line.endswith(f"/{self._folder.name}") for line in lines)
        return False

    def has_killed(self) -> bool:
        """Whether the kernel has killed something in it for its limit since it was prepared.

        It kills in it for want of memory elsewhere, too: on the whole machine, or in its container.
        """
        return all(now > before for now, before in zip(self._counts(), self._before, strict=True))

    def peak(self) -> int:
        """The most that was taken at a time, in bytes; 0 where the kernel doesn't tell."""
        with contextlib.suppress(OSError, ValueError):
            return int((self._folder / "memory.peak").read_text())
        return 0

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            _write(self._folder / "cgroup.kill", "1")
        with contextlib.suppress(OSError):
            _remove(self._folder)

    def _is_stale(self) -> bool:
        """Whether nothing runs in it, and a good part of the limit is taken all the same."""
        with contextlib.suppress(OSError, ValueError):
            taken = int((self._folder / "memory.current").read_text())
            return taken > self._limit // 10 and not _members(self._folder)
        return False

    def _counts(self) -> tuple[int, int]:
        """How often it was at its limit, and how many of its processes were killed for want of memory."""
        with contextlib.suppress(OSError, ValueError):
            lines = (self._folder / "memory.events").read_text().splitlines()
            events = dict(line.split(" ", 1) for line in lines)
            return int(events.get("oom", 0)), int(events.get("oom_kill", 0))
        return self._before


def enter(members: str) -> None:
    """Move this process into a cgroup. Never raises: the slot looks whether it is there.

    Args:
        members: path of the cgroup's list of processes.
    """
    with contextlib.suppress(OSError):
        _write(Path(members), "0")


def _members(folder: Path) -> list[int]:
    """Processes of a cgroup; 0 stands for one that this container doesn't see."""
    return [int(text) for text in (folder / MEMBERS).read_text().split()]


def _move(pids: list[int], folder: Path) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            _write(folder / MEMBERS, str(pid))


def _ancestors() -> Iterator[int]:
    pid = os.getppid()
    while pid > 0:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return
        pid = int(stat.rpartition(")")[2].split()[1])


def _write(path: Path, text: str) -> None:
    # In one call, without making a file that isn't there: each write is an order to the kernel.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        folder.rmdir()
