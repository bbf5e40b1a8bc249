"""TensorBoard's event files, written by real writers."""

from __future__ import annotations

import math
import os
import sys
import threading
from pathlib import Path

import pytest
from tensorboardX import SummaryWriter

from worker.protocol.errors import BadInput
from worker.sdk.exceptions import TaskStopped
from worker.sdk.tensorboard import EventFolder, Follower


def event_file(folder: Path) -> Path:
    (found,) = folder.glob("*tfevents*")
    return found


def test_each_scalar_comes_once_and_under_clearmls_names(tmp_path: Path) -> None:
    events = EventFolder(tmp_path / "runs")
    assert events.read() == []  # the folder is not there yet
    writer = SummaryWriter(str(tmp_path / "runs"))
    writer.add_scalar("loss/train", 0.5, 0, walltime=1000.5)
    writer.add_scalar("a/b/c", 1.0, 1)
    writer.add_text("notes", "no scalar")
    writer.add_histogram("weights", [1.0, 2.0], 1)
    writer.add_scalar("accuracy", float("nan"), 2)
    writer.close()
    found = events.read()
    assert [row[:2] for row in found] == [("loss", "train"), ("a", "b/c"), ("accuracy", "accuracy")]
    assert found[0] == ("loss", "train", 0.5, 0, 1000.5)
    assert math.isnan(found[2][2])
    assert found[2][3] == 2
    assert events.read() == []
    # Within one second both writers would take the same file.
    writer = SummaryWriter(str(tmp_path / "runs"), filename_suffix=".second")
    writer.add_scalar("loss/train", 0.25, 3)
    late = SummaryWriter(str(tmp_path / "runs" / "validation"))
    late.add_scalar("epoch_accuracy", 0.75, 3)
    for each in (writer, late):
        each.close()
    assert sorted(row[:4] for row in events.read()) == [
        ("epoch_accuracy", "validation: epoch_accuracy", 0.75, 3),
        ("loss", "train", 0.25, 3),
    ]


def test_a_record_that_is_half_written_waits(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "whole")) as writer:
        for step in range(3):
            writer.add_scalar("x", step, step)
    data = event_file(tmp_path / "whole").read_bytes()
    growing = tmp_path / "growing"
    growing.mkdir()
    path = growing / "events.out.tfevents.1"
    events = EventFolder(growing)
    path.write_bytes(data[:-5])
    assert [row[3] for row in events.read()] == [0, 1]
    path.write_bytes(data)
    assert [row[3] for row in events.read()] == [2]


def test_earlier_runs_and_damaged_files_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SummaryWriter(str(tmp_path / "old")) as writer:
        writer.add_scalar("x", 1, 1)
    os.utime(event_file(tmp_path / "old"), (1000, 1000))
    events = EventFolder(tmp_path)
    (tmp_path / "events.out.tfevents.2").write_bytes(b"\x18\0\0\0\0\0\0\0damaged" + bytes(range(200)))
    with SummaryWriter(str(tmp_path / "new")) as writer:
        writer.add_scalar("y", 2, 2)
    assert [row[:2] for row in events.read()] == [("y", "new: y")]
    assert events.read() == []


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_file_loader", None)
    with pytest.raises(BadInput, match="pip install tensorboard"):
        EventFolder(tmp_path)


def test_following_ends_with_a_last_look(tmp_path: Path) -> None:
    seen: list[float] = []
    follower = Follower(tmp_path, lambda title, series, value, step, at: seen.append(value), period_s=60)
    follower.start()
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("x", 1.0, 0)
    follower.stop()
    follower.stop()
    assert seen == [1.0]
    assert "optuna-rq-tensorboard" not in [thread.name for thread in threading.enumerate()]


def test_a_task_that_is_to_stop_is_followed_no_longer(tmp_path: Path) -> None:
    def stopped(*_: object) -> None:
        raise TaskStopped

    follower = Follower(tmp_path, stopped, period_s=0.01)
    follower.start()
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("x", 1.0, 0)
    follower._thread.join(10)
    assert not follower._thread.is_alive()
    follower.stop()
