"""A frame of a study on screens of any size: every line fits, and what matters most is there."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from controller.results.live import BestTrial, Frame, RunningTrial
from controller.screen.frame import FramePicture, share_used
from tests.unit.test_layout import NAMES
from worker.protocol import Status

LONG = "transformer-finetuning-large-scale-ablation"
WIDE = "研究🧪" * 20
HOSTILE = "[bold]x[/]\x1b[2J\x1b]0;pwned\x07\r\n\u202edna\u0301 </script>" * 3
COUNTS = {
    Status.CREATED: 0, Status.QUEUED: 1, Status.IN_PROGRESS: 6, Status.COMPLETED: 9, Status.FAILED: 1,
    Status.STOPPED: 2,
}  # fmt: skip
BUDGET = {
    "jobs": {"used": 19, "limit": 200.0, "unit": "jobs"},
    "compute_time": {"used": 63.2, "limit": 12000.0, "unit": "minutes"},
    "wall_clock": {"used": 12.5, "limit": None, "unit": "minutes"},
    "failures": {"used": 1, "limit": 10.0, "unit": "jobs"},
    "concurrent": {"used": 7, "limit": None, "unit": "jobs"},
}


def running(trial: int, worker: str = "", **changes: Any) -> RunningTrial:
    fields = {"value": 0.5 / trial, "iteration": trial * 7, "seconds": 33.0 * trial, "attempt": 1}
    return RunningTrial(
        trial=trial, task_id=f"{trial:032x}", worker=worker or f"node{trial}.example.org/0", **{**fields, **changes}
    )  # fmt: skip


def frame(name: str = LONG, parameter: str = "{}", **changes: Any) -> Frame:
    """A study with ten parameters that runs for twelve minutes.

    Args:
        parameter: what each parameter is called, given its own name.
    """
    best = BestTrial(
        trial=7,
        task_id="1a2b3c4d" * 4,
        values={"accuracy": 0.931234},
        parameters={parameter.format(one): 0.000123456 for one in NAMES},
    )
    fields: dict[str, Any] = {
        "study": name, "state": "running", "reason": "", "counts": COUNTS, "elapsed_s": 754.2,
        "remaining_s": 3900.0, "budget": BUDGET, "best": (best,), "workers": 2, "slots": 8,
        "running": [running(trial) for trial in range(13, 19)], **changes,
    }  # fmt: skip
    return Frame(**fields)


def drawn(one: Frame, width: int, height: int = 40, **options: Any) -> list[str]:
    """The lines of a frame on a terminal."""
    stream = io.StringIO()
    options = {"force_terminal": True, "color_system": None, **options}
    screen = Console(file=stream, width=width, height=height, highlight=False, emoji=False, **options)
    screen.print(FramePicture(one))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
@pytest.mark.parametrize("height", [5, 10, 24, 60])
@pytest.mark.parametrize("name", [LONG, WIDE, HOSTILE, "s", ""])
def test_every_line_fits(width: int, height: int, name: str) -> None:
    several = BestTrial(
        trial=3, task_id="f" * 32, values={name or "a": 0.5, "size": 1e9}, parameters={name or "x": name}
    )
    hard = [running(trial, worker=f"{name}/0", attempt=trial) for trial in range(1, 90)]
    for one in (
        frame(name, parameter=f"{name}{{}}"),
        frame(name, best=(several, several), running=hard, counts={**COUNTS, Status.IN_PROGRESS: 500}),
        frame(name, best=(), running=[], budget={}, remaining_s=None, waits_for="Redis"),
        frame(name, state="paused", reason=HOSTILE, paused=3, counts={}),
    ):
        lines = drawn(one, width, height)
        assert max(map(cell_len, lines)) <= width, lines
        assert len(lines) < height, lines
        assert not any(letter in "".join(lines) for letter in "\x1b\x07\r\u202e")


def test_at_80_columns_all_is_there() -> None:
    lines = drawn(frame(), 80, 24)
    text = "\n".join(lines)
    assert lines[0].startswith("transformer…")
    assert lines[0].endswith("running · 12 min 34 s, about 1 h 5 min left")
    assert lines[1:3] == [
        "12 ended (1 failed, 2 stopped) · 6 running on 8 slots of 2 workers · 1 queued",
        "budget: 19 of 200 trials · 1 h 3 min of 8 d 8 h compute time · 1 of 10 failures",
    ]
    assert lines[3] == "best 0.931234 (trial 7)"
    assert all(text.count(f"{name}=0.0001235") == 1 for name in NAMES)
    rows = [line.split() for line in lines[-7:]]
    assert rows[0] == ["trial", "iteration", "value", "time", "worker"]
    assert rows[1] == ["13", "91", "0.0384615", "7", "min", "9", "s", "node13.example.org/0"]
    assert [row[0] for row in rows[1:]] == ["13", "14", "15", "16", "17", "18"]


def test_at_40_columns_parameters_stand_one_below_the_other() -> None:
    lines = drawn(frame(), 40, 24)
    assert [line.split("=")[0].strip() for line in lines if "=" in line] == list(NAMES)
    assert "best 0.931234 (trial 7)" in lines
    assert any(line.split() == ["13", "91", "0.0384615"] for line in lines)
    assert lines[-1] == "  … and 3 more"


@pytest.mark.parametrize("height", [8, 10, 12])
def test_what_finds_no_room_is_named(height: int) -> None:
    lines = drawn(frame(), 80, height)
    shown = sum(line.count("=0.0001235") for line in lines)
    assert f"… {len(NAMES) - shown} more: controller show 1a2b3c4d" in "\n".join(lines)
    rows = sum(line.split()[:1] in (["13"], ["14"], ["15"]) for line in lines)
    assert lines[-1] == f"  … and {6 - rows} more" or not rows


def test_a_reason_and_what_is_waited_for_are_said() -> None:
    lines = drawn(frame(state="interrupted", reason="its controller is gone"), 120)
    assert "interrupted · 12 min 34 s" in lines[0]
    assert lines[1].endswith("its controller is gone")
    assert "waits for Redis" in drawn(replace(frame(), waits_for="Redis"), 60)[0]


def test_several_objectives_show_the_newest_of_the_front() -> None:
    best = [
        BestTrial(trial=trial, task_id="f" * 32, values={"loss": 0.5, "size/mib": 12.0}, parameters={"x": 1})
        for trial in (9, 4)
    ]
    assert "2 on the Pareto front, the newest loss=0.5 size/mib=12 (trial 9)" in drawn(frame(best=best), 80)


def test_the_bar_can_be_read_without_colors() -> None:
    assert drawn(frame("s", remaining_s=None), 80)[0].startswith("s  ━" + "─" * 23)
    half = {"iterations": {"used": 50.0, "limit": 100.0}, "jobs": {"used": 3.0, "limit": 10.0}}
    assert drawn(frame("s", budget=half), 80)[0].startswith("s  " + "━" * 12 + "─" * 12)
    assert "━" not in drawn(frame("s", budget={}), 80)[0]


@pytest.mark.parametrize(
    ("budget", "share"),
    [
        ({}, None),
        ({"jobs": {"used": 4, "limit": None}}, None),
        ({"jobs": {"used": 4, "limit": 8}, "concurrent": {"used": 2}}, 0.25),
        ({"jobs": {"used": 8, "limit": 8}, "iterations": {"used": 1, "limit": 10}}, 0.1),
        ({"jobs": {"used": 1, "limit": 8}, "wall_clock": {"used": 30, "limit": 40}}, 0.75),
        ({"compute_time": {"used": 50, "limit": 40}}, 1.0),
        ({"jobs": {"used": "many", "limit": []}, "compute_time": None}, None),
    ],
)
def test_the_largest_share_of_a_budget(budget: Any, share: float | None) -> None:
    assert share_used(budget) == share
