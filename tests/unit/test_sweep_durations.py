"""Durations as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from controller.sweep.durations import parse_duration
from worker.protocol.errors import BadInput


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2h", 7200.0),
        ("90s", 90.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("2d", 172800.0),
        ("1d 2h 3m 4s 5ms", 93784.005),
        ("1.5h", 5400.0),
        (" 5M ", 300.0),
        ("90", 90.0),
        (90, 90.0),
        (0.25, 0.25),
        (0, 0.0),
        ("0s", 0.0),
        ("1h" + " " * 5000, 3600.0),
    ],
)
def test_a_duration_is_read_in_seconds(value: Any, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "h",
        "2 hours",
        "30m1h",
        "1h1h",
        "1e3",
        "-",
        "1,5h",
        "inf",
        "nan",
        "٣h",
        -1,
        "-2h",
        "-5",
        True,
        None,
        [],
        float("inf"),
        float("nan"),
        10**400,
        "9" * 50 + "d1x",
        "9" * 400 + "s",
        "1" + " " * 5000 + "x",
    ],
)
def test_anything_else_is_refused_by_name(value: Any) -> None:
    with pytest.raises(BadInput, match="duration"):
        parse_duration(value)
