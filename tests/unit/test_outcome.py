from __future__ import annotations

import math
import signal
from typing import Any

import pytest

from tests.fakes import ACCURACY, LOSS, record
from worker.protocol import Point, Reason, Status, StopRequest, Summary
from worker.protocol.errors import ObjectiveLoadError
from worker.protocol.faults import Fault, Lacking
from worker.slot.outcome import Ended, judge
from worker.slot.output import ScalarLines, failure_text


class Reports:
    def __init__(self, **values: float) -> None:
        self.points: list[Point] = []
        self.summaries = {name: Summary.of(name, "").add(value, 0) for name, value in values.items()}

    @property
    def reported(self) -> list[str]:
        return sorted(self.summaries)

    def summary(self, key: str) -> Summary | None:
        return self.summaries.get(key)

    def add(self, point: Point) -> None:
        self.points.append(point)
        known = self.summaries.get(point.title) or Summary.of(point.title, point.series)
        key = f"{point.title}/{point.series}" if point.series else point.title
        self.summaries[key] = known.add(point.value, point.iteration)


PRUNED = StopRequest(reason_class=Reason.PRUNED, reason="no hope")
KILLED = -int(signal.SIGKILL)
TRACE = b"noise\nTraceback (most recent call last):\n  File x\nValueError: bad\n"


NO_ROOM = {"kind": "error", "reason": "OSError: no room", "fault": ["disk_full", "space", "/data"]}
NO_ROOM_TO_LOAD = {**NO_ROOM, "kind": "load_error"}
NO_PROCESS = Fault(reason_class=Reason.MACHINE_FAULT, lacking=Lacking.PROCESSES, reason="no process")
CHAINED = (
    b"Traceback (most recent call last):\n  File x\nOSError: [Errno 28] No space left on device\n\n"
    b"During handling of the above exception, another exception occurred:\n\n"
    b"Traceback (most recent call last):\n  File y\nRuntimeError: the model was not saved\n"
)


def load_error_from(cause: Exception) -> ObjectiveLoadError:
    error = ObjectiveLoadError("objective ./train: can't be started")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("ended", "reports", "status", "reason", "text"),
    [
        (Ended(result={"kind": "ok"}), Reports(loss=1.0), Status.COMPLETED, None, ""),
        (Ended(result={"kind": "ok", "ordered": [2.0]}), Reports(), Status.COMPLETED, None, ""),
        (Ended(result={"kind": "ok", "values": {"loss": 2.0}}), Reports(), Status.COMPLETED, None, ""),
        (Ended(exit_code=0), Reports(loss=1.0), Status.COMPLETED, None, ""),
        (Ended(exit_code=0), Reports(other=1.0), Status.FAILED, Reason.INVALID_VALUE, "'loss'; it reported other"),
        (Ended(exit_code=0), Reports(), Status.FAILED, Reason.INVALID_VALUE, "it reported nothing"),
        (Ended(exit_code=0), Reports(loss=math.nan), Status.FAILED, Reason.INVALID_VALUE, "nan"),
        (Ended(result={"kind": "ok", "ordered": [math.inf]}), Reports(), Status.FAILED, Reason.INVALID_VALUE, "inf"),
        (Ended(result={"kind": "ok", "ordered": [1, 2]}), Reports(), Status.FAILED, Reason.INVALID_VALUE, "2 value"),
        (Ended(exit_code=3, tail=TRACE), Reports(), Status.FAILED, Reason.OBJECTIVE_ERROR, "code 3: ValueError: bad"),
        (Ended(exit_code=1, tail=b"MemoryError"), Reports(), Status.FAILED, Reason.OUT_OF_MEMORY, "MemoryError"),
        (Ended(exit_code=KILLED), Reports(), Status.FAILED, Reason.OBJECTIVE_ERROR, "SIGKILL"),
        (Ended(exit_code=KILLED, out_of_memory=True), Reports(), Status.FAILED, Reason.OUT_OF_MEMORY, "memory"),
        (Ended(exit_code=KILLED, request=PRUNED, killed=True), Reports(), Status.STOPPED, Reason.PRUNED, "grace"),
        (Ended(exit_code=0, request=PRUNED), Reports(loss=1.0), Status.STOPPED, Reason.PRUNED, "no hope"),
        (Ended(result={"kind": "ok", "ordered": [2.0]}, request=PRUNED), Reports(), Status.COMPLETED, None, ""),
        (Ended(result={"kind": "stopped", "class": "pruned", "reason": "r"}), Reports(), Status.STOPPED, Reason.PRUNED, "r"),
        (Ended(result={"kind": "invalid_value", "reason": "text"}), Reports(loss=1.0), Status.FAILED, Reason.INVALID_VALUE, "text"),
        (Ended(result={"kind": "error", "reason": "ValueError: x"}), Reports(), Status.FAILED, Reason.OBJECTIVE_ERROR, "ValueError"),
        (Ended(result={"kind": "out_of_memory", "reason": "m"}), Reports(), Status.FAILED, Reason.OUT_OF_MEMORY, "m"),
        (Ended(load_error=ObjectiveLoadError("gone")), Reports(), Status.FAILED, Reason.LAUNCH_ERROR, "gone"),
        (Ended(result={"kind": "load_error", "reason": "gone"}), Reports(), Status.FAILED, Reason.LAUNCH_ERROR, "gone"),
        (Ended(result=NO_ROOM), Reports(), Status.FAILED, Reason.DISK_FULL, "no room"),
        (Ended(result=NO_ROOM, request=PRUNED), Reports(), Status.STOPPED, Reason.PRUNED, "no hope"),
        (Ended(result=NO_ROOM_TO_LOAD), Reports(), Status.FAILED, Reason.DISK_FULL, "no room"),
        (Ended(fault=NO_PROCESS), Reports(), Status.FAILED, Reason.MACHINE_FAULT, "no process"),
        (Ended(fault=NO_PROCESS, request=PRUNED), Reports(), Status.STOPPED, Reason.PRUNED, "no hope"),
        (Ended(load_error=load_error_from(OSError(11, "again"))), Reports(), Status.FAILED, Reason.MACHINE_FAULT, "started"),
        (Ended(load_error=load_error_from(OSError(8, "exec format"))), Reports(), Status.FAILED, Reason.LAUNCH_ERROR, "started"),
        (Ended(exit_code=1, tail=b"cp: '/data/x': No space left on device\n"), Reports(), Status.FAILED, Reason.DISK_FULL, "/data/x"),
        (Ended(exit_code=1, tail=CHAINED), Reports(), Status.FAILED, Reason.DISK_FULL, "the model was not saved"),
        (Ended(exit_code=-6, tail=b"what(): No space left on device"), Reports(), Status.FAILED, Reason.DISK_FULL, "SIGABRT"),
        (Ended(exit_code=1, tail=b"OSError: [Errno 12] Cannot allocate memory"), Reports(), Status.FAILED, Reason.OUT_OF_MEMORY, "12"),
        (Ended(exit_code=0, tail=b"No space left on device"), Reports(loss=1.0), Status.COMPLETED, None, ""),
    ],
)  # fmt: skip
def test_ends_are_told_apart(
    ended: Ended, reports: Reports, status: Status, reason: Reason | None, text: str
) -> None:
    outcome = judge(record(metrics=(LOSS,)), ended, reports)
    assert (outcome.status, outcome.reason_class) == (status, reason)
    assert text in outcome.reason


