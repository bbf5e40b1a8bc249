"""A cgroup v2 hierarchy in a folder, with the kernel's rules that matter here, for machines that lend none.

It stands in for what the file system does: files appear with a cgroup, a process is in one cgroup, and a cgroup
with limits for its children has no processes.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from worker.process import cgroups


class Hierarchy:
    """Below `root`; this process is in the cgroup `own`, alone."""

    def __init__(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, own: str = "/unit", controllers: str = "cpu memory"
    ) -> None:
        self.root, self.proc = root / "fs", root / "proc"
        self.own = self.root / own.strip("/")
        self.refuses = ""
        """A file that can't be written."""
        self.own.mkdir(parents=True)
        self._fill(self.own, controllers)
        (self.own / "cgroup.procs").write_text(f"{os.getpid()}\n")
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/cgroup").write_text(f"9:cpuset:/other\n0::{own}\n")
        (self.proc / "self/mountinfo").write_text(
            "22 1 0:1 / /proc rw - proc proc rw\n"
            f"30 22 0:26 / {str(self.root).replace(' ', chr(92) + '040')} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
        )
        made, removed = Path.mkdir, Path.rmdir

        def mkdir(path: Path, *args: object, **options: object) -> None:
            new = not path.exists()
            made(path, *args, **options)  # type: ignore[arg-type]
            if new and self.root in path.parents:
                self._fill(path, (path.parent / "cgroup.subtree_control").read_text())

        def rmdir(path: Path) -> None:
            if self.root in path.parents:
                if (path / "cgroup.procs").read_text().split() or any(
                    each.is_dir() for each in path.iterdir()
                ):
                    raise OSError(errno.EBUSY, "Device or resource busy", str(path))
                for file in path.iterdir():
                    file.unlink()
            removed(path)

        monkeypatch.setattr(Path, "mkdir", mkdir)
        monkeypatch.setattr(Path, "rmdir", rmdir)
        monkeypatch.setattr(cgroups, "_write", self._write)

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
            for other in self.root.rglob("cgroup.procs"):
                other.write_text(
                    "".join(f"{each}\n" for each in other.read_text().split() if int(each) != pid)
                )
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
