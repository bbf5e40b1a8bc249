"""A cgroup v2 hierarchy in a folder, with the kernel's rules that matter here, for machines that lend none.

It stands in for what the file system does: files appear with a cgroup, a process is in one cgroup, and a cgroup
with limits for its children has no processes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.process import cgroups

SITE = """
import os
from pathlib import Path
from tests.cgroupfs import Hierarchy
Hierarchy(Path(os.environ["FAKE_CGROUPS"])).install(setattr)
"""
"""A sitecustomize.py: all processes with it on their path find the hierarchy of ``FAKE_CGROUPS``."""


class Hierarchy:
    """Below `root`; this process is in the cgroup `own`."""

    def __init__(self, root: Path, own: str = "/unit") -> None:
        self.root, self.proc = root / "fs", root / "proc"
        self.own = self.root / own.strip("/")
        self.refuses = ""
        """A file that can't be written."""

    def make(self, *members: int) -> None:
        """Make it, with `members` in the cgroup `own`."""
        self.own.mkdir(parents=True)
        self._fill(self.own, "cpu memory")
        (self.own / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in members))
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/cgroup").write_text(f"9:cpuset:/other\n0::/{self.own.relative_to(self.root)}\n")
        mounted = str(self.root).replace(" ", "\\040")
        (self.proc / "self/mountinfo").write_text(
            "22 1 0:1 / /proc rw - proc proc rw\n"
            f"30 22 0:26 / {mounted} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
        )

    def install(self, setattr: Callable[[Any, str, Any], None]) -> None:
        """Have this process find it in the kernel's place."""
        made, removed = Path.mkdir, Path.rmdir

        def mkdir(path: Path, *args: object, **options: object) -> None:
            new = not path.exists()
            made(path, *args, **options)  # type: ignore[arg-type]
            if new and self.root in path.parents:
                self._fill(path, (path.parent / "cgroup.subtree_control").read_text())

        def rmdir(path: Path) -> None:
            if self.root in path.parents:
                busy = any(each.is_dir() for each in path.iterdir())
                if busy or (path / "cgroup.procs").read_text().split():
                    raise OSError(errno.EBUSY, "Device or resource busy", str(path))
                for file in path.iterdir():
                    file.unlink()
            removed(path)

        setattr(Path, "mkdir", mkdir)
        setattr(Path, "rmdir", rmdir)
        setattr(cgroups, "_write", self._write)
        setattr(cgroups, "_SYSTEMD", self.root / "no-systemd")
        setattr(cgroups.find_place, "__defaults__", (self.proc,))
        setattr(cgroups.SlotGroup.__init__, "__defaults__", (self.proc,))

    def exits(self, pid: int) -> None:
        """A process has ended."""
        for file in self.root.rglob("cgroup.procs"):
            file.write_text("".join(f"{each}\n" for each in file.read_text().split() if int(each) != pid))

    def _fill(self, path: Path, controllers: str) -> None:
        files = {
            "cgroup.procs": "",
            "cgroup.controllers": controllers,
            "cgroup.subtree_control": "",
            "cgroup.kill": "",
        }
        if "memory" in controllers and path != self.own:
            files |= dict.fromkeys(("memory.current", "memory.peak", "memory.oom.group"), "0\n")
            files |= {"memory.max": "max\n", "memory.swap.max": "max\n"}
            files["memory.events"] = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"
        for name, text in files.items():
            (path / name).write_text(text)

    def _write(self, path: Path, text: str) -> None:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        if path.name == self.refuses:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        if path.name == "cgroup.procs":
            if (path.parent / "cgroup.subtree_control").read_text().split():
                raise OSError(errno.EBUSY, "Device or resource busy", str(path))
            pid = os.getpid() if text == "0" else int(text)
            self.exits(pid)
            path.write_text(f"{path.read_text()}{pid}\n")
            (self.proc / str(pid)).mkdir(exist_ok=True)
            (self.proc / str(pid) / "cgroup").write_text(f"0::/{path.parent.relative_to(self.root)}\n")
        elif path.name == "cgroup.subtree_control":
            if text.startswith("+") and (path.parent / "cgroup.procs").read_text().split():
                raise OSError(errno.EBUSY, "Device or resource busy", str(path))
            path.write_text(text[1:] if text.startswith("+") else "")
        else:
            path.write_text(text)

    def kills(self, group: Path, count: int, *, at_its_limit: bool = True) -> None:
        """The kernel has killed `count` processes in a cgroup."""
        lines = (group / "memory.events").read_text().splitlines()
        events = {key: int(number) for key, number in (line.split() for line in lines)}
        events["oom_kill"] += count
        events["oom"] += at_its_limit
        (group / "memory.events").write_text("".join(f"{key} {number}\n" for key, number in events.items()))
