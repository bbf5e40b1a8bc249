"""Durations for people."""

from __future__ import annotations

import pytest

from controller.results.durations import spoken


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (0.25, "0.2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (3600, "1 h"),
        (3629, "1 h"),
        (3631, "1 h 1 min"),
        (7500, "2 h 5 min"),
        (86_399, "1 d"),
        (86_400, "1 d"),
        (100_800, "1 d 4 h"),
        (30 * 86_400 + 3600, "30 d 1 h"),
        (-200, "-3 min 20 s"),
    ],
)
def test_two_units_and_no_decimals_above_seconds(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
