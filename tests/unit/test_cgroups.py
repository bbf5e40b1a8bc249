"""Memory limits by cgroup v2: where they may be made, how programs enter, what the kernel's kill means."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cgroupfs import Hierarchy
from worker.process import cgroups
from worker.process.cgroups import Place, SlotGroup, enter, find_place, own_cgroup
from worker.process.channel import Lines, Message
from worker.process.process_tree import children
from worker.slot.programs import Program, start_fresh
from worker.slot.runner_program import RunnerProgram
from worker.slot.stopping import Stopping

LIMIT = 200_000_000


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hierarchy:
    found = Hierarchy(tmp_path)
    found.make(os.getpid())
    found.install(monkeypatch.setattr)
    return found


def of_slot(hierarchy: Hierarchy, number: int = 0) -> tuple[Place, Path]:
    place, why = find_place(hierarchy.proc)
    assert place, why
    return place, place.of_slot(number)


# Where it is


@pytest.mark.parametrize(
    ("root", "below", "inside"),
    [
        ("/", "/unit/a", "unit/a"),
        ("/", "/", "."),
        ("/docker/x", "/docker/x", "."),
        ("/docker/x", "/docker/x/y", "y"),
    ],
)
def test_the_own_cgroup(tmp_path: Path, root: str, below: str, inside: str) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(f"4:memory:/elsewhere\n0::{below}\n")
    (tmp_path / "self/mountinfo").write_text(
        f"30 22 0:26 {root} /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n"
    )
    assert own_cgroup(tmp_path) == Path("/sys/fs/c group") / inside


@pytest.mark.parametrize(
    ("cgroup", "mounts"),
    [
        ("4:memory:/elsewhere\n", "30 22 0:26 / /c rw - cgroup2 cgroup2 rw\n"),
        ("0::/unit\n", "30 22 0:26 / /c rw - cgroup cgroup rw,memory\n"),
        ("0::/unit\n", "nonsense\n"),
        ("", ""),
        (None, None),
    ],
)
def test_no_cgroup(tmp_path: Path, cgroup: str | None, mounts: str | None) -> None:
    (tmp_path / "self").mkdir()
    if cgroup is not None and mounts is not None:
        (tmp_path / "self/cgroup").write_text(cgroup)
        (tmp_path / "self/mountinfo").write_text(mounts)
    assert own_cgroup(tmp_path) is None
    assert find_place(tmp_path) == (None, "there is no cgroup v2")


def test_a_worker_makes_room_and_puts_things_back(hierarchy: Hierarchy) -> None:
    place, folder = of_slot(hierarchy)
    assert (place.leaf / "cgroup.procs").read_text().split() == [str(os.getpid())]
    assert (hierarchy.own / "cgroup.procs").read_text() == ""
    assert (hierarchy.own / "cgroup.subtree_control").read_text() == "memory"
    SlotGroup(folder, LIMIT, hierarchy.proc).prepare()
    place.remove()
    assert [each for each in hierarchy.own.iterdir() if each.is_dir()] == []
    assert (hierarchy.own / "cgroup.procs").read_text().split() == [str(os.getpid())]


def test_what_started_the_worker_moves_along(hierarchy: Hierarchy) -> None:
    # As a container's init, or `sh -c` in a unit.
    (hierarchy.own / "cgroup.procs").write_text(f"{os.getppid()}\n{os.getpid()}\n")
    place, _ = of_slot(hierarchy)
    assert (place.leaf / "cgroup.procs").read_text().split() == [str(os.getppid()), str(os.getpid())]


def other_program(hierarchy: Hierarchy) -> None:
    (hierarchy.own / "cgroup.procs").write_text(f"{os.getpid()}\n999999\n")


def not_seen(hierarchy: Hierarchy) -> None:
    (hierarchy.own / "cgroup.procs").write_text(f"{os.getpid()}\n0\n")


def no_memory(hierarchy: Hierarchy) -> None:
    (hierarchy.own / "cgroup.controllers").write_text("cpu pids")


def refused(hierarchy: Hierarchy) -> None:
    hierarchy.refuses = "cgroup.subtree_control"


def gone(hierarchy: Hierarchy) -> None:
    (hierarchy.own / "cgroup.controllers").unlink()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_program, "other programs are in its cgroup"),
        (not_seen, "other programs are in its cgroup"),
        (no_memory, "its cgroup v2 has no memory controller"),
        (refused, "Permission denied"),
        (gone, "No such file"),
    ],
)
def test_where_a_worker_may_not(hierarchy: Hierarchy, change: Any, why: str) -> None:
    change(hierarchy)
    before = (hierarchy.own / "cgroup.procs").read_text()
    place, said = find_place(hierarchy.proc)
    assert place is None
    assert why in said
    assert "\n" not in said
    # Nothing has changed.
    assert (hierarchy.own / "cgroup.procs").read_text() == before
    assert [each for each in hierarchy.own.iterdir() if each.is_dir()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="others may write only what was left to them")
@pytest.mark.parametrize(("attribute", "may"), [(None, False), (b"0", False), (b"1", True)])
def test_root_asks_systemd(
    hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attribute: bytes | None, may: bool
) -> None:
    def getxattr(path: Path, name: str) -> bytes:
        if attribute is None:
            raise OSError(61, "No data available")
        return attribute

    monkeypatch.setattr(cgroups, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(os, "getxattr", getxattr)
    place, why = find_place(hierarchy.proc)
    assert bool(place) == may
    assert may or why == "systemd has not delegated its cgroup (Delegate=memory)"


# A slot's


def test_a_group_is_limited_and_tells_of_kills(hierarchy: Hierarchy) -> None:
    _, folder = of_slot(hierarchy)
    group = SlotGroup(folder, LIMIT, hierarchy.proc)
    assert group.prepare() == folder / "cgroup.procs"
    limits = {
        name: (folder / name).read_text() for name in ("memory.max", "memory.swap.max", "memory.oom.group")
    }
    assert limits == {"memory.max": "200000000", "memory.swap.max": "0", "memory.oom.group": "1"}
    assert not group.holds(os.getpid())
    enter(str(folder / "cgroup.procs"))
    assert group.holds(os.getpid())
    assert not group.has_killed()
    hierarchy.kills(folder, 2, at_its_limit=False)  # for want of memory on the whole machine
    assert not group.has_killed()
    hierarchy.kills(folder, 2)
    assert group.has_killed()
    group.prepare()  # for the next attempt, a kill before it counts no more
    assert not group.has_killed()
    hierarchy.kills(folder, 1)
    assert group.has_killed()


@pytest.mark.parametrize(
    ("taken", "member", "made_again"), [(LIMIT, False, True), (LIMIT, True, False), (1000, False, False)]
)
def test_what_programs_have_left_counts_no_more(
    hierarchy: Hierarchy, taken: int, member: bool, made_again: bool
) -> None:
    _, folder = of_slot(hierarchy)
    group = SlotGroup(folder, LIMIT, hierarchy.proc)
    group.prepare()
    (folder / "memory.current").write_text(f"{taken}\n")
    (folder / "cgroup.procs").write_text("4242\n" if member else "")
    group.prepare()
    assert (int((folder / "memory.current").read_text()) == 0) == made_again
    assert (folder / "memory.max").read_text() == str(LIMIT)


def test_a_group_that_cannot_be_used_is_said_once(
    hierarchy: Hierarchy, caplog: pytest.LogCaptureFixture
) -> None:
    _, folder = of_slot(hierarchy)
    hierarchy.refuses = "memory.max"
    group = SlotGroup(folder, LIMIT, hierarchy.proc)
    with caplog.at_level(logging.WARNING):
        assert [group.prepare(), group.prepare()] == [None, None]
    (line,) = caplog.messages
    assert line.startswith("memory is looked at twice a second, as its cgroup can't be used: ")
    assert not group.has_killed()
    assert not group.holds(os.getpid())
    enter(str(folder / "cgroup.none"))  # nor does a program fail for it


# What the slot makes of it


class Channel:
    def stop(self, request: Any) -> dict[str, Any]:
        return {}


def stopping(group: SlotGroup, monkeypatch: pytest.MonkeyPatch, used: int = 0) -> tuple[Stopping, list[Any]]:
    kills: list[Any] = []
    context: Any = SimpleNamespace(
        memory_bytes=LIMIT,
        group=group,
        keep=frozenset,
        runner=SimpleNamespace(pid=None),
        hand_back_at=lambda: None,
    )
    record: Any = SimpleNamespace(id="t")
    found = Stopping(record, context, Channel(), time.monotonic)  # type: ignore[arg-type]
    program: Any = SimpleNamespace(pid=os.getpid(), runs_as=os.getpid(), kill=kills.append)
    found.program = program
    monkeypatch.setattr("worker.slot.stopping.memory_of", lambda *pids: used)
    return found, kills


def test_what_the_kernel_killed_was_over_its_limit(
    hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = of_slot(hierarchy)
    group = SlotGroup(folder, LIMIT, hierarchy.proc)
    enter(str(group.prepare()))
    found, kills = stopping(group, monkeypatch, used=10 * LIMIT)
    found.check_memory()
    assert (found.over_memory, kills) == ("", [])  # the kernel's count is what holds, not ours
    hierarchy.kills(folder, 1)
    found.check_memory()
    assert found.over_memory == "wanted more memory than the 200 MB that this worker allows (--memory)"
    assert len(kills) == 1
    found.check_memory()
    assert len(kills) == 1


def test_what_was_killed_between_two_looks(hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = of_slot(hierarchy)
    group = SlotGroup(folder, LIMIT, hierarchy.proc)
    enter(str(group.prepare()))
    found, _ = stopping(group, monkeypatch)
    found.look_back()
    assert found.over_memory == ""
    hierarchy.kills(folder, 1)
    found.look_back()
    assert "200 MB" in found.over_memory


def test_a_program_that_did_not_get_in_is_looked_at(
    hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = of_slot(hierarchy)
    group = SlotGroup(folder, LIMIT, hierarchy.proc)
    group.prepare()
    found, kills = stopping(group, monkeypatch, used=2 * LIMIT)
    found.check_memory()
    assert found.over_memory == "used 400 MB of memory; this worker allows 200 MB (--memory)"
    assert len(kills) == 1


# How programs enter: by the slot's file, before they run anything of the user's


def test_a_command_enters_before_it_begins(tmp_path: Path) -> None:
    members = tmp_path / "cgroup.procs"
    members.touch()
    argv = ["sh", "-c", f"cat {members}"]
    program = start_fresh(
        argv, {"kind": "command"}, tmp_path, "", scratch=tmp_path, seed=1, cgroup=str(members)
    )
    try:
        assert program.wait(10) == 0
        assert os.read(program.stdout, 100) == b"0"
    finally:
        program.close()


def test_a_function_enters_in_its_own_process_and_the_runner_stays_out(tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(
        "SEEN = open('cgroup.procs').read()\ndef f(task):\n    return float(SEEN) + 7\n"
    )
    members, objective = tmp_path / "cgroup.procs", {"kind": "function", "target": "mod:f"}
    order = {
        "op": "run", "task": {"id": "t", "parameters": {}, "metrics": []}, "objective": objective,
        "folder": str(tmp_path), "optional": [], "connected": [], "scratch": str(tmp_path), "cgroup": str(members),
    }  # fmt: skip
    members.touch()
    program = RunnerProgram(objective, tmp_path)
    assert program.channel is not None
    program.channel.settimeout(30.0)
    lines = Lines()
    try:
        for _ in range(3):  # the first child, then the nursery's
            assert members.read_text() == ""
            program.send(order)
            heard: list[Message] = []
            while not heard or heard[-1]["op"] != "exited":
                heard += lines.feed(program.channel.recv(1 << 16))
            assert [each["ordered"] for each in heard if each["op"] == "result"] == [[7.0]]
            members.write_text("")
    finally:
        # Not this process' other children, which servers of other tests are.
        program.kill(frozenset(children(os.getpid())))
        program.close()
        program.wait(20.0)


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The kernel's own (its memory controller may be with cgroup v1: what is tried here needs none)


@pytest.fixture
def real() -> Iterator[Path]:
    base = own_cgroup()
    folder = base / f"orq-test-{os.getpid()}" if base else Path("/none")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no cgroup can be made here")
    yield folder
    with contextlib.suppress(OSError):
        (folder / "cgroup.kill").write_text("1")
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
        if not folder.exists():
            return
        time.sleep(0.02)


def test_what_forks_and_detaches_stays_inside_and_ends_with_it(real: Path, tmp_path: Path) -> None:
    text = (
        "import os, time\n"
        "os.fork() and os._exit(0)\nos.setsid()\nos.fork() and os._exit(0)\n"
        "open('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    group = SlotGroup(real, LIMIT)
    program = Program(
        [sys.executable, "-c", text], env=dict(os.environ), folder=tmp_path, split_output=False, channel=False,
        cgroup=str(real / "cgroup.procs"),
    )  # fmt: skip
    try:
        assert program.wait(10) == 0
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        pid = int((tmp_path / "pid").read_text())
        assert group.holds(pid)
        assert not group.holds(os.getpid())

        def removed() -> bool:
            group.remove()
            return not real.exists()

        wait_for(removed)  # once all in it has ended
    finally:
        program.close()
        with contextlib.suppress(ProcessLookupError, UnboundLocalError):
            os.kill(pid, signal.SIGKILL)


def test_a_kernel_without_the_memory_controller_here(real: Path, caplog: pytest.LogCaptureFixture) -> None:
    if (real / "memory.max").exists():
        pytest.skip("it has one")
    assert SlotGroup(real, LIMIT).prepare() is None
    assert "memory.max" in caplog.text


def test_the_kernel_kills_all_of_a_group_over_its_limit(tmp_path: Path) -> None:
    """Where this machine lends its memory controller: run as its own worker would, in a process apart."""
    done = subprocess.run(
        [sys.executable, "-c", _REAL], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    if done.stdout.startswith("no place"):
        pytest.skip(f"no memory limit can be made here: {done.stdout[9:].strip()}")
    assert done.stdout.split() == ["-9", "True"], done.stdout + done.stderr


_REAL = """
import subprocess, sys
from functools import partial
from worker.process.cgroups import SlotGroup, enter, find_place
place, why = find_place()
if place is None:
    sys.exit(print("no place:", why))
group = SlotGroup(place.of_slot(0), 64 << 20)
members = group.prepare()
text = "import os, time; os.fork() or (os.setsid(), b'x' * (256 << 20)); time.sleep(30)"
code = subprocess.call([sys.executable, "-c", text], preexec_fn=partial(enter, str(members)))
print(code, group.has_killed())
group.remove()
place.remove()
"""
