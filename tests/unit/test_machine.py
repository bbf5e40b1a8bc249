"""When a slot takes jobs again after a fault of its machine."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import fill, small_disk
from worker.protocol.faults import Fault, Lacking
from worker.protocol.status import Reason
from worker.slot.machine import Machine


def fault(lacking: Lacking = Lacking.SPACE, place: str = "") -> Fault:
    return Fault(reason_class=Reason.MACHINE_FAULT, lacking=lacking, reason="it is", place=place)


class Slot:
    """A machine whose fault a test keeps, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.is_ill = 100.0, True
        self.shown: list[float] = []
        self.looks = 0
        self.machine = Machine((), lambda fault, seconds: self.shown.append(seconds), lambda: self.now)
        monkeypatch.setattr(self.machine, "lasts", self._lasts)

    def _lasts(self, fault: Fault, store: str | None) -> bool:
        self.looks += 1
        return self.is_ill

    def held_for(self) -> float:
        """Seconds until it takes jobs; looked at ten times a second."""
        began = self.now
        while self.machine.holds():
            self.now += 0.1
        return self.now - began


@pytest.fixture
def slot(monkeypatch: pytest.MonkeyPatch) -> Slot:
    return Slot(monkeypatch)


def test_nothing_is_held_without_a_fault(slot: Slot) -> None:
    assert not slot.machine.holds()
    assert slot.looks == 0


def test_a_fault_that_lasts_is_looked_at_until_it_is_gone(slot: Slot) -> None:
    slot.machine.hold(fault(), None, lasts=True)
    for _ in range(200):
        slot.now += 0.1
        assert slot.machine.holds()
    assert 4 <= slot.looks <= 8  # less and less often
    slot.is_ill = False
    assert slot.held_for() <= 10.0
    # Shown until the next look at least, each time.
    assert slot.shown == [1.0, 2.0, 4.0, 8.0, 10.0]


def test_what_is_seen_no_more_is_given_time_and_more_each_time(slot: Slot) -> None:
    slot.is_ill = False
    times = []
    for _ in range(6):
        slot.machine.hold(fault(), None, lasts=False)
        times.append(round(slot.held_for()))
    assert times[:4] == [5, 10, 20, 40]
    assert all(60 <= seconds <= 70 for seconds in times[4:])
    slot.machine.works()
    slot.machine.hold(fault(), None, lasts=False)
    assert round(slot.held_for()) == 5


def test_what_comes_back_at_once_is_given_time(slot: Slot) -> None:
    slot.is_ill = False
    times = []
    for _ in range(4):
        slot.machine.hold(fault(), None, lasts=True)
        times.append(round(slot.held_for()))
    assert times == [1, 5, 10, 20]


def test_what_a_program_waits_out_is_shown(slot: Slot) -> None:
    slot.machine.waits_out(fault(), 10.0)
    assert slot.shown == [14.0]
    assert not slot.machine.holds()  # the slot is the program's


# What is looked at


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small") as folder:
        yield folder


def test_a_full_disk(disk: Path, tmp_path: Path) -> None:
    named = fault(place=str(disk / "not" / "there" / "model.bin"))
    unnamed, elsewhere = fault(), fault(place=str(tmp_path / "model.bin"))
    machine = Machine([tmp_path, disk])
    full = [machine.lasts(each, None) for each in (named, unnamed, elsewhere)]
    assert full == [False, False, False]
    filler = fill(disk)
    full = [machine.lasts(each, None) for each in (named, unnamed, elsewhere)]
    assert full == [True, True, False]
    store = f"file://{disk}/store"
    assert machine.lasts(fault(Lacking.STORE), store)
    filler.unlink()
    assert not machine.lasts(named, None)
    assert not machine.lasts(fault(Lacking.STORE), store)
    # Looking leaves nothing behind.
    assert [path for path in disk.rglob("*") if path.is_file()] == []


def test_no_descriptors() -> None:
    machine = Machine(())
    assert not machine.lasts(fault(Lacking.FILES), None)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open("/dev/null") as lowest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno(), before[1]))
        try:
            found = machine.lasts(fault(Lacking.FILES), None)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found
    assert not machine.lasts(fault(Lacking.PROCESSES), None)


def test_a_gpu_is_what_its_tool_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    machine = Machine(())
    for body, lasts in (
        ("echo 'NVIDIA H200'", False),
        ("echo 'No devices were found'; exit 6", True),
        ("echo 'No devices were found'", True),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", True),
    ):
        tool.write_text(f"#!/bin/sh\n{body}\n")
        tool.chmod(0o755)
        assert machine.lasts(fault(Lacking.GPU), None) is lasts, body
    # Of a slot with a GPU of its own, that one is asked.
    tool.write_text('#!/bin/sh\n[ "$4" = 3 ] && exit 15; echo NVIDIA H200\n')
    for own, lasts in (("3", True), ("2", False), ("", False)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", own)
        assert machine.lasts(fault(Lacking.GPU), None) is lasts, own


def test_a_store_that_refuses_is_not_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    machine = Machine(())
    assert not machine.lasts(fault(Lacking.STORE), f"file://{tmp_path}/file/store")
    assert not machine.lasts(fault(Lacking.STORE), None)