def test_a_returned_value_settles_what_was_reported() -> None:
    reports = Reports(loss=3.0)
    judge(record(metrics=(LOSS,)), Ended(result={"kind": "ok", "ordered": [1.0]}), reports)
    assert [(p.value, p.is_final) for p in reports.points] == [(1.0, True)]
    same = Reports(loss=3.0)
    judge(record(metrics=(LOSS,)), Ended(result={"kind": "ok", "ordered": [3.0]}), same)
    assert same.points == []


def test_several_objectives_are_returned_in_order() -> None:
    reports = Reports()
    judge(record(metrics=(LOSS, ACCURACY)), Ended(result={"kind": "ok", "ordered": [1.0, 0.5]}), reports)
    assert [(p.title, p.series, p.value) for p in reports.points] == [
        ("loss", "", 1.0),
        ("accuracy", "validation", 0.5),
    ]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("loss=0.5 iteration=3\n", [("loss", 0.5, 3)]),
        ("epoch 3: loss=1e-3, acc/val=.9 iteration=3\n", [("loss", 1e-3, 3), ("acc/val", 0.9, 3)]),
        ("loss=1\nloss=2\nother=5\n", [("loss", 1.0, 0), ("loss", 2.0, 1), ("other", 5.0, 0)]),
        ("a==1 b=c =3 x=1y\n", []),
        ("loss=nan iteration=1\n", [("loss", math.nan, 1)]),
        ("iteration=3\n", []),
        ("loss=-inf\n", [("loss", -math.inf, 0)]),
    ],
)
def test_scalars_in_a_commands_output(lines: str, found: list[Any]) -> None:
    reader = ScalarLines()
    got = [item for i in range(0, len(lines), 3) for item in reader.feed(lines[i : i + 3].encode())]
    assert [(n, repr(v), i) for n, v, i in got] == [(n, repr(v), i) for n, v, i in found]


def test_a_last_line_without_newline_counts() -> None:
    reader = ScalarLines()
    assert reader.feed(b"loss=1 iter") == []
    assert reader.feed(b"ation=7") == []
    assert reader.end() == [("loss", 1.0, 7)]


def test_the_last_traceback_is_kept() -> None:
    assert failure_text(b"x\n" + TRACE) == ("ValueError: bad", TRACE.decode().partition("\n")[2].rstrip())
    assert failure_text(b"") == ("", "")
    assert failure_text(b"one\ntwo\n")[0] == "two"
