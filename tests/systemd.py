"""A real systemd for the tests: it is process 1 of a PID namespace, with mounts and control groups of its own.

It runs this clone's `worker` and `controller` as if they were installed in ``/opt/optuna-rq``, below private
copies of ``/etc``, ``/opt``, ``/run`` and ``/var/lib``: the units find what their hardening leaves them, and the
machine sees nothing of it. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path

import psutil

SYSTEMD = Path("/lib/systemd/systemd")
START_TIMEOUT_S = 30.0
REPOSITORY = Path(__file__).parent.parent

_JOURNAL = ("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket")
_TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sockets", "sysinit", "umount")

_INSIDE = """
set -eu
base=$1 systemd=$2
shift 2
while [ $# -gt 0 ]; do
    mount --bind "$1" "$base/opt/$2"
    shift 2
done
for folder in etc opt var/lib; do mount --rbind "$base/$folder" "/$folder"; done
mount -t tmpfs -o mode=755 tmpfs /run
for folder in /tmp /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
if [ -d /sys/fs/cgroup/systemd ]; then
    umount /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
else
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount --make-rshared /  # what units are given is mounted elsewhere and appears here
ldconfig
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=test SYSTEMD_UNIT_PATH=/etc/systemd/system \
    SYSTEMD_LOG_TARGET=console "$systemd" --system --unit=multi-user.target --show-status=no
"""
"""What becomes process 1. Called with the folder of the private copies, systemd's path, and `_install`'s mounts."""

_MAIN = """#!/opt/optuna-rq/bin/python
import sys
from {module} import {function}
sys.exit({function}())
"""


class Systemd:
    """A systemd of its own: ``start`` and ``stop``, as `tests.servers.serving` calls them.

    Attributes:
        etc: what the units see as ``/etc``.
        units: where unit files are put, below it.
        state: what they see as ``/var/lib/private``, where dynamic users' state folders lie.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="systemd-"))
        self.etc = self._folder / "etc"
        self.units = self.etc / "systemd/system"
        self.state = self._folder / "var/lib/private"
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._group: Path | None = None

    def start(self) -> None:
        """Raises `RuntimeError` when this machine can't: no root, no systemd, no namespaces."""
        if os.geteuid() != 0 or not SYSTEMD.exists() or not shutil.which("unshare"):
            raise RuntimeError("a systemd for tests takes root, systemd and unshare")
        mounts = self._lay_out()
        self._group = _make_group()
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--mount-proc"),
                    *("--propagation", "private", "bash", "-c", _INSIDE),
                    *("bash", str(self._folder), str(SYSTEMD), *mounts),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self._join_group,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            children = psutil.Process(self._process.pid).children()
            self._pid = children[0].pid if children else 0
            if self._pid and self.systemctl("is-active", "multi-user.target").stdout.strip() == "active":
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"systemd does not start here:\n{(self._folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Kill it: all that it has started goes with its namespace."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid or self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        if self._group is not None:
            for group, _, _ in os.walk(self._group, topdown=False):
                os.rmdir(group)
        self._process = self._group = None

    def close(self) -> None:
        """Remove its files."""
        shutil.rmtree(self._folder)

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._inside("systemctl", "--no-pager", *arguments)

    def journal(self, unit: str) -> str:
        """What a unit has said."""
        return self._inside("journalctl", "--no-pager", "--output=cat", "--unit", unit).stdout

    def shown(self, unit: str, name: str) -> str:
        """One of a unit's properties, such as ``ExecMainStatus``."""
        return self.systemctl("show", unit, "--property", name, "--value").stdout.strip()

    def pid_of(self, unit: str) -> int:
        """Its main process, as this side of the namespace numbers it; 0 while there is none."""
        inside = int(self.shown(unit, "MainPID"))
        for process in psutil.Process(self._pid).children(recursive=True) if inside else ():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                if next(line for line in status.splitlines() if line.startswith("NSpid")).endswith(
                    f"\t{inside}"
                ):
                    return process.pid
        return 0

    def _inside(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "--target", str(self._pid), "--mount", "--pid", *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _join_group(self) -> None:
        assert self._group is not None
        (self._group / "cgroup.procs").write_text("0")

    def _lay_out(self) -> list[str]:
        """Write the private copies; see `_install` for what is returned."""
        shutil.copytree("/etc", self.etc, symlinks=True)
        units = self.units
        shutil.rmtree(units)
        (units / "sockets.target.wants").mkdir(parents=True)
        for name in _TARGETS:
            (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
        for name in _JOURNAL:
            shutil.copy(SYSTEMD.parent / "system" / name, units)
            if name.endswith(".socket"):
                (units / "sockets.target.wants" / name).symlink_to(units / name)
        for name, wanted in (("basic", "sockets"), ("multi-user", "basic")):
            with (units / f"{name}.target").open("a") as unit:
                unit.write(f"Wants={wanted}.target\nAfter={wanted}.target\n")
        self.state.mkdir(parents=True, mode=0o700)
        mounts = _install(self._folder / "opt")
        (self.etc / "ld.so.conf.d").mkdir(exist_ok=True)
        (self.etc / "ld.so.conf.d/python.conf").write_text("/opt/python/lib\n")
        return mounts


def _install(opt: Path) -> list[str]:
    """A virtual environment in ``/opt/optuna-rq`` on this interpreter and with all that it imports.

    Returns:
        What is to be mounted below `opt`: folders of this machine and where they go, in turns.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    venv = opt / "optuna-rq"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
    (venv / "bin/python").symlink_to(f"/opt/python/bin/{version}")
    for command in ("worker", "controller"):
        (entry,) = entry_points(group="console_scripts", name=command)
        (venv / "bin" / command).write_text(_MAIN.format(module=entry.module, function=entry.attr))
        (venv / "bin" / command).chmod(0o755)
    mounts = [sys.base_prefix, "python"]
    inside = Path(sys.base_prefix)
    folders = [
        Path(path).resolve()
        for path in sys.path
        if Path(path).is_dir() and not Path(path).is_relative_to(inside)
    ]
    for number, folder in enumerate(dict.fromkeys([REPOSITORY, *folders])):
        mounts += [str(folder), f"optuna-rq/imports/{number}"]
    for place in mounts[1::2]:
        (opt / place).mkdir(parents=True)
    packages = venv / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "imports.pth").write_text("".join(f"/opt/{place}\n" for place in mounts[3::2]))
    return mounts


def _make_group() -> Path:
    """A control group for it; `RuntimeError` where none can be made."""
    for root in (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup")):
        if (root / "cgroup.procs").exists():
            group = root / f"optuna-rq-test-{os.getpid()}"
            try:
                group.mkdir()
            except OSError as error:
                raise RuntimeError(f"no control group can be made here: {error}") from error
            return group
    raise RuntimeError("there are no control groups here")
